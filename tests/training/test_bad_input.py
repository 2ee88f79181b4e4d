"""What a user can mend is said in one line, before anything is written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.training import __main__ as train
from tests.testing_utils import forked_processes, write_domains
from tests.training.tiny import write_recipe


Prepare = Callable[[Path], list[object]]


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The command's last words."""
    data = ["--data.a", tmp_path / "domains" / "trainA", "--data.b", tmp_path / "domains" / "trainB"]
    words = ["train.py", "--recipe", tmp_path / "tiny.yaml", "--output-dir", tmp_path / "run", *data, *arguments]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert isinstance(stop.value.code, str)  # printed on the error stream, with exit code 1
    return stop.value.code


def no_folder(tmp_path: Path) -> list[object]:
    return ["--data.a", tmp_path / "nowhere"]


def empty_folder(tmp_path: Path) -> list[object]:
    (tmp_path / "empty").mkdir()
    return ["--data.a", tmp_path / "empty"]


def one_sided(tmp_path: Path) -> list[object]:
    for picture in (tmp_path / "domains" / "trainB").iterdir():
        picture.unlink()
    return []


def file_for_folder(tmp_path: Path) -> list[object]:
    return ["--data.b", tmp_path / "domains" / "trainB" / "000.png"]


def all_truncated(tmp_path: Path) -> list[object]:
    for picture in (tmp_path / "domains" / "trainA").iterdir():
        picture.write_bytes(picture.read_bytes()[:100])
    return []


def no_test_pictures(tmp_path: Path) -> list[object]:
    return ["--data.test-b", tmp_path / "nowhere"]


def unknown_key(tmp_path: Path) -> list[object]:
    (tmp_path / "typo.yaml").write_text("losses: {lamda_a: 3}", encoding="utf-8")
    return ["--recipe", tmp_path / "typo.yaml"]


def folder_for_recipe(tmp_path: Path) -> list[object]:
    (tmp_path / "folder.yaml").mkdir()
    return ["--recipe", tmp_path / "folder.yaml"]


def unequal_channels(tmp_path: Path) -> list[object]:
    write_recipe(tmp_path / "tiny.yaml", generator={"out_channels": 1})
    return []


def uneven_size(tmp_path: Path) -> list[object]:
    return ["--data.image-size", 33]


def small_size(tmp_path: Path) -> list[object]:
    return ["--data.image-size", 2]


def unknown_flag(tmp_path: Path) -> list[object]:
    return ["--learning-rat", 3]


def no_checkpoint(tmp_path: Path) -> list[object]:
    return ["--resume-from-checkpoint", tmp_path / "checkpoint-10"]


def no_warm_start(tmp_path: Path) -> list[object]:
    return ["--warm-start", tmp_path / "nowhere"]


def other_warm_start(tmp_path: Path) -> list[object]:
    other = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=2)
    CycleGANPipeline(other).save_pretrained(tmp_path / "other")
    return ["--warm-start", tmp_path / "other"]


def half_precision_on_a_processor(tmp_path: Path) -> list[object]:
    return ["--mixed-precision", "fp16"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (no_folder, "`data.a` must be a folder of pictures; {tmp}/nowhere does not exist."),
        (empty_folder, "`data.a` must be a folder of pictures; {tmp}/empty holds none"),
        (one_sided, "`data.b` must be a folder of pictures; {tmp}/domains/trainB holds none"),
        (file_for_folder, "`data.b` must be a folder of pictures; {tmp}/domains/trainB/000.png is a file."),
        (all_truncated, "None of 6 pictures can be read, the last: {tmp}/domains/trainA/005.png"),
        (no_test_pictures, "`data.test_b` must be a folder of pictures; {tmp}/nowhere does not exist."),
        (unknown_key, "Unknown key `losses.lamda_a`; did you mean `lambda_a`?"),
        (folder_for_recipe, "Expected a recipe at {tmp}/folder.yaml, which cannot be read"),
        (unequal_channels, "`losses.lambda_identity` must be 0 where the domains' channels differ (3 and 1)"),
        (uneven_size, "`data.image_size` must be a multiple of 2 and at least 4 for ResnetGenerator, got 33."),
        (small_size, "`data.image_size` must be a multiple of 2 and at least 4 for ResnetGenerator, got 2."),
        (unknown_flag, "unknown option `--learning-rat`"),
        (no_checkpoint, "`--resume-from-checkpoint` must be 'latest', 'auto' or a checkpoint's folder"),
        (no_warm_start, "{tmp}/nowhere: expected a pipeline's folder or a Hub id"),
        (other_warm_start, "`--warm-start {tmp}/other`: generator_a2b does not fit this recipe's network"),
        (half_precision_on_a_processor, "`mixed_precision: fp16` needs a GPU; a processor takes bf16 or no."),
    ],
)
def test_one_line_and_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Prepare, message: str
) -> None:
    write_domains(tmp_path / "domains", size=40)
    write_recipe(tmp_path / "tiny.yaml")
    words = run(tmp_path, monkeypatch, *prepare(tmp_path))
    assert words.startswith("error: ")
    assert message.replace("{tmp}", str(tmp_path)) in words
    assert "\n" not in words
    assert not (tmp_path / "run").exists()


def test_too_many_bad_pictures_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_domains(tmp_path / "domains", size=40)
    write_recipe(tmp_path / "tiny.yaml", data={"num_workers": 1}, run={"max_train_steps": 20})
    for number in (2, 4):
        (tmp_path / "domains" / "trainB" / f"{number:03d}.png").write_bytes(b"\x89PNG")
    words = run(tmp_path, monkeypatch)
    assert words.startswith("error: 2 of 6 pictures could not be read, more than `data.max_bad_share` (0.01) allows: ")
    assert "\n" not in words
    assert forked_processes() == []  # both domains' workers
    assert not (tmp_path / "run" / "model_index.json").exists()


def test_an_output_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_domains(tmp_path / "domains", size=40)
    write_recipe(tmp_path / "tiny.yaml")
    (tmp_path / "file").touch()
    words = run(tmp_path, monkeypatch, "--output-dir", tmp_path / "file" / "run")
    assert words.startswith("error: ")
    assert "Not a directory" in words
    assert "\n" not in words
