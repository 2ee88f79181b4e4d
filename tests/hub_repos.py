"""What the Hub of `tests/hub_server.py` holds: repos with branches, tags and pull requests, commits and files."""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import yaml


_LARGE = re.compile(r"\.(safetensors|parquet|arrow|bin|pt|pth|ckpt|onnx|npy|npz|zip|gz|png|jpe?g|webp|gif|mp4)$")
_LARGE_SIZE = 10_000_000
_LICENCES = (
    "apache-2.0",
    "mit",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "openrail",
    "other",
    "unknown",
)
_PLACES = {"heads": "branches", "tags": "tags", "convert": "converts", "pr": "pullRequests"}


class HubError(Exception):
    """A request that is refused; by the code the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Whether LFS keeps a file: the Hub reads `.gitattributes`, here it is fixed."""
    return bool(_LARGE.search(path)) or b"\0" in sample[:512] or size > _LARGE_SIZE


def front_matter(card: str) -> Any:
    """What stands between the lines `---` at a card's beginning."""
    found = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


def card_faults(card: str, kind: str) -> list[str]:
    """What the Hub would not take in a card's metadata; here some of its rules."""
    try:
        metadata = front_matter(card)
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"]
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"]
    faults = []
    for licence in [metadata["license"]] if isinstance(metadata.get("license"), str) else metadata.get("license", []):
        if licence not in _LICENCES:
            faults.append(f'"license" must be one of {", ".join(_LICENCES)}')
    for entry in metadata.get("model-index", []):
        for result in entry["results"]:
            if not {"type"} <= set(result["task"]) or not {"name", "type"} <= set(result["dataset"]):
                faults.append('"model-index[0].results[0]" lacks a type or a name')
            if not all({"type", "value"} <= set(metric) for metric in result["metrics"]):
                faults.append('"model-index[0].results[0].metrics" lacks a type or a value')
    if kind == "space":
        faults += [f'"{key}" is required' for key in ("title", "sdk") if key not in metadata]
        if len(metadata.get("short_description", "")) > 60:
            faults.append('"short_description" length must be less than or equal to 60 characters long')
    return faults


class Blobs(dict[str, bytes]):
    """The large files that have arrived, by SHA-256: those of all repos."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[tuple[str, int], bytes] = {}

    def store(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, "The content has another SHA-256")
        self[oid] = content

    def join(self, oid: str, etags: list[str]) -> None:
        """Make a file of its parts."""
        parts = [self.parts.pop((oid, number), b"") for number in range(1, len(etags) + 1)]
        if [hashlib.md5(part).hexdigest() for part in parts] != etags:
            raise HubError(400, "A part has another ETag")
        self.store(oid, b"".join(parts))


@dataclass(eq=False)
class Commit:
    """A revision: all files of a repo, each with the commit that changed it last."""

    title: str
    files: "dict[str, File]" = field(default_factory=dict, repr=False)
    # Random, not a hash: a repo that is deleted and made again must not meet its old self in a client's cache.
    oid: str = field(default_factory=lambda: os.urandom(20).hex())
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def file(self, path: str) -> "File":
        if path not in self.files:
            raise HubError(404, "Entry not found", "EntryNotFound", self.oid)
        return self.files[path]

    def listing(self, folder: str = "", recursive: bool = True) -> list[str]:
        """Paths of the files and folders in a folder."""
        folders = {str(parent) for path in self.files for parent in PurePosixPath(path).parents} - {"."}
        if folder and folder not in folders:
            raise HubError(404, f"{folder} does not exist", "EntryNotFound", self.oid)
        start = f"{folder}/" if folder else ""
        inside = (path for path in {*self.files, *folders} if path.startswith(start))
        return sorted(path for path in inside if recursive or "/" not in path[len(start) :])

    def entry(self, path: str, expand: bool) -> dict[str, Any]:
        """What the API tells of a file or folder."""
        below = [file for name, file in self.files.items() if name == path or name.startswith(f"{path}/")]
        last = max((file.commit for file in below), key=lambda commit: commit.date)
        oid = hashlib.sha1("".join(file.oid for file in below).encode()).hexdigest()
        facts = self.files[path].facts if path in self.files else {"type": "directory", "oid": oid, "size": 0}
        more = {"lastCommit": {"id": last.oid, "title": last.title, "date": last.date}} if expand else {}
        return {"path": path, **facts, **more}

    def upload_mode(self, path: str, sample: bytes, size: int) -> dict[str, Any]:
        """How to upload a file, and the name of what is there: a client does not commit what has it already."""
        oid = self.files[path].etag if path in self.files else None
        mode = "lfs" if is_large(path, sample, size) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}


class File:
    """A file's content, with the names that git and LFS give it."""

    def __init__(self, content: bytes, large: bool, commit: Commit) -> None:
        self.content, self.large, self.commit = content, large, commit
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        blob = pointer if large else content
        self.oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
        self.etag = sha256 if large else self.oid
        self.facts: dict[str, Any] = {"type": "file", "oid": self.oid, "blobId": self.oid, "size": size}
        if large:  # two spellings: of the tree's entries, and of the siblings in a repo's info
            self.facts["lfs"] = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(pointer)}


@dataclass(eq=False)
class Repo:
    """A model, dataset or Space."""

    kind: str  # "models", "datasets" or "spaces", as in the API's paths
    id: str
    private: bool = False
    gated: str | bool = False
    sdk: str | None = None
    variables: dict[str, str] = field(default_factory=dict)  # a Space's
    secrets: dict[str, str] = field(default_factory=dict)
    refs: dict[str, Commit] = field(default_factory=dict)  # by full names: "refs/heads/main"
    commits: dict[str, Commit] = field(default_factory=dict)  # of all refs, the oldest first

    @property
    def page(self) -> str:
        return f"/{self.id}" if self.kind == "models" else f"/{self.kind}/{self.id}"

    def at(self, revision: str) -> Commit:
        """The commit of a branch, tag, full ref or SHA."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.refs[name]
        if revision not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[revision]

    def info(self, revision: str, blobs: bool) -> dict[str, Any]:
        commit = self.at(revision)
        siblings = [{"rfilename": path, **(file.facts if blobs else {})} for path, file in commit.files.items()]
        told = {"id": self.id, "private": self.private, "gated": self.gated, "sdk": self.sdk, "tags": []}
        card = (
            {"cardData": front_matter(commit.files["README.md"].content.decode())}
            if "README.md" in commit.files
            else {}
        )
        return told | card | {"sha": commit.oid, "lastModified": commit.date, "siblings": siblings}

    def list_refs(self) -> dict[str, list[dict[str, str]]]:
        refs: dict[str, list[dict[str, str]]] = {name: [] for name in _PLACES.values()}
        for ref, commit in self.refs.items():
            _, place, name = ref.split("/", 2)
            refs[_PLACES[place]].append({"name": name, "ref": ref, "targetCommit": commit.oid})
        return refs

    def add_ref(self, ref: str, revision: str) -> None:
        if ref in self.refs:
            raise HubError(409, f"Reference already exists: {ref}")
        self.refs[ref] = self.at(revision)

    def remove_ref(self, ref: str) -> None:
        if self.refs.pop(ref, None) is None:
            raise HubError(404, f"No such reference: {ref}", "RevisionNotFound")

    def add_commit(
        self, ref: str, title: str, changes: Mapping[str, tuple[bytes, bool] | None], base: str = ""
    ) -> Commit:
        """Move a ref to a new commit.

        Args:
            ref: Its full name; it may be new.
            title: The commit's.
            changes: By path: the content and whether it is large, or None for a deletion.
            base: The revision to start from, for a ref that is new.
        """
        files = dict(self.at(base or ref).files) if self.refs else {}
        commit = self.refs[ref] = Commit(title, files)
        self.commits[commit.oid] = commit
        for path, change in changes.items():
            commit.files.pop(path, None)
            if change:
                commit.files[path] = File(*change, commit)
        return commit

    def push(
        self, revision: str, lines: list[dict], blobs: Mapping[str, bytes], create_pr: bool
    ) -> tuple[Commit, int]:
        """Do what a client's commit says, all or nothing.

        Args:
            revision: The branch, or what a pull request starts from.
            lines: The header and the operations, as the API takes them.
            blobs: The large files that have arrived, by SHA-256.
            create_pr: Whether to open a pull request.

        Returns:
            `tuple[Commit, int]`: The commit, and the pull request's number or 0.
        """
        parent, number = self.at(revision), 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
        ref = f"refs/pr/{number}" if create_pr else revision if revision in self.refs else f"refs/heads/{revision}"
        header, *operations = [line["value"] | {"key": line["key"]} for line in lines]
        if not create_pr and (ref not in self.refs or ref.startswith("refs/tags/")):
            raise HubError(400, f"Not a branch: {revision}")
        if header.get("parentCommit") not in (None, parent.oid):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, tuple[bytes, bool] | None] = {}
        for operation in operations:
            match operation:
                case {"key": "file", "path": path, "content": content}:
                    changes[path] = (base64.b64decode(content), False)
                case {"key": "lfsFile", "path": path, "oid": oid} if oid in blobs:
                    changes[path] = (blobs[oid], True)
                case {"key": "deletedFile" | "deletedFolder" as key, "path": path}:
                    start = f"{path.rstrip('/')}/" if key == "deletedFolder" else None
                    gone = [name for name in parent.files if (name.startswith(start) if start else name == path)]
                    changes |= dict.fromkeys(gone)
                    if not gone:
                        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                case _:
                    raise HubError(400, f"{operation['key']} {operation['path']}: unknown, or not uploaded")
        return self.add_commit(ref, header["summary"], changes, revision), number if create_pr else 0
