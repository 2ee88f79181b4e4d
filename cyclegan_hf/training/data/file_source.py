"""Sources that are picture files on this machine: a folder, a pattern, a list. No picture is opened."""

import codecs
import glob
import logging
import os
from pathlib import Path

from cyclegan_hf.images.files import split_by_extension, visible_files
from cyclegan_hf.images.formats import left_out_text, readable_extensions
from cyclegan_hf.regular_files import read_regular_file, require_regular_file
from cyclegan_hf.tables.access import is_below, real_folders, shown
from cyclegan_hf.training.data.notation import KINDS, OUTSIDE_FLAG, SourceSpec


logger = logging.getLogger(__name__)

SHARDS = frozenset(KINDS)
"""What makes a folder without pictures a data set."""


def picture_files(spec: SourceSpec) -> tuple[list[Path], Path] | None:
    """Return the image files of a source, sorted by path, and the folder below which their names begin.

    Args:
        spec: The source.

    Returns:
        Nothing, where the source is a data set, on this machine or elsewhere.

    Raises:
        ValueError: If there is nothing there, or nothing that is a picture.
    """
    path = Path(spec.place).expanduser()
    if spec.is_address or spec.is_hub_id:
        return None
    if not path.exists() and glob.has_magic(spec.place):
        return _matches(spec)
    if path.is_dir():
        if not spec.is_table:
            _refuse_both_domains(spec, path)
        return None if is_data_set(spec, path) else (list_pictures(path, spec.key), path)
    if path.suffix.lower() == ".txt" and path.exists():
        return _listed(spec, path)
    if path.suffix.lower() in KINDS and path.exists():
        return None
    list_pictures(path, spec.key)  # refuses what is missing, and a file
    raise AssertionError("a folder comes earlier")


def is_data_set(spec: SourceSpec, folder: Path) -> bool:
    """Whether a folder is read by `datasets`: it holds tables or shards and no picture, or rows are asked for."""
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():  # of save_to_disk
        return True
    readable, suffixes = readable_extensions(), set[str]()
    for path in visible_files(folder):  # a million of them: no longer than it takes to know
        suffixes.add(path.suffix.lower())
        if suffixes & readable:
            return spec.is_table
    return bool(suffixes & SHARDS)


def list_pictures(folder: str | Path, key: str) -> list[Path]:
    """Return the image files of a folder and its sub-folders, hidden ones left out, sorted by path.

    Args:
        folder: The folder.
        key: The flag that named it, for messages.

    Raises:
        ValueError: If the folder is missing, a file, or holds no pictures.
    """
    root = Path(folder)
    if not root.exists():
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} does not exist.")
    if not root.is_dir():
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} is a file.")
    pictures, others = split_by_extension(visible_files(root))
    text = left_out_text(others)
    if not pictures:
        held = f" ({text})" if text else ""
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} holds none{held}.")
    if text:
        logger.info("`%s` %s: %s", key, folder, text)
    return sorted(pictures)


def matches(pattern: str) -> list[Path]:
    """Return the visible files that a pattern names, sorted; `**` is any number of folders."""
    return sorted(
        path for path in map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True)) if path.is_file()
    )


def fixed_folder(place: str) -> Path:
    """Return the folder above a pattern's first part with a wildcard; anything else as it is."""
    path = Path(place).expanduser()
    parts = [] if path.exists() else path.parts
    return next((Path(*parts[:index]) for index, part in enumerate(parts) if glob.has_magic(part)), path)


def _matches(spec: SourceSpec) -> tuple[list[Path], Path] | None:
    found = matches(spec.place)
    pictures, others = split_by_extension(found)
    if not pictures and any(path.suffix.lower() in KINDS for path in others):
        return None
    if not pictures:
        raise ValueError(f"`{spec.key}` {spec.place}: no picture and no shard has a name like this.")
    if others:
        logger.info("`%s` %s: %s", spec.key, spec.place, left_out_text(others))
    return pictures, fixed_folder(spec.place)


def _listed(spec: SourceSpec, path: Path) -> tuple[list[Path], Path]:
    try:
        lines = [line.strip() for line in _text(read_regular_file(path)).splitlines()]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"`{spec.key}` {spec.place}: a list of paths that cannot be read: {error}.") from error
    files = [_named(path.parent, line) for line in lines if line and not line.startswith("#")]
    folders = real_folders(path.parent)
    outside = [file for file in files if "\0" not in str(file) and not is_below(os.path.realpath(file), folders)]
    if outside and not spec.allow_outside_files:
        raise ValueError(
            f"`{spec.key}` {spec.place}: {len(outside)} of {len(files)} files are outside of the list's folder, the "
            f"first is {shown(str(outside[0]))}; `{OUTSIDE_FLAG}` opens them."
        )
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise ValueError(
            f"`{spec.key}` {spec.place}: {len(missing)} of {len(files)} files are missing, the first is "
            f"{shown(str(missing[0]))}; paths are relative to the list."
        )
    if not files:
        raise ValueError(f"`{spec.key}` {spec.place}: the list names no file.")
    for file in files:
        try:
            require_regular_file(file, "a picture")
        except ValueError as error:
            raise spec.refuse(f"{error}.") from None
    return sorted(dict.fromkeys(files)), path.parent


def _refuse_both_domains(spec: SourceSpec, folder: Path) -> None:
    """Refuse a folder that holds both domains, and often the test images too."""
    split, letter = ("test" if "test" in spec.key else "train"), spec.key[-1].upper()
    for form in ("{split}{letter}", "{split}/{letter}", "{letter}"):
        own, other = (folder / form.format(split=split, letter=name) for name in (letter, "BA"["AB".index(letter)]))
        if own.is_dir() and other.is_dir():
            raise ValueError(
                f"`{spec.key}` {spec.place}: it holds both domains, {own.relative_to(folder)} and "
                f"{other.relative_to(folder)}. Did you mean {own}?"
            )


def _text(content: bytes) -> str:
    """Return the text of a list: UTF-8 or UTF-16, with a byte-order mark or without."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content[:2] or b"\0" in content[2:4]:  # what begins in ASCII has a zero in each of its first pairs
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    return content.decode("utf-8-sig")


def _named(folder: Path, line: str) -> Path:
    """Return the file that a line names: as written, without quotation marks, or with backslashes as slashes."""
    bare = line[1:-1] if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'" else line
    names = dict.fromkeys([line, bare, bare.replace("\\", "/")])
    return next((folder / name for name in names if os.path.isfile(folder / name)), folder / list(names)[-1])
