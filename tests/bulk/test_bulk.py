"""Pictures by the handful, and shared out over processes."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf.bulk.translator import PictureFiles, Tally, Translator, translate_all
from cyclegan_hf.cli import main
from cyclegan_hf.images.files import plan_pictures
from cyclegan_hf.processes import Processes
from tests.bulk.conftest import Launch, files_under
from tests.testing_utils import make_picture


def unchanged(images: list[Image.Image]) -> SimpleNamespace:
    """What a pipeline returns, with the pictures themselves for translations."""
    return SimpleNamespace(images=images, cycles=None, sizes=[(image.height, image.width) for image in images])


def test_a_handful_of_pictures_is_in_memory_at_a_time_and_the_culprit_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for index in range(20):
        make_picture("B", index, 24 if index != 13 else 48).save(f"in/many{index:02d}.png")
    taken: list[int] = []

    def run(images: list[Image.Image], **_: Any) -> SimpleNamespace:
        taken.append(len(images))
        if any(image.width > 40 for image in images):
            raise RuntimeError("not enough memory")
        return unchanged(images)

    work = PictureFiles(*plan_pictures(["in"], "out"))
    assert translate_all(work, Translator(run, batch_size=2), Processes()) == Tally(done=19, failed=1)
    assert "warning 1: in/many13.png: not enough memory\n" in capsys.readouterr().err
    assert taken == [8, 8, *[1] * 8, 4]
    assert len(files_under("out")) == 19


def test_settings_that_the_first_picture_shows_to_be_wrong_stop_the_work(tmp_path: Path) -> None:
    def run(images: list[Image.Image], **_: Any) -> SimpleNamespace:
        raise ValueError("`direction` must be one of a2b, b2a")

    with pytest.raises(ValueError, match=r"^`direction` must be"):
        list(Translator(run, 1)([(0, make_picture("A", 0))]))


def test_the_next_picture_is_read_meanwhile_and_no_more() -> None:
    translating, read = threading.Event(), threading.Event()
    opened: list[int] = []

    def sources() -> Iterator[tuple[int, Image.Image]]:
        for index in range(6):
            if index == 1:
                assert translating.wait(30)
                read.set()
            opened.append(index)
            yield index, make_picture("A", index)

    def run(images: list[Image.Image], **_: Any) -> SimpleNamespace:
        translating.set()
        assert read.wait(30)
        return unchanged(images)

    for number, (key, _) in enumerate(Translator(run, batch_size=1)(sources())):
        assert key == number
        assert len(opened) <= number + 2


def test_processes_share_the_pictures_out(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    translate = ["translate", "photos", "--model", model, "--output"]
    assert main([*translate, "whole"]) == 0
    monkeypatch.setenv("WORLD_SIZE", "3")  # by hand, so that they do not meet: each tells of its own part
    capsys.readouterr()
    for rank, count in enumerate((5, 5, 4)):
        monkeypatch.setenv("RANK", str(rank))
        assert main([*translate, "parts"]) == 0  # what the others have written is none of its business
        assert capsys.readouterr().out == f"parts: {count} pictures translated\n"
    assert files_under("parts") == files_under("whole")
    assert main([*translate, "parts"]) == 2
    assert "error: 4 of 4 outputs exist already, the first is parts/meadow/2.jpg" in capsys.readouterr().err


def test_a_process_that_has_no_part_is_content(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "20")
    monkeypatch.setenv("RANK", "19")
    assert main(["translate", "photos", "--model", model, "--output", "out"]) == 0
    assert capsys.readouterr().out == "out: nothing to do\n"


def test_a_launcher_that_misspeaks_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RANK", "3")
    assert main(["translate", "photos", "--output", "out"]) == 2
    assert capsys.readouterr().err == "error: expected 0 <= RANK < WORLD_SIZE of the launcher, got RANK=3\n"


def test_a_launch_that_started_one_process_of_two_is_told(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["translate", "photos/snow", "--model", model, "--output", "out"]) == 0
    assert "warning: The launch asked for several processes and started one." in capsys.readouterr().err


@pytest.mark.slow
def test_two_launched_processes_add_up_what_they_did(photos: Path, model: str, launch: Launch) -> None:
    whole = (photos / "meadow" / "0.png").read_bytes()
    (photos / "meadow" / "0.png").write_bytes(whole[: len(whole) // 2])
    process = launch(2, "translate", "photos", "--model", model, "--output", "out", "--cycle")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err  # torch's launcher adds a report of its own
    assert out == "out: 13 pictures translated, 1 failed\n"
    assert err.count("warning 1: photos/meadow/0.png: expected a whole picture") == 1
    assert len(files_under("out")) == 26
    process = launch(2, "translate", "photos", "--model", model, "--output", "out", "--cycle", "--existing", "skip")
    out, err = process.communicate(timeout=300)
    assert out == ""
    assert "error: none of 1 picture could be translated\n" in err
