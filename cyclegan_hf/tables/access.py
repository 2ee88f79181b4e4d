"""Rules for the files that rows of a table may name.

A cell of a table may hold a path instead of an image's bytes. Whoever wrote the table chose that path. So a stranger's
table could name a file of this machine, a private repository of its reader, or an address that notes who asks for it.
Every reader of tables opens cells through [`TableAccess`], and through nothing else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from cyclegan_hf.errors import one_line
from cyclegan_hf.regular_files import read_regular_file


_INSIDE = re.compile(r"(zip|tar|gzip|bz2|xz|lz4|zstd)://")
"""A member of an archive, as `zip://member::archive`."""
_SHOWN = 200  # characters of a cell that a message repeats


@dataclass(frozen=True, kw_only=True)
class TableAccess:
    """The files that the cells of one table may name.

    Attributes:
        place: The table, for messages.
        repo: The repository and commit that the table comes from, `"hf://datasets/user/name@commit/"`.
        files: Addresses of the files that the table is made of: a cell may name members of these archives.
        folders: Real paths of the folders whose files a cell may name.
        base: The folder or address that relative paths begin at.
        everything: Open whatever a cell names.
        flag: The flag that sets `everything`, for messages.
    """

    place: str
    repo: str | None = None
    files: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()
    base: str | None = None
    everything: bool = False
    flag: str = "--allow-outside-files"

    def locate(self, path: str) -> str:
        """Return the path or address to open for a cell.

        Args:
            path: What the cell names.

        Raises:
            ValueError: The cell may not name it.
        """
        *members, container = path.split("::")
        if "\0" in path:
            raise self._refusal(path)
        if not self.everything and any(_INSIDE.match(member) is None for member in members):
            raise self._refusal(path)
        return "::".join([*members, self._container(container, path)])

    def read(self, path: str, token: str | None = None) -> bytes:
        """Return the content of the file that a cell names.

        Args:
            path: What the cell names.
            token: A token for the Hub.

        Raises:
            ValueError: The cell may not name it, or it cannot be read. The message has nothing of its content.
        """
        place = self.locate(path)
        try:
            if "://" not in place:
                return read_regular_file(place)
            from datasets import DownloadConfig
            from datasets.utils.file_utils import xopen

            with xopen(place, "rb", download_config=DownloadConfig(token=token)) as file:
                content: bytes = file.read()
        except Exception as error:  # of the file system in question: a lost connection, a missing file
            raise ValueError(f"{shown(path)} cannot be read ({one_line(error, _SHOWN)})") from error
        return content

    def content(self, cell: Any, token: str | None = None) -> bytes:
        """Return the bytes of a cell: `{"bytes": …, "path": …}`, a file's bytes, or none.

        Raises:
            ValueError: The cell is empty, may not name its file, or the file cannot be read.
        """
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        if data is not None:
            return bytes(data)
        if not path:
            raise ValueError("expected an image, got an empty cell")
        return self.read(path, token)

    def _container(self, container: str, path: str) -> str:
        """Return the file itself, or the archive that holds it."""
        scheme, separator, _ = container.partition("://")
        if separator and scheme.lower() in ("file", "local"):
            if not self.everything:
                raise self._refusal(path)
            return self._local(container.partition("://")[2], path)
        if separator:
            return self._remote(container, path)
        if self.base is not None and "://" in self.base and not os.path.isabs(container):
            return self._remote(f"{self.base.rstrip('/')}/{container}", path)
        return self._local(container, path)

    def _remote(self, address: str, path: str) -> str:
        if self.everything or address in self.files:
            return address
        if self.repo is None:
            raise self._refusal(path)
        unpinned = f"{self.repo[: -len('/')].rpartition('@')[0]}/" if "@" in self.repo else self.repo
        if address.startswith(unpinned):  # at the commit that the table is read at
            address = self.repo + address[len(unpinned) :]
        inside = unquote(address[len(self.repo) :])
        is_plain = inside and not any(part in ("", ".", "..") for part in re.split(r"[/\\]", inside))
        if not (address.startswith(self.repo) and is_plain and not re.search(r"[?#@]|://", inside)):
            raise self._refusal(path)
        return address

    def _local(self, file: str, path: str) -> str:
        """Return a local file below one of the folders, links resolved."""
        if not file:
            raise self._refusal(path)
        candidates = [os.path.join(base, file) for base in (self.base or "", "")]  # as written from here, too
        real = [os.path.realpath(candidate) for candidate in dict.fromkeys(candidates)]
        allowed = [place for place in real if self.everything or is_below(place, self.folders)]
        if not allowed:
            raise self._refusal(path)
        return next(filter(os.path.exists, allowed), allowed[0])

    def _refusal(self, path: str) -> ValueError:
        where = "its own repository and commit" if self.repo else "its own folder" if self.folders else "itself"
        return ValueError(
            f"refused: the cell names {shown(path)}, and {self.place} may only name files in {where}; `{self.flag}` "
            "opens it"
        )


def is_below(real: str, folders: tuple[str, ...]) -> bool:
    """Return whether a real path is below one of some real folders."""
    return any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def real_folders(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return a folder's real path; of a snapshot in the Hub's cache, also that of the files which it links to."""
    real = os.path.realpath(folder)
    snapshot = re.match(r"(.*/datasets--[^/]+)/snapshots/[^/]+(?:/|$)", real)
    return (real, f"{snapshot[1]}/blobs") if snapshot else (real,)


def shown(path: str) -> str:
    """Return a cell's path for a message: cut, and without control characters, which a terminal would obey."""
    return repr(path if len(path) <= _SHOWN else f"{path[: _SHOWN - 1]}…")
