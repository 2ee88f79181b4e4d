"""`cyclegan-hf evaluate`, from words to a report."""

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_hf.cli import main
from cyclegan_hf.evaluation import run as evaluation_run
from tests.evaluation.tiny import pipeline
from tests.metrics.test_inception import save_network
from tests.testing_utils import write_domains


ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--resamples", "10", "--feature-network", "none", "--batch-size", "6"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of two pipelines of one direction each way."""
    home = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        pipeline(seed).save_pretrained(home / name)
    return {name: str(home / name) for name in ("one", "two")}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`data/` in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_domains(tmp_path / "data", count=3, size=32)


def files_under(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def figures(report: str) -> dict[str, Any]:
    return json.loads(Path(report, "metrics.json").read_text(encoding="utf-8"))


def test_the_same_command_twice_gives_the_same_digits(models: dict[str, str], capsys: Any) -> None:
    command = ["evaluate", "--model", models["one"], "--data", "data", *QUICK]
    printed = []
    for report in ("first", "second"):
        assert main([*command, "--output", report]) == 0
        printed.append(capsys.readouterr().out.replace(report, "report"))
    assert printed[0] == printed[1]
    assert "## summer → winter" in printed[0] and printed[0].endswith("report/index.html\n")
    assert files_under("first") == files_under("second")
    for name in files_under("first"):
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes(), name


def test_a_report_takes_the_place_of_an_earlier_one(models: dict[str, str]) -> None:
    command = ["evaluate", "--model", models["one"], "--data", "data", "--output", "report", *QUICK]
    assert main([*command, "--gallery", "3"]) == 0
    before = files_under("report")
    assert main([*command, "--gallery", "0", "--direction", "b2a"]) == 0
    assert "contact_sheet.png" in before and not any(name.startswith("pictures/") for name in files_under("report"))
    assert "a2b" not in figures("report")
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_models_are_compared_and_saved_reports_too(models: dict[str, str], capsys: Any) -> None:
    both = ["--model", models["one"], "--model", models["two"]]
    assert main(["evaluate", *both, "--data", "data", "--output", "both", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "| untouched |" in text and "| two − one |" in text
    assert {"comparison.json", "comparison.md", "index.html", "one/metrics.json", "two/index.html"} <= set(
        files_under("both")
    )
    assert main(["evaluate", "--compare", "both/one", "both/two", "--output", "again"]) == 0
    assert capsys.readouterr().out.strip() == text.rpartition("\n")[0].rpartition("\n")[0].strip()
    assert Path("again/comparison.json").read_text() == Path("both/comparison.json").read_text()


def test_models_are_held_one_after_the_other(models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    living: list[weakref.ref] = []
    most: list[int] = []
    load = evaluation_run._load

    def watched(*arguments: Any) -> Any:
        subject = load(*arguments)
        living.append(weakref.ref(subject))
        most.append(sum(one() is not None for one in living))
        return subject

    monkeypatch.setattr(evaluation_run, "_load", watched)
    three = [word for name in ("one", "two", "one") for word in ("--model", models[name])]
    assert main(["evaluate", *three, "--data", "data", "--output", "report", "--gallery", "0", *QUICK]) == 0
    assert max(most) == 2  # the one before goes when the next is there
    assert {"one/metrics.json", "two/metrics.json", "one-2/metrics.json"} <= set(files_under("report"))


def test_models_of_other_channels_are_refused_before_anything(models: dict[str, str], capsys: Any) -> None:
    pipeline(in_channels=1, directions=("a2b",)).save_pretrained("grey")
    both = ["--model", models["one"], "--model", "grey"]
    assert main(["evaluate", *both, "--data", "data", "--output", "report", *QUICK]) == 2
    said = "error: one and grey cannot be compared: their pictures have (3, 3) and (1, 3) channels\n"
    assert capsys.readouterr().err.endswith(said)
    assert not Path("report").exists()


def test_pictures_of_other_sizes_are_brought_to_one_for_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images - others).square().mean((1, 2, 3))  # needs one shape

    Path("weights").write_bytes(b"weights")
    monkeypatch.setattr(evaluation_run, "load_lpips", lambda path: measured)
    task = evaluation_run.Task(models=[None], data=Path("data"), output=Path("out"), lpips=Path("weights"))
    measures, _ = evaluation_run._pair_measures(task)
    assert measures["lpips"](torch.ones(2, 3, 28, 28), torch.ones(2, 3, 32, 32)).tolist() == pytest.approx([0, 0])


def test_reports_of_other_protocols_are_not_compared(models: dict[str, str], capsys: Any) -> None:
    for seed in ("0", "1"):
        command = ["evaluate", "--model", models["one"], "--data", "data", "--seed", seed, "--output", seed]
        assert main([*command, *QUICK]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--compare", "0", "1", "--output", "compared"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: 0 and 1 cannot be compared, their protocols differ: seed: 0 against 1\n",
    )
    assert not Path("compared").exists()


def test_a_network_of_ones_own_and_other_options(models: dict[str, str], capsys: Any) -> None:
    save_network(Path("tiny.pt"))
    command = ["evaluate", "--model", models["one"], "--data", "data", "--output", "report", "--inception", "tiny.pt"]
    options = ["--limit", "2", "--image-size", "28", "--rounding", "truncate", "--resamples", "0", "--fast"]
    assert main([*command, *options]) == 0
    captured = capsys.readouterr()
    assert "KID is left out: it needs 10 images of each kind, there are 2" in captured.err + captured.out
    found = figures("report")
    assert {"fid", "inception_score", "gms"} <= found["a2b"].keys() and "kid" not in found["a2b"]
    assert found["protocol"]["feature_network"]["name"] == "tiny.pt"
    assert found["protocol"]["pictures"]["a"]["count"] == 2
    assert found["protocol"]["image_size"]["a"] == [28, 28]
    assert found["protocol"]["rounding"] == "truncate"
    assert found["spread"] == {"a2b": {}, "b2a": {}}


def test_an_unreadable_picture_costs_a_warning_and_the_exit_code(models: dict[str, str], capsys: Any) -> None:
    Path("data/testA/001.png").write_bytes(b"no picture")
    assert main(["evaluate", "--model", models["one"], "--data", "data", "--output", "report", *QUICK]) == 1
    assert "Left out of the evaluation: data/testA/001.png" in capsys.readouterr().err
    assert figures("report")["protocol"]["pictures"]["a"] | {"fingerprint": ""} == {
        "count": 2,
        "left_out": 1,
        "fingerprint": "",
    }


def test_a_validation_split_is_a_fifth_of_the_training_images(models: dict[str, str], capsys: Any) -> None:
    command = ["evaluate", "--model", models["one"], "--data", "data", "--output", "report", *QUICK]
    assert main([*command, "--split", "validation", "--tried", "7"]) == 0
    protocol = figures("report")["protocol"]
    assert (protocol["split"], protocol["tried"]) == ("validation", 7)
    counts = [protocol[part]["a"]["count"] for part in ("pictures", "reference")]
    assert counts == [1, len(list(Path("data/trainA").iterdir())) - 1] and protocol["reference"]["a"]["independent"]
    assert "Validation images: A 1" in Path("report/report.md").read_text() and "7 things" in capsys.readouterr().out
    assert main(command) == 0 and figures("report")["protocol"]["split"] == "test"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "data", "--reference", "data", "--split", "validation", "--output", "out"], "`--reference`"),
        (["--data", "data", "--output", "out", "--tried", "0"], "`--tried` must be 1 or more, got 0"),
        (["--data", "data"], "--output"),
        (["--output", "out"], "either `--data FOLDER` to measure on, or `--compare REPORT REPORT ...`"),
        (["--data", "data", "--compare", "x", "--output", "out"], "either `--data FOLDER`"),
        (["--data", "nowhere", "--output", "out"], "nowhere: expected a folder with testA and testB"),
        (["--data", "data", "--output", "data"], "expected an empty folder or an earlier report"),
        (["--data", "data", "--output", "out", "--limit", "0"], "`--limit` must be 1 or more, got 0"),
        (["--data", "data", "--output", "out", "--resamples", "-1"], "`--resamples` must be 0 or more, got -1"),
        (["--data", "data", "--output", "out", "--model", "./none"], "./none: expected a pipeline's folder"),
        (["--data", "data", "--output", "out", "--weights", "raw"], "expected a checkpoint with raw weights"),
        (["--data", "data", "--output", "out", "--inception", "none.pt"], "got none.pt: found none"),
        (["--data", "data", "--output", "out", "--lpips", "none.pth"], "LPIPS's AlexNet at none.pth, found no file"),
        (["--data", "data", "--output", "out", "--dino", "none.pth"], "transformer at none.pth, found no file"),
        (["--data", "data", "--output", "out", "--device", "gpu"], "`--device gpu` cannot be used"),
        (["--compare", "data", "data", "--output", "out"], "data: expected a report of `cyclegan-hf evaluate`"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    models: dict[str, str], capsys: Any, arguments: list[str], message: str
) -> None:
    if "--model" not in arguments and "--compare" not in arguments:
        arguments = [*arguments, "--model", models["one"]]
    if "--inception" not in arguments:
        arguments = [*arguments, "--feature-network", "none"]
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert not Path("out").exists()
    assert sorted(path.name for path in Path("data").iterdir()) == ["testA", "testB", "trainA", "trainB"]


def test_nothing_readable_leaves_nothing(models: dict[str, str], capsys: Any) -> None:
    for path in Path("data/trainB").iterdir():
        path.write_bytes(b"no picture")
    assert main(["evaluate", "--model", models["one"], "--data", "data", "--output", "report", *QUICK]) == 2
    assert "error: none of the 3 real pictures of winter can be read" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_without_the_extra_its_name_is_told(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["evaluate", "--data", "data", "--output", "out"]) == 2
    assert "[metrics]'" in capsys.readouterr().err


def test_mistakes_load_no_torch() -> None:
    code = (
        "import sys\nfrom cyclegan_hf.cli import main\n"
        "main(['evaluate', '--help'])\nmain(['evaluate', '--output', 'x'])\n"
        "print('loaded', *sorted({'torch', 'diffusers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "loaded", result.stderr


def test_the_folder_is_looked_at_before_anything_is_fetched(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded first")

    monkeypatch.setattr(evaluation_run, "load_subject", load)
    for words, message in (
        (["--data", "/nope"], "/nope: expected a folder"),
        (["--data", "data", "--reference", "nowhere"], "nowhere: expected a folder"),
    ):
        assert main(["evaluate", "--model", "user/name", *words, "--output", "report"]) == 2
        assert message in capsys.readouterr().err
