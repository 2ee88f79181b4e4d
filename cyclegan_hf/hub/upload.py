"""A set of files to the Hub, as one commit: all of them are visible, or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.hf_api import DatasetInfo, ModelInfo, SpaceInfo

from cyclegan_hf.hub.errors import LOG_IN, HubError, RepoType, Retries, ask_hub, hub_errors, page


CONFLICTS = 10
"""How often a push begins again because another one came first."""

_OF_ANY_REPO = re.compile(r"\.gitattributes|\.gitignore|README\.md|LICENSE(\.\w+)?")


@dataclass(frozen=True, kw_only=True)
class Published:
    """Result of a push.

    Attributes:
        url: Where to look at it: the repository, its branch or the pull request.
        commit: The commit's SHA.
        changed: Whether there was anything new.
        repo_id: The repository, with its owner.
    """

    url: str
    commit: str
    changed: bool
    repo_id: str

    def __str__(self) -> str:
        return self.url if self.changed else f"{self.url} (nothing new)"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The repository, revision and folder that files are pushed to.

    Args:
        repo_id: `"user/name"`; a name alone is one of the token's user.
        repo_type: `"model"`, `"dataset"` or `"space"`.
        private: Make a new repository private; an existing one that is public is refused.
        revision: Branch; made where there is none.
        create_pr: Open a pull request against the main branch instead of pushing to it.
        token: By default the stored one.
        marker: A file, and a text in it, by which a repository is known as one of ours; another one that holds
            anything is left alone.
        space_hardware: Of a new Space.
    """

    repo_id: str
    repo_type: RepoType = "model"
    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    token: str | None = None
    marker: tuple[str, str] | None = None
    space_hardware: str | None = None


def upload(
    target: Target,
    files: Mapping[str, Path | bytes],
    message: str,
    *,
    replaces: Sequence[str] = (),
    keeps: Mapping[str, Callable[[str], bool]] | None = None,
    opened: str | None = None,
) -> Published:
    """Push files as one commit, on top of what the branch holds then.

    The client's `upload_folder` makes several commits of a slow upload; a reader would find new settings with old
    weights. Here the commit names its parent: where somebody else pushed in the meantime, all is compared anew, so
    that never the files of one push mix with another's. A push that is broken off leaves nothing that can be seen,
    and what had been uploaded is not uploaded again.

    Args:
        target: Where to.
        files: Contents, or where they are, by their paths in the repository.
        message: The commit's.
        replaces: Patterns of files that go where they are not among `files`.
        keeps: Files that stay as they are where the repository has them and a function of their text says so.
        opened: What `open_repo` returned, where it was called already.

    Raises:
        HubError: It did not work; nothing has changed then, except that the repository may have been made.
    """
    repo_id = opened or open_repo(target)
    retries, conflicts = Retries(), 0
    while True:
        try:
            with hub_errors(repo_id, repo_type=target.repo_type, revision=target.revision, writing=True):
                return _commit(target, repo_id, files, message, replaces, keeps or {})
        except HubError as error:
            conflicts += error.conflict
            if not error.temporary or conflicts > CONFLICTS:
                raise
            if not error.conflict:
                retries.wait(error)


def open_repo(target: Target, *, asks: bool = False) -> str:
    """Make the repository, and the branch, where there is none.

    Args:
        target: Where to.
        asks: Ask the Hub whether this token may write: for what pushes only after long work. To a repository that is
            there already, the push itself would be the first to be refused.

    Returns:
        Its id, with the owner.

    Raises:
        HubError: It cannot be made or written to, it is public and should not be, or it holds something else.
    """
    if target.create_pr and target.revision:
        raise HubError(
            f"a pull request goes to the main branch: leave out `revision` {target.revision!r} or `create_pr`"
        )
    if (target.token or get_token()) is None:
        raise HubError(f"{target.repo_id}: the Hub needs to know who writes: {LOG_IN}")
    api = HfApi(token=target.token)
    where: dict[str, Any] = {"repo_type": target.repo_type, "revision": target.revision}
    return ask_hub(lambda: _open(api, target, asks), target.repo_id, writing=True, **where)


def _open(api: HfApi, target: Target, asks: bool) -> str:
    kind = target.repo_type
    repo_id = api.create_repo(
        target.repo_id,
        repo_type=kind,
        private=target.private,
        exist_ok=True,
        space_sdk="gradio" if kind == "space" else None,
        space_hardware=target.space_hardware,  # type: ignore[arg-type]
    ).repo_id
    if asks:
        api.auth_check(repo_id, repo_type=kind, write=True)
    info = _info(api, repo_id, kind, None)
    if target.private and not info.private:
        raise HubError(
            f"{repo_id} is on the Hub already, and public: make it private at {page(repo_id, kind)}/settings, or "
            "leave out `private`"
        )
    _check_marker(api, repo_id, target, info)
    if target.revision and target.revision != "main":
        refs = api.list_repo_refs(repo_id, repo_type=kind)
        if target.revision in [tag.name for tag in refs.tags]:
            raise HubError(f"{repo_id}: {target.revision!r} is a tag, and does not move: set `revision` to a branch")
        if target.revision not in [branch.name for branch in refs.branches]:
            api.create_branch(repo_id, branch=target.revision, repo_type=kind, exist_ok=True)
    return repo_id


def _check_marker(api: HfApi, repo_id: str, target: Target, info: ModelInfo | DatasetInfo | SpaceInfo) -> None:
    """Refuse a repository that holds somebody's other work."""
    names = _names(info)
    others = sorted(name for name in names if not _OF_ANY_REPO.fullmatch(name))
    if target.marker is None or not others:
        return
    name, text = target.marker
    if name in names and text in _text(api, repo_id, name, target.repo_type, info.sha):
        return
    raise HubError(
        f"{repo_id} on the Hub holds something else ({', '.join(others[:3])}{', …' if others[3:] else ''}): choose "
        "another name"
    )


def _commit(
    target: Target,
    repo_id: str,
    files: Mapping[str, Path | bytes],
    message: str,
    replaces: Sequence[str],
    keeps: Mapping[str, Callable[[str], bool]],
) -> Published:
    api, kind = HfApi(token=target.token), target.repo_type
    info = _info(api, repo_id, kind, target.revision)
    present = _names(info)
    kept = [
        path
        for path, stays in keeps.items()
        if path in present and stays(_text(api, repo_id, path, target.repo_type, info.sha))
    ]
    goes = {path: content for path, content in files.items() if path not in kept}
    stale = [name for name in present if name not in files and any(fnmatchcase(name, pattern) for pattern in replaces)]
    commit = api.create_commit(
        repo_id,
        [
            *(CommitOperationDelete(name) for name in stale),
            *(CommitOperationAdd(path, content) for path, content in goes.items()),
        ],
        commit_message=message,
        repo_type=kind,
        revision=target.revision,
        create_pr=target.create_pr,
        parent_commit=info.sha,
    )
    url = page(repo_id, kind)
    if target.revision and target.revision != "main":
        url = f"{url}/tree/{target.revision}"
    return Published(url=commit.pr_url or url, commit=commit.oid, changed=commit.oid != info.sha, repo_id=repo_id)


def _info(api: HfApi, repo_id: str, kind: RepoType, revision: str | None) -> ModelInfo | DatasetInfo | SpaceInfo:
    info = api.repo_info(repo_id, repo_type=kind, revision=revision)
    assert isinstance(info, ModelInfo | DatasetInfo | SpaceInfo)
    return info


def _text(api: HfApi, repo_id: str, path: str, kind: RepoType, commit: str | None) -> str:
    file = api.hf_hub_download(repo_id, path, repo_type=kind, revision=commit)
    return Path(file).read_text(encoding="utf-8", errors="replace")


def _names(info: ModelInfo | DatasetInfo | SpaceInfo) -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or []}
