"""Regular files, told from what can be read for ever: opening a FIFO or a device may never return."""

import os
import stat
from pathlib import Path
from typing import Any


def is_regular_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a file with content: no folder, and no pipe or device, which could be read for ever."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_regular_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: There is no such file, it cannot be read, or it is a pipe, a socket or a device.
    """
    if os.path.exists(path) and not is_regular_file(path):
        raise OSError("expected a regular file")
    with open(path, "rb") as file:
        return file.read()


def require_regular_file(path: str | os.PathLike[str], what: str = "an image file") -> Path:
    """Return a path that is a regular file, or a link to one. Opening a FIFO or a device would wait for ever.

    Args:
        path: The file.
        what: What was expected, for the message.

    Raises:
        ValueError: It is missing, a directory, a FIFO, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        fault = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"{os.fspath(path)}: expected {what}, but {fault}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fspath(path)}: expected {what}, got {_kind(mode)}")
    return Path(path)


def _kind(mode: int) -> str:
    kinds: dict[str, Any] = {
        "a directory": stat.S_ISDIR,
        "a named pipe (FIFO)": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
    }
    return next((kind for kind, is_kind in kinds.items() if is_kind(mode)), "a device")
