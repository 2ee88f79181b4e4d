"""Sources that are picture files on this machine: a folder, a pattern, a list. No picture is opened."""

import glob
import logging
from pathlib import Path

from cyclegan_hf.image_formats import left_out_text, readable_extensions
from cyclegan_hf.picture_files import require_regular_file, split_by_extension, visible_files
from training.data.notation import KINDS, SourceSpec


logger = logging.getLogger(__name__)

SHARDS = frozenset(KINDS)
"""What makes a folder without pictures a data set."""


def picture_files(spec: SourceSpec) -> tuple[list[Path], Path] | None:
    """The picture files of a source, sorted by path, and the folder below which their names begin.

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
    """The picture files of a folder and its sub-folders, hidden ones left out, sorted by path.

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
    """The visible files that a pattern names, sorted; `**` is any number of folders."""
    return sorted(
        path for path in map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True)) if path.is_file()
    )


def fixed_folder(place: str) -> Path:
    """The folder above a pattern's first part with a wildcard; anything else as it is."""
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
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"`{spec.key}` {spec.place}: a list of paths that cannot be read: {error}.") from error
    files = [path.parent / line for line in lines if line and not line.startswith("#")]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise ValueError(
            f"`{spec.key}` {spec.place}: {len(missing)} of {len(files)} files are missing, the first is {missing[0]}; "
            "paths are relative to the list."
        )
    if not files:
        raise ValueError(f"`{spec.key}` {spec.place}: the list names no file.")
    for file in files:
        try:
            require_regular_file(file, "a picture")
        except ValueError as error:
            raise spec.refuse(f"{error}.") from None
    return sorted(dict.fromkeys(files)), path.parent
