"""Files from the Hub, at one commit, and the same that the Hub has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import (
    _CACHED_NO_EXIST,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HTTPError

from cyclegan_hf.hub.errors import HubError, ask_hub


class RepoFiles:
    """The files of a repository, all from the commit that the first one came from.

    Where that commit is in the cache, one request says that it is still the newest, and none is made for the files.
    Without a connection the cache answers. The clients compare a download's size with the Hub's; here each file's
    SHA-256 is compared too (of small files the git hash), on every load: a cache entry that is damaged is fetched
    again, once. Without symbolic links in the cache this takes a request a file, and a connection.

    Args:
        repo_id: `"user/name"`.
        revision: Branch, tag or commit.
        token, cache_dir, local_files_only, force_download: As of `huggingface_hub.hf_hub_download`.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> None:
        self.repo_id = repo_id
        self.asked = revision
        self.commit: str | None = None
        self._force = force_download
        self._hub: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}

    def get(self, name: str) -> Path:
        """Return a file, downloading it if the cache lacks it.

        Args:
            name: Its path in the repository.

        Raises:
            HubError: There is no such file, it cannot be had, or it is not what the Hub has.
        """
        return ask_hub(lambda: self._get(name), self.repo_id, revision=self.asked)

    def is_known_to_lack(self, name: str) -> bool:
        """Return whether the cache remembers that the commit has no such file; call it after a first `get`."""
        found = try_to_load_from_cache(self.repo_id, name, cache_dir=self._hub["cache_dir"], revision=self.commit)
        return not self._force and found is _CACHED_NO_EXIST

    def find(self, *patterns: str) -> dict[str, Path]:
        """Find files by patterns of their paths, such as `"*_net_G_A.pth"`; `*` doesn't match subfolders.

        Raises:
            HubError: As `get`; no matching file is no error.
        """
        folder = ask_hub(lambda: self._snapshot(patterns), self.repo_id, revision=self.asked)
        self.commit = Path(folder).name
        names = [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]
        found = [name for name in names for pattern in patterns if _matches(name, pattern)]
        self._force = False
        return {name: self.get(name) for name in sorted(found)}

    def _get(self, name: str) -> Path:
        path = self._fetch(name, self._force)
        if self.commit is None:
            self.commit = path.parents[len(PurePosixPath(name).parts) - 1].name
        return self._fetch_again(name, path) if self._is_damaged(name, path) else path

    def _snapshot(self, patterns: Sequence[str]) -> str:
        return snapshot_download(
            self.repo_id,
            revision=self.commit or self.asked,
            allow_patterns=list(patterns),
            force_download=self._force,
            **self._hub,
        )

    def _fetch(self, name: str, force: bool) -> Path:
        settings = self._hub | {"revision": self.commit or self.asked}
        try:
            return Path(hf_hub_download(self.repo_id, name, force_download=force, **settings))
        except OSError as error:
            if "Consistency check failed" not in str(error):  # fewer bytes than there should be, and none kept
                raise
            return Path(hf_hub_download(self.repo_id, name, force_download=force, **settings))

    def _fetch_again(self, name: str, path: Path) -> Path:
        try:
            if not path.is_symlink():
                path.unlink()  # the client replaces links alone
            path = self._fetch(name, force=True)
        except (OSError, ValueError, HubError) as error:
            raise HubError(
                f"{path} in the cache is damaged, and cannot be fetched again now: load it once with a connection"
            ) from error
        if self._is_damaged(name, path):
            raise HubError(
                f"{self.repo_id}: {name} arrived damaged, twice: its hash is not the one that the Hub states; check "
                f"what is between here and the Hub (a proxy, the disk), and delete {path}",
                temporary=True,
            )
        return path

    def _is_damaged(self, name: str, path: Path) -> bool:
        """Return whether a file of the cache differs from the Hub's.

        The cache names contents by the hashes that the Hub states and links to them. Where a system has no links, as
        Windows often has not, the cache does not know the hashes: the Hub is asked, and nothing is compared where it
        cannot be.
        """
        if path.is_symlink():
            return is_damaged(path, Path(os.readlink(path)).name)
        if self._hub["local_files_only"]:
            return False
        url = hf_hub_url(self.repo_id, name, revision=self.commit)
        try:
            stated = get_hf_file_metadata(url, token=self._hub["token"]).etag
        except (OSError, ValueError, HTTPError):
            return False
        return stated is not None and is_damaged(path, stated)


def is_damaged(path: Path, stated: str) -> bool:
    """Return whether a file differs from the Hub's.

    Args:
        path: The file.
        stated: The hash that the Hub states: SHA-256 of large files, git's of small ones; any other is not compared.
    """
    match len(stated):
        case 64:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() != stated
        case 40:
            content = path.read_bytes()
            return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != stated
    return False


def _matches(name: str, pattern: str) -> bool:
    return fnmatch(name, pattern) and name.count("/") == pattern.count("/")
