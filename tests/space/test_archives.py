"""Zip files that strangers send: what they claim is not believed."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from tests.space.modules import page_module


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(path: Path) -> dict[str, bytes | str]:
    """Stem to bytes, or to the reason of a refusal."""
    found = {}
    for member in page_module("archives").members(path):
        refused = isinstance(member.content, Exception)
        found[str(member.stem)] = member.content.message if refused else member.content.getvalue()
    return found


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/b/photo.jpg", "a/b/photo"),
        ("../../etc/cron.d/evil.png", "etc/cron_d/evil"),
        ("/root/photo.jpg", "root/photo"),
        ("C:\\Users\\me\\photo.jpg", "C/Users/me/photo"),
        ("..\\..\\photo.jpg", "photo"),
        ("a/./b/photo.jpg", "a/b/photo"),
        ("new\nline\x00.jpg", "new_line"),
        ("Ярославль/зима.jpg", "Ярославль/зима"),
        ("...", "photo"),
        ("<script>.png", "script"),
    ],
)
def test_a_name_becomes_plain_words(name: str, stem: str) -> None:
    assert str(page_module("archives").safe_stem(name)) == stem


def test_files_are_read_and_what_systems_add_is_not(tmp_path: Path) -> None:
    files = {
        "a/one.png": b"1",
        "two.png": b"2",
        "__MACOSX/._two.png": b"x",
        ".DS_Store": b"x",
        "a/.hidden/x.png": b"x",
    }
    assert contents(write_zip(tmp_path / "in.zip", files)) == {"a/one": b"1", "two": b"2"}


def test_a_bomb_is_refused_and_its_neighbour_is_not(tmp_path: Path) -> None:
    found = contents(write_zip(tmp_path / "in.zip", {"bomb.png": bytes(40_000_000), "good.png": b"2"}))
    assert found == {"bomb": "It is too large once unpacked.", "good": b"2"}


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "in.zip", {"bomb.png": bytes(40_000_000)})
    data, size = path.read_bytes(), struct.pack("<L", 40_000_000)
    assert data.count(size) == 2  # the local header and the list
    path.write_bytes(data.replace(size, struct.pack("<L", 1000)))
    (reason,) = contents(path).values()
    assert reason in ("It is damaged.", "It is too large once unpacked.")


def test_the_sum_of_all_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module("archives"), "MAX_UNZIPPED", 25)
    found = contents(write_zip(tmp_path / "in.zip", {f"{n}.png": b"0123456789" for n in range(3)}))
    assert list(found.values()) == [b"0123456789", b"0123456789", "It is too large once unpacked."]


def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "in.zip", {"locked.png": b"1"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the list
    path.write_bytes(data)
    assert contents(path) == {"locked": "It is locked with a password."}


def test_a_damaged_file_costs_only_itself(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "in.zip", {"bad.png": b"0123456789", "good.png": b"2"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"01234?6789"))
    assert contents(path) == {"bad": "It is damaged.", "good": b"2"}


@pytest.mark.parametrize("kind", ["no zip", "half", "too many", "endless list", "zip64"])
def test_what_is_no_honest_zip_is_refused_whole(tmp_path: Path, kind: str) -> None:
    archives, path = page_module("archives"), tmp_path / "in.zip"
    write_zip(path, {f"{n}.png": b"" for n in range(archives.MAX_ZIP_ENTRIES + 1 if kind == "too many" else 3)})
    data = path.read_bytes()
    end = data.index(b"PK\x05\x06")
    match kind:
        case "no zip":
            data = b"no zip" * 10
        case "half":
            data = data[: end - 20]
        case "endless list":
            data = data[: end + 12] + struct.pack("<L", 2**30) + data[end + 16 :]
        case "zip64":
            data = data[:end] + b"PK\x06\x07" + bytes(16) + data[end:]
    path.write_bytes(data)
    with pytest.raises(page_module("uploads").Refusal) as refusal:
        archives.file_list(path)
    assert refusal.value.message.startswith("This zip file") and "/" not in refusal.value.message


def test_a_zip_inside_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x.png", b"1")
    (found,) = page_module("archives").members(write_zip(tmp_path / "in.zip", {"inner.zip": inner.getvalue()}))
    with pytest.raises(page_module("uploads").Refusal, match="cannot be opened as a picture"):
        page_module("uploads").read_header(found.content)
