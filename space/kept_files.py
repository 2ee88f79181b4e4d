"""The folder of visitors' files: how long they stay in it, and that nothing stays of pages which were killed."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import IO


try:
    import fcntl
except ImportError:  # Windows: what a killed page left stays there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

PREFIX = "cyclegan-hf-page-"
LOCK, UPLOADS = "alive", "uploads"
_locks: list[IO[str]] = []  # open until the process ends, however it ends


def claim(folder: Path) -> Path:
    """Mark a new folder as this process's, and create the one for visitors' files in it."""
    if fcntl is not None:
        _locks.append((folder / LOCK).open("w"))
        fcntl.flock(_locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    uploads = folder / UPLOADS  # after the lock: a folder with files and no lock is nobody's
    uploads.mkdir()
    return uploads


def remove_leftovers() -> None:
    """Remove the folders of pages that are gone: the system gives up the lock of a process that ends."""
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Other users' folders cannot be opened, and links are nobody's page.
        with suppress(OSError):
            if folder.is_symlink() or not (folder / UPLOADS).is_dir():
                continue
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder / UPLOADS)  # the lock last: what fails here is tried again
                shutil.rmtree(folder)
            logger.info("removed the files of a page that was killed")


def sweep(folder: Path, seconds: float, spared: Container[str] = ()) -> None:
    """Remove what has lain in a folder for longer than `seconds`, and is not spared; and empty folders.

    Gradio's own sweep knows the files that went through its components, and ends for good where one arrives while it
    looks at them (6.31: the set changed size during iteration).
    """
    latest = time.time() - seconds
    for root, folders, files in os.walk(folder, topdown=False):  # passes over folders that go meanwhile
        for path in (Path(root, name) for name in files + folders):
            with suppress(OSError):  # it is gone, or not empty
                if path.lstat().st_ctime > latest or str(path) in spared:
                    continue
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
