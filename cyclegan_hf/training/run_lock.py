"""One process at a time in an output folder: two would remove one another's half-written checkpoints.

`run.lock` holds the owner's process id, host and start, for messages. What counts is the kernel's lock on it, which
ends with its owner, however that ends: a file that a killed process has left behind holds nobody up.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "run.lock"


def check_unlocked(output_dir: Path) -> None:
    """Refuse a folder that another process is at work in; writes nothing.

    Raises:
        ValueError: With the process, its host and since when.
    """
    file = output_dir / LOCK_NAME
    with contextlib.suppress(FileNotFoundError, PermissionError), file.open("r+", encoding="utf-8") as lock:
        if not _take(lock):
            raise ValueError(_refusal(output_dir, lock))


@contextlib.contextmanager
def run_lock(output_dir: Path, wanted: bool = True) -> Iterator[None]:
    """Hold a folder's lock; one whose owner is gone is taken over.

    Args:
        output_dir: The folder; it exists.
        wanted: Whether this process is the one that writes.

    Raises:
        ValueError: Another process has it.
        OSError: It cannot be written.
    """
    if not wanted:
        yield
        return
    path = output_dir / LOCK_NAME
    while True:
        lock = path.open("a+", encoding="utf-8")
        if not _take(lock):
            message = _refusal(output_dir, lock)
            lock.close()
            raise ValueError(message)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                break
        lock.close()  # its owner has just removed it: this is no longer the folder's
    try:
        lock.seek(0)
        lock.truncate()
        began = psutil.Process().create_time()
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started": started, "began": began}, lock)
        lock.flush()
        yield
    finally:
        if os.name == "nt":  # an open file cannot be removed there
            lock.close()
        path.unlink(missing_ok=True)
        lock.close()


def _take(lock: Any) -> bool:
    """Whether this process has the lock now. Workers that it forks do not inherit it."""
    if fcntl is not None:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            pass
    owner = _owner(lock)
    if owner.get("host") != socket.gethostname() or owner.get("pid") == os.getpid():
        return True
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["began"]) > 2  # its number has been given again
    except psutil.Error:
        return True


def _owner(lock: Any) -> dict[str, Any]:
    lock.seek(0)
    try:
        owner = json.load(lock)
        return owner if {"pid", "host", "started", "began"} <= owner.keys() else {}
    except (ValueError, AttributeError):  # not written yet, or by somebody else
        return {}


def _refusal(output_dir: Path, lock: Any) -> str:
    owner = _owner(lock)
    who = f"process {owner['pid']} on {owner['host']} since {owner['started']}" if owner else "another process"
    return f"`--output-dir {output_dir}` is in use by {who}: stop that run first, or choose another folder."
