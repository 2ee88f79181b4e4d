"""Where a domain's pictures come from."""

from pathlib import Path


EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})


def list_pictures(folder: str | Path, key: str) -> list[Path]:
    """The picture files of a folder and its sub-folders, sorted by path.

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
    pictures = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in EXTENSIONS and path.is_file() and not path.name.startswith(".")
    )
    if not pictures:
        found = sum(path.is_file() for path in root.rglob("*"))
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} holds none (files of other kinds: {found}).")
    return pictures
