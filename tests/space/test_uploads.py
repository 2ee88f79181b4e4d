"""Pictures that visitors send, before a model sees them."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.space.modules import page_module
from tests.testing_utils import make_picture


def test_what_a_header_tells_is_said_without_decoding(tmp_path: Path) -> None:
    uploads = page_module("uploads")
    make_picture("A", 0, 4).save(tmp_path / "dot.png")
    (tmp_path / "page.png").write_text("<html>")
    for name, words in (("dot.png", "too small"), ("page.png", "cannot be opened as a picture")):
        with pytest.raises(uploads.Refusal, match=words):
            uploads.read_header(tmp_path / name)


def test_a_large_jpeg_is_decoded_small_where_a_small_result_is_asked_for(tmp_path: Path) -> None:
    uploads = page_module("uploads")
    make_picture("A", 0, (2400, 1600)).save(tmp_path / "large.jpg", quality=95)
    header = uploads.read_header(tmp_path / "large.jpg")
    assert (header.width, header.height, header.format) == (2400, 1600, "JPEG")
    assert header.bytes_needed(200) < header.bytes_needed(None) / 10
    small = uploads.limit_size(uploads.decode(tmp_path / "large.jpg", 200), 200, lambda _: 10**9)
    whole = uploads.limit_size(uploads.decode(tmp_path / "large.jpg"), 200, lambda _: 10**9)
    assert small.size == whole.size == (200, 133)
    assert np.abs(np.asarray(small, int) - np.asarray(whole, int)).mean() < 2


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((8000, 33), 1024, (7758, 32)), ((1100, 40), 1024, (1024, 37)), ((500, 300), 1024, (500, 300))],
)
def test_a_very_long_photo_keeps_its_rows(size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    assert page_module("uploads").limit_size(Image.new("RGB", size), side, lambda _: 10**9).size == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [("original", None), ("512", 512), (800, 800), (1024.0, 1024), ("64", 64)]
)
def test_a_longest_side_may_be_a_number(asked: Any, expected: int | None) -> None:
    assert page_module("uploads").pixels_of(asked) == expected


@pytest.mark.parametrize("asked", ["100000", 31, True, None, "wide", -5, [512], 1e400])
def test_other_longest_sides_are_refused(asked: Any) -> None:
    with pytest.raises(page_module("uploads").Refusal, match="must be one of 512, 1024, original, or a number"):
        page_module("uploads").pixels_of(asked)


def test_a_direction_may_be_named_by_its_domains() -> None:
    uploads, domains = page_module("uploads"), {"a2b": ("summer", "winter"), "b2a": ("winter", "summer")}
    found = [uploads.direction_of(domains, name) for name in ("a2b", "summer2winter", "winter2summer")]
    assert found == ["a2b", "a2b", "b2a"]
    for name in ("winter", None, ["a2b"], 5):
        with pytest.raises(uploads.Refusal, match="one of a2b, b2a, summer2winter, winter2summer"):
            uploads.direction_of(domains, name)


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
