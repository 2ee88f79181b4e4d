"""Files and folders that appear whole or not at all: written under a temporary name and renamed."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from cyclegan_hf.errors import one_line
from cyclegan_hf.saved_format import INDEX_NAME


_QUOTED = 300  # characters of another library's message


def temporary_beside(target: Path) -> Path:
    """Return an unused hidden path in the folder of `target`.

    The name is short: with the target's in it, names that the file system still takes would be too long.
    """
    return target.with_name(f".{uuid.uuid4().hex[:16]}.tmp")


def put_in_place(fresh: Path, folder: Path) -> None:
    """Let a finished folder take the place of another one, whose files go."""
    old = folder.with_name(f".{folder.name}.old.tmp")
    shutil.rmtree(old, ignore_errors=True)  # of a process that was killed
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; what was written there takes its place when the block ends well.

    Missing folders are made. An earlier `target` stays as it is until then.
    """
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder whose files become `target`'s when the block ends well; otherwise nothing changes.

    A new target appears in one rename. In an existing one each file is replaced whole, `model_index.json` last, and
    other files stay.

    Args:
        target: The folder.
        replace: Let the new folder take the place of an existing one, whose other files go.

    Raises:
        ValueError: It is a file.
        OSError: It cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: expected a folder to save to, got a file")
    merges = target.is_dir() and not replace
    home = target if merges else target.parent
    temporary = home / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        mode = temporary.stat().st_mode & 0o666  # what the umask left of a new folder's rights
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(mode)  # safetensors lets nobody else read its files
        if merges:
            _merge(temporary, target)
        else:
            put_in_place(temporary, target)
    except (OSError, SafetensorError) as error:  # a full disk is an OSError or, from the weights' writer, the other
        raise OSError(f"could not save to {target}: {one_line(error, _QUOTED)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Move the files of a folder into another one, `model_index.json` last."""
    files = sorted((path for path in source.rglob("*") if path.is_file()), key=lambda path: path.name == INDEX_NAME)
    for file in files:
        destination = target / file.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, destination)
