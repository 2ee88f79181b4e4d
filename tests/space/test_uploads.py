"""Pictures that visitors send, before a model sees them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.chromium import PATIENCE
from tests.space.modules import page_module
from tests.testing_utils import make_picture


def test_one_photo_is_decoded_at_a_time_and_a_bad_header_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = page_module("uploads")
    make_picture("A", 0, 40).save(tmp_path / "photo.png")
    make_picture("A", 0, 4).save(tmp_path / "dot.png")
    (tmp_path / "page.png").write_text("<html>")
    inside, most, entered, go_on = 0, 0, threading.Event(), threading.Event()
    decode = uploads.open_image

    def slow(source: Any) -> Image.Image:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        entered.set()
        go_on.wait(PATIENCE)
        time.sleep(0.02)
        inside -= 1
        return decode(source)

    monkeypatch.setattr(uploads, "open_image", slow)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(uploads.read_photo, tmp_path / "photo.png") for _ in range(4)]
        assert entered.wait(PATIENCE)
        for name, words in (("dot.png", "too small"), ("page.png", "cannot be opened as a picture")):
            with pytest.raises(uploads.Refusal, match=words):
                uploads.read_photo(tmp_path / name)
        assert not any(job.done() for job in jobs)
        go_on.set()
        assert {job.result(PATIENCE).size for job in jobs} == {(40, 40)}
    assert most == 1


def test_the_sweep_takes_what_is_old_and_not_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_files = page_module("kept_files")
    uploads = tmp_path / "uploads"
    for name in ("one/photo.png", "one/more/preview.jpg", "two/example.jpg"):
        (uploads / name).parent.mkdir(parents=True, exist_ok=True)
        (uploads / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/photo.png").touch()
    (uploads / "link").symlink_to(tmp_path / "elsewhere")

    def left() -> set[str]:
        return {path.relative_to(uploads).as_posix() for path in uploads.rglob("*")}

    everything = left()
    kept_files.sweep(uploads, 3000)
    assert left() == everything
    now = time.time()
    monkeypatch.setattr(kept_files.time, "time", lambda: now + 3001)
    kept_files.sweep(uploads, 3000, {str(uploads / "two/example.jpg")})
    assert "one/photo.png" not in left() and "one/more/preview.jpg" not in left() and "link" not in left()
    monkeypatch.setattr(kept_files.time, "time", lambda: now + 7000)  # the folders are younger: they changed
    kept_files.sweep(uploads, 3000, {str(uploads / "two/example.jpg")})
    assert left() == {"two", "two/example.jpg"}
    assert (tmp_path / "elsewhere/photo.png").is_file()
