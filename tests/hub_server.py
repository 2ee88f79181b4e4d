"""A Hugging Face Hub on loopback, in memory: enough of the protocol for the real clients to push to it and to load from it.

    with HubServer() as server:
        subprocess.run(command, env=server.environment(tmp_path / "home"))
        assert "config.json" in server.files("model", "tester/winter")

The clients read `HF_ENDPOINT` at import, so they run in a process of their own, with `server.environment(...)`. Large
files go and come through a second port, the "CDN": another origin, which must never get the token (`server.leaks`).

What it does not imitate: Xet (`HF_HUB_DISABLE_XET=1`; it would be more routes in `_api`, a header in `_resolve` and a
store next to `blobs`), `.gitignore`, the checks of a model card, search, discussions, running Spaces, history and
copies between repos, signed URLs, rate limits. Three rules are guesses: what counts as large (`_LARGE`), the words of
an error, and who may do what. A token of role "read" or "write" sees every private and gated repo, "none" sees none.
"""  # noqa: E501

import base64
import functools
import hashlib
import json
import os
import re
import socket
import threading
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit


USER, ORGANIZATION = "tester", "team"  # the namespaces where the token "write" may write
_LARGE = re.compile(r"\.(safetensors|parquet|arrow|bin|pt|pth|ckpt|onnx|npy|npz|zip|gz|png|jpe?g|webp|gif|mp4)$")
_LARGE_SIZE = 10_000_000
_INVERTED = bytes(255 - byte for byte in range(256))


class _Refusal(Exception):
    """An answer that is an error, with the headers by which the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        named = {
            "X-Error-Code": code,
            "X-Error-Message": message,
            **{k.replace("_", "-"): headers[k] for k in headers},
        }
        self.answer = _json({"error": message}, status, {name: value for name, value in named.items() if value})


@dataclass
class _Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


@dataclass
class Request:
    """What a client sent, and how it was answered: `status` is None where the connection was dropped."""

    origin: Literal["hub", "cdn"]
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = field(default=b"", repr=False)
    status: int | None = None


@dataclass
class Fault:
    """Something that goes wrong `times` times; `fired` counts how often it did. See [`HubServer.fault`]."""

    kind: Literal["status", "drop", "lost", "cut", "short", "garbage"]
    pattern: str
    times: int
    method: str | None
    status: int
    size: int
    fired: int = 0


@dataclass(eq=False)
class Commit:
    """A revision: every file of the repo, and where it stood in the history."""

    oid: str
    title: str
    description: str
    parent: "Commit | None"
    date: str
    files: "dict[str, File]" = field(default_factory=dict, repr=False)

    def listing(self, folder: str = "", recursive: bool = True) -> list[str]:
        """Files and folders under a folder."""
        folders = {str(parent) for path in self.files for parent in PurePosixPath(path).parents} - {"."}
        if folder and folder not in folders:
            raise _Refusal(404, f"{folder} does not exist on this revision", "EntryNotFound", X_Repo_Commit=self.oid)
        start = f"{folder}/" if folder else ""
        inside = (path for path in {*self.files, *folders} if path.startswith(start))
        return sorted(path for path in inside if recursive or "/" not in path[len(start) :])

    def entry(self, path: str, expand: bool = False) -> dict[str, Any]:
        """What `tree` and `paths-info` tell of a file or folder."""
        if path in self.files:
            last = self.files[path].commit
            entry = {"type": "file", "path": path, **self.files[path].identity()}
        else:
            below = [self.files[name] for name in sorted(self.files) if name.startswith(f"{path}/")]
            last = max((file.commit for file in below), key=lambda commit: commit.date)
            oid = hashlib.sha1("".join(file.oid for file in below).encode()).hexdigest()
            entry = {"type": "directory", "path": path, "oid": oid, "size": 0}
        return entry | ({"lastCommit": {"id": last.oid, "title": last.title, "date": last.date}} if expand else {})


@dataclass(frozen=True, eq=False)
class File:
    """A file's content, and the commit that last changed it."""

    content: bytes = field(repr=False)
    large: bool
    commit: Commit

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @functools.cached_property
    def pointer(self) -> bytes:
        """What git holds instead of a large file."""
        lines = (
            "version https://git-lfs.github.com/spec/v1",
            f"oid sha256:{self.sha256}",
            f"size {len(self.content)}",
        )
        return "".join(f"{line}\n" for line in lines).encode()

    @functools.cached_property
    def oid(self) -> str:
        """Git's name for the file, or for its pointer."""
        content = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid

    def identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = {"oid": self.oid, "size": len(self.content)}
        if self.large:
            identity["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": len(self.pointer)}
        return identity


@dataclass(eq=False)
class Repo:
    """A model, dataset or Space: its settings and its revisions."""

    kind: str  # "models", "datasets" or "spaces", as in the API's paths
    id: str
    private: bool = False
    gated: str | bool = False
    sdk: str | None = None
    refs: dict[str, Commit] = field(default_factory=dict)  # of full names: "refs/heads/main"
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def page(self) -> str:
        return f"/{self.id}" if self.kind == "models" else f"/{self.kind}/{self.id}"

    def commit_at(self, revision: str) -> Commit:
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.refs[name]
        if revision not in self.commits:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[revision]

    def branch_name(self, revision: str) -> str:
        """The full name of a ref that a commit may move: a branch or a pull request."""
        names = [name for name in (f"refs/heads/{revision}", revision) if name in self.refs and "tags/" not in name]
        if not names:
            self.commit_at(revision)  # an unknown revision has its own error
            raise _Refusal(400, f"Not a branch: {revision}")
        return names[0]

    def add_commit(self, ref: str, parent: Commit | None, title: str, description: str = "") -> Commit:
        """A commit with its parent's files, not yet changed."""
        # Random, as a clock would make it: a repo that is deleted and made again must not meet its old self in a cache.
        commit = Commit(os.urandom(20).hex(), title, description, parent, _now(), dict(parent.files) if parent else {})
        self.commits[commit.oid] = self.refs[ref] = commit
        return commit

    def info(self, commit: Commit, blobs: bool) -> dict[str, Any]:
        siblings = []
        for path, file in sorted(commit.files.items()):
            sizes: dict[str, Any] = {"size": len(file.content), "blobId": file.oid}
            if file.large:
                sizes["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
            siblings.append({"rfilename": path, **(sizes if blobs else {})})
        info = {"id": self.id, "author": self.id.split("/")[0], "sha": commit.oid, "lastModified": commit.date}
        more = {"private": self.private, "gated": self.gated, "sdk": self.sdk, "tags": [], "siblings": siblings}
        return info | more


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class HubServer:
    """A context manager: two ports on 127.0.0.1, `endpoint` for the Hub's and `cdn` for the large files'.

    Attributes:
        tokens: A token for each role: "write", "read", and "none", somebody who may see nothing private.
        requests: What came in, in order, faults included.
        page_size: Entries in one page of a listing.
        part_size: Larger uploads come in several parts of this many bytes.
    """

    def __init__(self) -> None:
        self.tokens = {role: f"hf_{role}" for role in ("write", "read", "none")}
        self.requests: list[Request] = []
        self.page_size = 1000
        self.part_size = 64_000_000
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}  # by SHA-256, those of every repo
        self._parts: dict[tuple[str, int], bytes] = {}
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._ports = {origin: _Port(self, origin) for origin in ("hub", "cdn")}
        self.endpoint, self.cdn = (f"http://127.0.0.1:{port.server_port}" for port in self._ports.values())

    def __enter__(self) -> "HubServer":
        for port in self._ports.values():
            threading.Thread(target=port.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone: hang up on every client too, or one with an open connection would still be served."""
        while self._ports:
            _, port = self._ports.popitem()
            port.shutdown()
            port.hang_up()
            port.server_close()

    def environment(self, home: Path, role: str | None = "write") -> dict[str, str]:
        """This process's environment, with a client's settings: this server, the token of a role, a cache in `home`."""
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
        token = {"HF_TOKEN": self.tokens[role]} if role else {}
        return kept | ours | token | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def fault(
        self,
        kind: str,
        pattern: str = "",
        *,
        times: int = 1,
        method: str | None = None,
        status: int = 503,
        size: int = 0,
    ) -> Fault:
        """Let something go wrong with the next requests whose path has the pattern (searched for, on either port).

        Args:
            kind: `"status"`: answer `status` and do nothing. `"drop"`: hang up before the body is read. `"lost"`: do
                what was asked and hang up instead of answering. Of a GET's content: `"cut"`: hang up after `size` bytes;
                `"short"`: leave out the last `size` bytes; `"garbage"`: as many other bytes.
            pattern: A regular expression, searched for in the path.
            times: How often.
            method: Only requests of this method.
            status: For `"status"`.
            size: For `"cut"` and `"short"`; content that is not larger passes untouched and does not count.
        """
        self._faults.append(Fault(kind, pattern, times, method, status, size))  # type: ignore[arg-type]
        return self._faults[-1]

    def seen(self, method: str, pattern: str = "") -> list[Request]:
        """The requests of a method whose path has the pattern."""
        return [r for r in self.requests if r.method == method and re.search(pattern, r.path)]

    @property
    def leaks(self) -> list[Request]:
        """The requests that took a token to the CDN."""
        return [request for request in self.requests if request.origin == "cdn" and "authorization" in request.headers]

    def repo(self, repo_type: str, repo_id: str) -> Repo:
        return self.repos[f"{repo_type}s", repo_id]

    def files(self, repo_type: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The content of each file."""
        commit = self.repo(repo_type, repo_id).commit_at(revision)
        return {path: file.content for path, file in sorted(commit.files.items())}

    def history(self, repo_type: str, repo_id: str, revision: str = "main") -> list[Commit]:
        """The commits of a revision, the newest first."""
        commits = [self.repo(repo_type, repo_id).commit_at(revision)]
        while commits[-1].parent:
            commits.append(commits[-1].parent)
        return commits

    def add(self, repo_type: str, repo_id: str, files: Mapping[str, bytes] | None = None, **settings: Any) -> Repo:
        """Make a repo as its first commit, or one more, without a client; `settings` are `private`, `gated` and `sdk`."""
        key = (f"{repo_type}s", repo_id)
        with self._lock:
            if key not in self.repos:
                repo = self.repos[key] = Repo(*key, **settings)
                first = repo.add_commit("refs/heads/main", None, "initial commit")
                first.files[".gitattributes"] = File(b"*.safetensors filter=lfs\n", False, first)
            repo = self.repos[key]
            if files is not None:
                commit = repo.add_commit("refs/heads/main", repo.commit_at("main"), "Add files")
                commit.files |= {
                    path: File(content, _is_large(path, content), commit) for path, content in files.items()
                }
                self.blobs |= {file.sha256: file.content for file in commit.files.values() if file.large}
            return repo

    # What follows runs in the connections' threads.

    def _take(self, kinds: Iterable[str], request: Request, size: int = -1) -> Fault | None:
        """The fault that strikes this request, if any, counted."""
        with self._lock:
            for fault in self._faults:
                meant = fault.kind in kinds and fault.method in (None, request.method) and fault.fired < fault.times
                if meant and re.search(fault.pattern, request.path) and (size < 0 or size > fault.size):
                    fault.fired += 1
                    return fault
        return None

    def _answer(self, request: Request) -> _Answer:
        fault = self._take(("status",), request)
        try:
            if fault:
                raise _Refusal(fault.status, "This fault was asked for")
            with self._lock:
                return self._cdn(request) if request.origin == "cdn" else self._hub(request)
        except _Refusal as refusal:
            return refusal.answer
        except Exception:  # a bug here or a request without what it needs: 501, which no client takes for a busy Hub
            return _Answer(501, traceback.format_exc().encode())

    def _cdn(self, request: Request) -> _Answer:
        if "authorization" in request.headers:  # S3 does so too: the signature in the URL is enough
            raise _Refusal(400, "Only one auth mechanism allowed")
        match request.method, request.path.split("/")[1:]:
            case "PUT", ["lfs", oid]:
                self._store(oid, request.body)
            case "PUT", ["lfs", oid, part]:
                self._parts[oid, int(part)] = request.body
            case "GET" | "HEAD", ["lfs", oid] if oid in self.blobs:
                return _part_of(self.blobs[oid], oid, request)
            case _:
                raise _Refusal(404, "No such object")
        return _Answer(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _store(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise _Refusal(400, "The content has another SHA-256")
        self.blobs[oid] = content

    def _role(self, request: Request) -> str | None:
        if "authorization" not in request.headers:
            return None
        for role, token in self.tokens.items():
            if request.headers["authorization"] == f"Bearer {token}":
                return role
        raise _Refusal(401, "Invalid credentials in Authorization header")

    def _require(self, request: Request, kind: str, repo_id: str, need: Literal["see", "read", "write"]) -> Repo:
        """The repo, if this request's token may do that."""
        role, repo = self._role(request), self.repos.get((kind, repo_id))
        trusted, unknown = role in ("read", "write"), 401 if role is None else 404
        if repo is None or (repo.private and not trusted):
            raise _Refusal(unknown, "Repository not found", "RepoNotFound")  # a private one does not betray itself
        if need == "read" and repo.gated and not trusted:
            raise _Refusal(401 if role is None else 403, f"Access to {repo_id} is restricted", "GatedRepo")
        if need == "write":
            self._require_writer(request, repo_id.split("/")[0], "create_pr" in request.query)
        return repo

    def _require_writer(self, request: Request, namespace: str, proposes: bool = False) -> None:
        role = self._role(request)
        if role is None:  # on https the client itself reads "no such repo" out of a 401; on http it needs the code
            raise _Refusal(
                401, "Invalid username or password.", "RepoNotFound" if "/repos/" not in request.path else ""
            )
        if role != "write" or (namespace not in (USER, ORGANIZATION) and not proposes):
            raise _Refusal(403, f"You don't have the rights to write under the namespace {namespace}")

    def _hub(self, request: Request) -> _Answer:
        """Everything on the Hub's port."""
        segments = [unquote(segment) for segment in request.path.split("/")[1:]]
        kind = segments[0] if segments[0] in ("datasets", "spaces") else "models"
        match request.method, segments if kind == "models" else segments[1:]:
            case "GET", ["api", "whoami-v2"]:
                role = self._role(request)
                if role is None:
                    raise _Refusal(401, "Invalid username or password.")
                name, groups = ("stranger", []) if role == "none" else (USER, [{"name": ORGANIZATION, "type": "org"}])
                auth = {"type": "access_token", "accessToken": {"displayName": role, "role": role}}
                return _json({"type": "user", "name": name, "fullname": name, "orgs": groups, "auth": auth})
            case ("POST" | "DELETE") as method, ["api", "repos", "create" | "delete"]:
                return self._create_or_delete(request, method)
            case "POST", ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case "POST", ["api", "complete-multipart", oid]:  # a signed URL: no token
                tags = [part["etag"].strip('"') for part in json.loads(request.body)["parts"]]
                parts = [self._parts.pop((oid, number)) for number in range(1, len(tags) + 1)]
                if [hashlib.md5(part).hexdigest() for part in parts] != tags:
                    raise _Refusal(400, "A part has another ETag")
                self._store(oid, b"".join(parts))
                return _json({})
            case method, ["api", ("models" | "datasets" | "spaces") as kind, owner, name, *rest]:
                return self._api(request, method, kind, f"{owner}/{name}", rest)
            case "POST", [owner, name, "info", "lfs", *rest] if name.endswith(".git"):
                repo = self._require(request, kind, f"{owner}/{name[:-4]}", "write")
                return self._large_files(repo, rest, json.loads(request.body))
            case "GET" | "HEAD", [owner, name, "resolve", revision, *path]:
                repo = self._require(request, kind, f"{owner}/{name}", "read")
                return self._resolve(repo.commit_at(revision), "/".join(path), request)
        raise _Refusal(404, "No such page on this server")

    def _api(self, request: Request, method: str, kind: str, repo_id: str, rest: list[str]) -> _Answer:
        """`/api/{models, datasets or spaces}/{id}/...`."""
        writes = method in ("PUT", "DELETE") or (method == "POST" and rest[:1] != ["paths-info"])
        repo = self._require(request, kind, repo_id, "write" if writes else "see")
        match method, rest:
            case "GET", ["tree", revision, *path]:
                return self._tree(repo.commit_at(revision), "/".join(path), request)
            case "GET", [] | ["revision", _]:
                return _json(repo.info(repo.commit_at(rest[1] if rest else "main"), "blobs" in request.query))
            case "POST", ["paths-info", revision]:
                form, commit = parse_qs(request.body.decode()), repo.commit_at(revision)
                known, expand = {*commit.listing()}, form.get("expand", [""])[0].lower() == "true"
                return _json([commit.entry(path, expand) for path in form.get("paths", []) if path in known])
            case "GET", ["refs"]:
                found: dict[str, list] = {"heads": [], "tags": [], "convert": [], "pr": []}
                for ref, commit in repo.refs.items():
                    _, place, name = ref.split("/", 2)
                    found[place].append({"name": name, "ref": ref, "targetCommit": commit.oid})
                names = dict(zip(("branches", "tags", "converts", "pullRequests"), found.values(), strict=True))
                return _json(names)
            case "PUT", ["settings"]:
                settings = json.loads(request.body)
                repo.gated = settings.get("gated", repo.gated)
                repo.private = settings.get("visibility", "private" if repo.private else "public") == "private"
                return _json({"private": repo.private, "gated": repo.gated})
            case "POST" | "DELETE", [("branch" | "tag") as what, name]:
                return self._branch_or_tag(repo, method, what, name, json.loads(request.body or b"{}"))
            case "POST", ["preupload", revision]:
                old = repo.commit_at(revision).files
                answers = []
                for file in json.loads(request.body)["files"]:
                    large = _is_large(file["path"], base64.b64decode(file["sample"]), file["size"])
                    answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
                    answers.append(answer | ({"oid": old[file["path"]].etag} if file["path"] in old else {}))
                return _json({"files": answers})
            case "POST", ["commit", revision]:
                return self._commit(repo, revision, "create_pr" in request.query, request.body)
        raise _Refusal(404, "No such page on this server")

    def _create_or_delete(self, request: Request, method: str) -> _Answer:
        wish = json.loads(request.body)
        kind, repo_id = f"{wish.get('type') or 'model'}s", f"{wish.get('organization') or USER}/{wish['name']}"
        if method == "DELETE":
            del self.repos[kind, self._require(request, kind, repo_id, "write").id]
            return _json({})
        self._require_writer(request, repo_id.split("/")[0])
        url = {"url": self.endpoint + Repo(kind, repo_id).page}
        if (kind, repo_id) in self.repos:
            return _json({"error": "You already created this repo", **url}, 409)
        self.add(kind[:-1], repo_id, private=wish.get("visibility") == "private", sdk=wish.get("sdk"))
        return _json(url)

    def _tree(self, commit: Commit, folder: str, request: Request) -> _Answer:
        recursive, expand = (request.query.get(name, "").lower() == "true" for name in ("recursive", "expand"))
        start = int(request.query.get("cursor", 0))
        names = commit.listing(folder, recursive)
        answer = _json([commit.entry(name, expand) for name in names[start : start + self.page_size]])
        if start + self.page_size < len(names):
            query = f"recursive={recursive}&expand={expand}&cursor={start + self.page_size}"
            answer.headers["Link"] = f'<{self.endpoint}{request.path}?{query}>; rel="next"'
        return answer

    def _branch_or_tag(self, repo: Repo, method: str, what: str, name: str, wish: dict[str, str]) -> _Answer:
        new = wish["tag"] if what == "tag" and method == "POST" else name
        ref = f"refs/{'heads' if what == 'branch' else 'tags'}/{new}"
        if method == "DELETE":
            if repo.refs.pop(ref, None) is None:
                raise _Refusal(404, f"Reference does not exist: {ref}", "RevisionNotFound")
        elif ref in repo.refs:
            raise _Refusal(409, f"Reference already exists: {ref}")
        else:
            repo.refs[ref] = repo.commit_at(name if what == "tag" else wish.get("startingPoint", "main"))
        return _json({})

    def _large_files(self, repo: Repo, rest: list[str], wish: dict[str, Any]) -> _Answer:
        """Git LFS: where to put files, and whether they have arrived."""
        if rest == ["verify"]:
            if len(self.blobs.get(wish["oid"], b"")) != wish["size"]:
                raise _Refusal(404, "The object has not arrived")
            return _json({})
        objects = []
        for blob in wish["objects"]:
            oid, size = blob["oid"], blob["size"]
            upload: dict[str, Any] = {"href": f"{self.cdn}/lfs/{oid}"}
            if size > self.part_size:
                parts = {str(1 + n): f"{self.cdn}/lfs/{oid}/{1 + n}" for n in range(-(-size // self.part_size))}
                href = f"{self.endpoint}/api/complete-multipart/{oid}"
                upload = {"href": href, "header": {"chunk_size": str(self.part_size), **parts}}
            verify = {"href": f"{self.endpoint}{repo.page}.git/info/lfs/verify"}
            actions = {} if oid in self.blobs else {"actions": {"upload": upload, "verify": verify}}
            objects.append({"oid": oid, "size": size, **actions})
        return _json({"transfer": "basic", "objects": objects})

    def _commit(self, repo: Repo, revision: str, create_pr: bool, body: bytes) -> _Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        ref = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in repo.refs)}"
        parent = repo.commit_at(revision) if create_pr else repo.refs[ref := repo.branch_name(revision)]
        if header.get("parentCommit") not in (None, parent.oid):
            raise _Refusal(412, "A commit has happened since. Please refresh and try again.")
        changes: list[tuple[str, bytes | None, bool]] = []  # all are looked at before the first one counts
        for key, value in ((line["key"], line["value"]) for line in lines[1:]):
            path = value["path"].rstrip("/")
            match key:
                case "file":
                    changes.append((path, base64.b64decode(value["content"]), False))
                case "lfsFile":
                    if value["oid"] not in self.blobs:
                        raise _Refusal(400, f"LFS object {value['oid']} of {path} was not uploaded")
                    changes.append((path, self.blobs[value["oid"]], True))
                case "deletedFile" | "deletedFolder":
                    gone = [name for name in parent.files if name == path and key == "deletedFile"]
                    gone += [name for name in parent.files if name.startswith(f"{path}/") and key == "deletedFolder"]
                    if not gone:
                        raise _Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                    changes += [(name, None, False) for name in gone]
        commit = repo.add_commit(ref, parent, header["summary"], header.get("description", ""))
        for path, content, large in changes:
            commit.files.pop(path, None)
            if content is not None:
                commit.files[path] = File(content, large, commit)
        url = self.endpoint + repo.page
        proposal = {"pullRequestUrl": f"{url}/discussions/{ref.split('/')[-1]}"} if create_pr else {}
        return _json({"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}", **proposal})

    def _resolve(self, commit: Commit, path: str, request: Request) -> _Answer:
        """A file's content, or where the CDN has it."""
        file = commit.files.get(path)
        if file is None:
            raise _Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
        if file.large:
            answer = _Answer(302, headers={"Location": f"{self.cdn}/lfs/{file.sha256}", "ETag": f'"{file.oid}"'})
            answer.headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.sha256}"'}
        else:
            answer = _part_of(file.content, file.oid, request)
        answer.headers["X-Repo-Commit"] = commit.oid
        return answer


def _is_large(path: str, sample: bytes, size: int | None = None) -> bool:
    return bool(_LARGE.search(path)) or b"\0" in sample[:512] or (size or len(sample)) > _LARGE_SIZE


def _part_of(content: bytes, etag: str, request: Request) -> _Answer:
    """All of it, or the range that the request asks for."""
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if wanted is None or wanted[0] == "bytes=-":
        return _Answer(200, content, headers)
    first, last = wanted[1], wanted[2]
    start = int(first) if first else max(0, len(content) - int(last))
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return _Answer(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
    return _Answer(206, content[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})


class _Port(ThreadingHTTPServer):
    """One of the two origins; it knows its open connections."""

    def __init__(self, hub: HubServer, origin: Literal["hub", "cdn"]) -> None:
        self.hub, self.origin, self.connections = hub, origin, set[socket.socket]()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client was faster

    def handle_error(self, *_: object) -> None:
        """A client may hang up on us. What goes wrong here itself is answered, see `HubServer._answer`."""


class _Handler(BaseHTTPRequestHandler):
    server: _Port
    protocol_version = "HTTP/1.1"  # kept alive, as the real one
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.server.origin, self.command, url.path, dict(parse_qsl(url.query)), headers)
        hub.requests.append(request)
        if hub._take(("drop",), request):
            self.close_connection = True
            return
        request.body = self._body()
        answer = hub._answer(request)
        body = answer.body
        if hub._take(("lost",), request):
            self.close_connection = True
            return
        told = len(body)
        if request.method == "GET" and answer.status in (200, 206):
            match hub._take(("cut", "short", "garbage"), request, told):
                case Fault(kind="cut", size=size):
                    body, self.close_connection = body[:size], True
                case Fault(kind="short", size=size):
                    body, told = body[:-size], told - size
                case Fault(kind="garbage"):
                    body = body.translate(_INVERTED)
        request.status = answer.status
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(told)}.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)
