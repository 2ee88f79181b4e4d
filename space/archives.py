"""Visitors' zip files: read member by member into memory, never unpacked to a disk, and never believed.

What a header says of sizes and names may be a lie: bytes are counted while they come, and a name is cut down to its
plain words before it stands in the answer.
"""

import io
import logging
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from settings import MAX_FILE_MB, MAX_UNZIPPED, MAX_ZIP_ENTRIES
from uploads import Refusal, plain_name


logger = logging.getLogger(__name__)

MAX_RATIO = 200  # a picture is compressed already; a bomb's zeros are packed to a thousandth


@dataclass(frozen=True)
class Member:
    """A picture that was sent.

    Attributes:
        name: what its sender calls it, for the report.
        stem: of its result, with the folders it was in: safe to write.
        content: the file, or why it was refused.
    """

    name: str
    stem: PurePosixPath
    content: Path | IO[bytes] | Refusal


def is_zip(path: Path) -> bool:
    """Tell whether a file is a zip file or was one: one that is cut off at its end still begins as one."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or zipfile.is_zipfile(path)


def file_list(path: Path) -> list[zipfile.ZipInfo]:
    """Return a zip's files; folders and what systems add (`__MACOSX`) are left out.

    Raises:
        Refusal: it is no zip file, or has too many files.
    """
    if list_bytes(path) > MAX_ZIP_ENTRIES * 300:  # the reader below would hold all of it in memory
        raise Refusal(f"This zip file's list is too long. {MAX_ZIP_ENTRIES} files are the most.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not is_hidden(entry.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        logger.info("refused a zip: %s", type(error).__name__)
        raise Refusal("This zip file cannot be opened. It is damaged, or only a part of it arrived.") from None
    if not entries:
        raise Refusal("This zip file is empty.")
    if len(entries) > MAX_ZIP_ENTRIES:
        raise Refusal(f"This zip file holds {len(entries)} files. {MAX_ZIP_ENTRIES} are the most.")
    return entries


def list_bytes(path: Path) -> int:
    """Bytes of a zip's list of files, as its last record states them; of the kind for more than 4 GB, far too many."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 66_000))
        tail = file.read()
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or b"PK\x06\x07" in tail[start - 20 : start]:
        return sys.maxsize if start >= 0 else 0
    return int.from_bytes(tail[start + 12 : start + 16], "little")


def members(path: Path) -> Iterator[Member]:
    """Yield a zip's files, each read when it is its turn.

    Raises:
        Refusal: it is no zip file, or has too many files.
    """
    entries = file_list(path)
    with zipfile.ZipFile(path) as archive:
        budget = MAX_UNZIPPED
        for entry in entries:
            content = read(archive, entry, min(MAX_FILE_MB * 1_000_000, budget))
            if isinstance(content, io.BytesIO):
                budget -= content.getbuffer().nbytes
            yield Member(entry.filename, safe_stem(entry.filename), content)


def read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> io.BytesIO | Refusal:
    """One file's bytes, as long as they stay in bounds."""
    if entry.flag_bits & 1:
        return Refusal("It is locked with a password.")
    if entry.file_size > most or entry.file_size > MAX_RATIO * max(entry.compress_size, 1000):
        return Refusal("It is too large once unpacked.")
    try:
        with archive.open(entry) as file:
            content = file.read(most + 1)
    except Exception as error:  # damaged data raises anything
        logger.info("refused a zip's file: %s", type(error).__name__)
        return Refusal("It is damaged.")
    return Refusal("It is too large once unpacked.") if len(content) > most else io.BytesIO(content)


def is_hidden(name: str) -> bool:
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts_of(name))


def parts_of(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part]


def safe_stem(name: str) -> PurePosixPath:
    """Return a name's folders and stem as plain words: no way up, no root, no drive."""
    *folders, file = parts_of(name) or ["photo"]
    kept = [folder for folder in folders if folder.strip(". ")]
    return PurePosixPath(*(plain_name(folder.replace(".", "_")) for folder in kept[-8:]), plain_name(file))
