import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import cyclegan_hf
from cyclegan_hf.cli import VERBS, main
from cyclegan_hf.images.io import open_image
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from tests.official.official_networks import Patch, randomized, save, small_resnet
from tests.testing_utils import make_picture


ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cyclegan_hf.cli"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved pipeline, of one small random network each way."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    generators = [ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1) for _ in range(2)]
    CycleGANPipeline(*generators, domain_a="summer", domain_b="winter").save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`in/` under the current folder, with four pictures of three sizes."""
    monkeypatch.chdir(tmp_path)
    Path("in/day1").mkdir(parents=True)
    for index, (name, size) in enumerate({"a.png": (50, 41), "b.png": 32, "day1/c.png": 32, "day1/d.bmp": 20}.items()):
        make_picture("A", index, size).save(Path("in") / name)
    return tmp_path / "in"


def files_under(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def pixels(path: str | Path) -> tuple[tuple[int, int], bytes]:
    image = open_image(path)
    return image.size, image.tobytes()


def test_a_folder_becomes_what_the_pipeline_makes_of_its_pictures(model: str, capsys: Any) -> None:
    assert main(["translate", "in", "--output", "out", "--model", model]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out: 4 pictures translated\n"
    assert "4/4" in captured.err and "picture/s]" in captured.err  # the bar: rate, and time left before it
    assert files_under("out") == ["a.png", "b.png", "day1/c.png", "day1/d.png"]
    pipeline = CycleGANPipeline.from_pretrained(model)
    for source, output in (("in/a.png", "out/a.png"), ("in/day1/d.bmp", "out/day1/d.png")):
        (expected,) = pipeline(source, direction="a2b").images
        assert pixels(output) == (expected.size, expected.tobytes())


def test_one_picture_to_a_file_needs_no_bar(model: str, capsys: Any) -> None:
    assert main(["translate", "in/a.png", "--output", "winter.jpg", "--model", model]) == 0
    assert capsys.readouterr() == ("winter.jpg: 1 picture translated\n", "")
    with Image.open("winter.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (50, 41))


def test_the_direction_may_be_told_by_the_domains_names(model: str) -> None:
    for direction in ("b2a", "winter2summer", "a2b"):
        command = ["translate", "in/b.png", "--output", f"{direction}.png", "--model", model, "--direction", direction]
        assert main(command) == 0
    assert pixels("b2a.png") == pixels("winter2summer.png") != pixels("a2b.png")


def test_cycles_are_saved_beside_the_translations(model: str) -> None:
    assert main(["translate", "in/day1", "--output", "out", "--model", model, "--cycle"]) == 0
    assert files_under("out") == ["c.png", "c_cycle.png", "d.png", "d_cycle.png"]
    expected = CycleGANPipeline.from_pretrained(model)("in/day1/c.png", return_cycle=True)
    assert pixels("out/c_cycle.png")[1] == expected.cycles[0].tobytes()


def test_batches_give_the_same_pictures(model: str) -> None:
    for size in ("1", "3"):
        assert main(["translate", "in", "--output", size, "--model", model, "--batch-size", size]) == 0
    assert files_under("1") == files_under("3")
    for name in files_under("1"):
        (size, single), (_, batched) = pixels(f"1/{name}"), pixels(f"3/{name}")
        assert max(abs(a - b) for a, b in zip(single, batched, strict=True)) <= 1, (name, size)


@pytest.mark.parametrize(("option", "expected"), [(["16"], (13, 16)), (["10", "40"], (10, 12))])
def test_another_size_is_told(model: str, capsys: Any, option: list[str], expected: tuple[int, int]) -> None:
    assert main(["translate", "in/a.png", "--output", "x.png", "--model", model, "--size", *option]) == 0
    assert capsys.readouterr().out == "x.png: 1 picture translated, 1 of them at another size and resized back\n"
    result = CycleGANPipeline.from_pretrained(model)("in/a.png", size=expected)
    assert result.sizes == [expected]
    assert pixels("x.png") == ((50, 41), result.images[0].tobytes())


def test_truncated_rounding(model: str) -> None:
    for name, options in (("nearest.png", []), ("truncated.png", ["--rounding", "truncate"])):
        assert main(["translate", "in/b.png", "--output", name, "--model", model, *options]) == 0
    (_, nearest), (_, truncated) = pixels("nearest.png"), pixels("truncated.png")
    assert {a - b for a, b in zip(nearest, truncated, strict=True)} == {0, 1}


def test_fast_is_close(model: str) -> None:
    for name, options in (("exact.png", []), ("fast.png", ["--fast"])):
        assert main(["translate", "in/b.png", "--output", name, "--model", model, *options]) == 0
    (_, exact), (_, fast) = pixels("exact.png"), pixels("fast.png")
    differences = [abs(a - b) for a, b in zip(exact, fast, strict=True)]
    assert sum(differences) / len(differences) < 3


def test_a_bad_picture_among_many_is_named_and_the_rest_done(model: str, capsys: Any, pictures: Path) -> None:
    whole = (pictures / "a.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "empty.jpg").touch()
    assert main(["translate", "in", "--output", "out", "--model", model, "--batch-size", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "out: 4 pictures translated, 2 failed\n"
    warnings = [line for line in captured.err.replace("\r", "\n").splitlines() if line.startswith("warning")]
    assert [line.split(": ")[:2] for line in warnings] == [["warning 1", "in/cut.png"], ["warning 2", "in/empty.jpg"]]
    assert files_under("out") == ["a.png", "b.png", "day1/c.png", "day1/d.png"]


def test_when_all_pictures_are_bad_it_is_an_error(model: str, capsys: Any) -> None:
    for name in ("1.png", "2.png"):
        Path(name).write_text("<!DOCTYPE html>")
    assert main(["translate", "1.png", "--output", "out", "--model", model]) == 2
    assert capsys.readouterr() == (
        "",
        "error: 1.png: expected a picture, got data of no known image format, starting b'<!DOCTYPE html>'\n",
    )
    assert main(["translate", "1.png", "2.png", "--output", "out", "--model", model]) == 2
    assert capsys.readouterr().err.endswith("error: none of 2 pictures could be translated\n")
    assert not Path("out").exists()


def test_results_that_are_there_already(model: str, capsys: Any) -> None:
    translate = ["translate", "in", "--output", "out", "--model", model]
    assert main(["translate", "in/b.png", "--output", "out", "--model", model]) == 0
    before = os.stat("out/b.png").st_mtime_ns
    assert main(translate) == 2
    assert capsys.readouterr().err.startswith("error: 1 of 4 outputs exist already, the first is out/b.png")
    assert main([*translate, "--existing", "skip"]) == 0
    assert capsys.readouterr().out == "out: 3 pictures translated, 1 already there\n"
    assert os.stat("out/b.png").st_mtime_ns == before
    assert main([*translate, "--existing", "skip"]) == 0
    assert capsys.readouterr().out == "out: nothing to do, 4 pictures already there\n"
    assert main([*translate, "--existing", "overwrite"]) == 0
    assert os.stat("out/b.png").st_mtime_ns != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of"),
        (["tranlate"], "unknown command `tranlate`; did you mean `translate`?"),
        (["frobnicate"], "expected one of convert"),
        (["info", "--revison", "x"], "unknown option `--revison`; did you mean `--revision`? (see cyclegan-hf info"),
        (["translate", "in", "--ouput=out"], "unknown option `--ouput`; did you mean `--output`?"),
        (["push", "m", "u/m", "--privte"], "did you mean `--private`?"),
        (["evaluate", "--quux"], "unknown option `--quux` (see cyclegan-hf evaluate --help)"),
        (["--verison"], "did you mean `--version`?"),
        (["translate", "in", "--output", "out", "--batch-statistics"], "add `--official`"),
        (["translate", "in", "--output", "out", "--model", "in/G.pth"], "`cyclegan-hf convert FILE --output FOLDER`"),
        (["info", "in/a.png"], "got a file"),
        (["translate", "in"], "--output"),
        (["translate", "--output", "out"], "got none"),
        (
            ["translate", "in", "--output", "out", "--exist", "skip"],
            "unknown option `--exist`; did you mean `--existing`",
        ),
        (["translate", "in", "--output", "out", "--format", "gif"], "invalid choice 'gif'"),
        (["translate", "in", "--output", "out", "--size", "big"], "--size"),
        (["translate", "in", "--output", "out", "--size", "0"], "`--size` must be one positive number or two, got 0"),
        (["translate", "in", "--output", "out", "--batch-size", "0"], "`--batch-size` must be 1 or more, got 0"),
        (["translate", "nothing.jpg", "--output", "out"], "nothing.jpg: expected a picture, a folder or a pattern"),
        (["translate", "in", "--output", "in", "--existing", "overwrite"], "would replace an input"),
        (["translate", "in", "--output", "out", "--model", "./nowhere"], "./nowhere: expected a pipeline's folder"),
        (
            ["translate", "in", "--output", "out", "--model", "MODEL", "--direction", "up"],
            "`direction` must be one of",
        ),
        (
            ["translate", "in", "--output", "out", "--model", "MODEL", "--device", "gpu"],
            "`--device gpu` cannot be used",
        ),
        (["translate", "in/a.png", "--output", "in/b.png/x", "--model", "MODEL"], "could not save in/b.png/x/a.png"),
        (["convert", "in/a.png", "--output", "out"], "in/a.png"),
        (["convert", "--output", "out"], "got 0"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(model: str, capsys: Any, arguments: list[str], message: str) -> None:
    assert main([model if word == "MODEL" else word for word in arguments]) == 2
    captured = capsys.readouterr()
    *progress, line = captured.err.replace("\r", "\n").strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert all(row.strip() == "" or "picture/s]" in row for row in progress)
    assert captured.out == ""
    assert not Path("out").exists()


def test_a_model_bound_to_its_size_needs_one(tmp_path: Path, capsys: Any) -> None:
    CycleGANPipeline(UnetGenerator(block_out_channels=(4, 8))).save_pretrained(tmp_path / "unet")
    translate = ["translate", "in/a.png", "--output", "x.png", "--model", "unet"]
    assert main(translate) == 2
    assert "pass `size=`" in capsys.readouterr().err
    assert main([*translate, "--size", "32"]) == 0


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])  # which becomes another program
def test_each_verb_explains_itself(verb: str, capsys: Any) -> None:
    assert main([verb, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"cyclegan-hf {verb} " in shown.partition("For example:")[2]
    assert main(["--help"]) == 0
    summary = VERBS[verb].__doc__.partition("\n")[0]
    listed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{verb} {summary}" in listed and "For example" not in listed


def test_help_and_mistakes_load_neither_torch_nor_pillow() -> None:
    code = (
        "import sys\nfrom cyclegan_hf.cli import main\n"
        "main(['translate', '--help'])\nmain(['translate', 'nothing.jpg', '--output', 'out'])\n"
        "print('loaded', *sorted({'torch', 'diffusers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "loaded", result.stderr


@pytest.mark.parametrize("with_discriminators", [False, True])
def test_convert_prints_the_parity_report(capsys: Any, with_discriminators: bool) -> None:
    files = [str(save(Path(f"latest_net_G_{letter}.pth"), small_resnet(seed))) for seed, letter in enumerate("AB")]
    command = ["convert", *files, "--output", "zebra", "--domain-a", "horse", "--domain-b", "zebra"]
    if with_discriminators:
        judges = [
            str(save(Path(f"D_{letter}.pth"), randomized(Patch(width=4), seed))) for seed, letter in enumerate("AB")
        ]
        command += ["--discriminators", *judges]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.count("largest difference") == (4 if with_discriminators else 2)
    assert captured.out.startswith("zebra: horse (a), zebra (b)\n")
    assert captured.err == ""
    assert main(["translate", "in/a.png", "--output", "x.png", "--model", "zebra", "--direction", "horse2zebra"]) == 0


def command(*arguments: str, **kwargs: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, stderr=subprocess.PIPE, text=True, **kwargs)


def test_an_interruption_leaves_whole_files_only(model: str, pictures: Path) -> None:
    for index in range(200):
        make_picture("A", index, 128).save(pictures / f"{index}.png")
    # A job in the background of a shell ignores interruptions, and so would what it starts.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = command("translate", "in", "--output", "out", "--model", model, preexec_fn=listen)
    wait_for(lambda: Path("out").exists() and len(os.listdir("out")) > 2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith("interrupted\n") and "Traceback" not in stderr
    assert 0 < len(files_under("out")) < 200
    for name in files_under("out"):
        assert name.endswith(".png") and pixels(Path("out") / name)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_on_a_terminal_mistakes_are_one_line_too() -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        process = subprocess.Popen([*COMMAND, "translate", "in"], cwd=ROOT, stdout=slave, stderr=slave)
        assert process.wait(timeout=60) == 2
        os.close(slave)
        (line,) = terminal.read(10_000).decode().splitlines()
    assert line.startswith("error: Missing from cyclegan-hf translate: --output FOLDER|FILE")
    assert line.endswith("(see cyclegan-hf translate --help)")


def test_a_reader_that_leaves_is_no_error() -> None:
    process = command("--help", stdout=subprocess.PIPE)
    process.stdout.close()  # before anything is written
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_printed(capsys: Any, flag: str) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"cyclegan-hf {cyclegan_hf.__version__}\n"


def test_batch_statistics_on_the_command_line(capsys: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Both ways to read an official model say which statistics it uses, and take the option."""
    os.mkdir("official")
    file = save(Path("official/latest_net_G.pth"), small_resnet(norm="batch"))
    assert main(["convert", str(file), "--output", "stored"]) == 0
    assert "--batch-statistics" in capsys.readouterr().out
    assert main(["convert", str(file), "--output", "own", "--batch-statistics"]) == 0
    assert "own statistics" in capsys.readouterr().out
    official = ["translate", "in/a.png", "--model", "official", "--official"]
    assert main([*official, "--output", "a.png"]) == 0
    assert "--batch-statistics" in caplog.text
    caplog.clear()
    assert main([*official, "--batch-statistics", "--output", "b.png"]) == 0
    assert main(["translate", "in/a.png", "--model", "own", "--output", "c.png"]) == 0
    assert caplog.text == ""
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes() == Path("c.png").read_bytes()
