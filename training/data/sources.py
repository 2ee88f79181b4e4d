"""Where a domain's pictures come from."""

from pathlib import Path

from cyclegan_hf.picture_files import READABLE, visible_files


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
    files = list(visible_files(root))
    pictures = sorted(path for path in files if path.suffix.lower() in READABLE)
    if not pictures:
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} holds none (other files: {len(files)}).")
    return pictures
