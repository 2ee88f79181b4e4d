"""A Hugging Face Hub on loopback, in memory: enough of the protocol for the real clients to push and to load.

    with HubServer() as server:
        subprocess.run(command, env=server.environment(tmp_path / "home"))
        assert "config.json" in server.files("model", "tester/winter")

The clients read `HF_ENDPOINT` at import, so they run in a process of their own. Large files go through a second port,
the "CDN": another origin, which must never get the token (`server.leaks`).

Not imitated: Xet (the clients need `HF_HUB_DISABLE_XET=1`; it would be routes in `_api`, a header in `_resolve` and a
store next to `blobs`), `.gitignore`, checks of model cards, search, discussions, running Spaces, squashing, copies
between repos, signatures and rate limits. Guessed: what counts as large, the words of errors, who may do what.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from tests.hub_repos import Blobs, HubError, Repo, is_large


USER, ORGANIZATION = "tester", "team"  # the namespaces that the "write" token may write to
_INVERTED = bytes(255 - byte for byte in range(256))


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests of a `method` whose path has the `pattern`, a regex.

    Kinds: `"status"` answers `status` and does nothing; `"drop"` hangs up before the body is read; `"lost"` does what
    was asked and hangs up instead of answering. Of what a GET brings, `"cut"` hangs up after `size` bytes, `"short"`
    leaves out the last `size` bytes, and `"garbage"` is as many other bytes; what is not larger than `size` passes.
    """

    kind: Literal["status", "drop", "lost", "cut", "short", "garbage"]
    pattern: str = ""
    times: int = 1
    method: str | None = None
    status: int = 503
    size: int = 0
    fired: int = 0  # how often it did go wrong


@dataclass
class Request:
    """What a client sent, and how it was answered: `status` stays None where the client got no answer."""

    origin: str  # "hub" or "cdn"
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = field(default=b"", repr=False)
    status: int | None = None


@dataclass
class _Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def _json(value: object, status: int = 200) -> _Answer:
    return _Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


class HubServer:
    """A context manager: two ports on 127.0.0.1, `endpoint` for the Hub's and `cdn` for large files.

    Attributes:
        tokens: By role: "write" and "read" see all repos; "none", a stranger's, none that is private or gated.
        requests: What came in, in order, with those that a fault struck.
        page_size, part_size: Entries in a page of a listing; bytes in a part of a larger file's upload.
        repos, blobs: By kind and id, `("models", "tester/winter")`; large files by SHA-256.
    """

    def __init__(self) -> None:
        self.tokens = {role: f"hf_{role}" for role in ("write", "read", "none")}
        self.requests: list[Request] = []
        self.page_size, self.part_size = 1000, 64_000_000
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs = Blobs()
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._ports = [_Port(self, origin) for origin in ("hub", "cdn")]
        self.endpoint, self.cdn = (f"http://127.0.0.1:{port.server_port}" for port in self._ports)

    def __enter__(self) -> "HubServer":
        for port in self._ports:
            threading.Thread(target=port.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone, also for the clients that keep a connection open: they would still be served."""
        while self._ports:
            port = self._ports.pop()
            port.shutdown()
            for connection in list(port.connections):
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
            port.server_close()

    def environment(self, home: Path, role: str | None = "write") -> dict[str, str]:
        """This process's environment for a client of this server: a role's token, `home` for the caches."""
        kept = {k: v for k, v in os.environ.items() if not re.match(r"HF_|HUGGING|.*_proxy$", k, re.IGNORECASE)}
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept | ours | quiet | ({"HF_TOKEN": self.tokens[role]} if role else {})

    def fault(self, kind: str, pattern: str = "", **details: Any) -> Fault:
        """From now on something goes wrong; see [`Fault`]."""
        self._faults.append(Fault(kind, pattern, **details))  # type: ignore[arg-type]
        return self._faults[-1]

    def seen(self, method: str, pattern: str = "") -> list[Request]:
        """The requests of a method whose path has the pattern."""
        return [request for request in self.requests if request.method == method and re.search(pattern, request.path)]

    @property
    def leaks(self) -> list[Request]:
        """The requests that took a token to the CDN."""
        return [request for request in self.requests if request.origin == "cdn" and "authorization" in request.headers]

    def files(self, repo_type: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Contents by path."""
        return {path: file.content for path, file in self.repos[f"{repo_type}s", repo_id].at(revision).files.items()}

    def add(self, repo_type: str, repo_id: str, files: Mapping[str, bytes] | None = None, **settings: Any) -> Repo:
        """Make a repo, or one more commit, without a client; the settings are [`Repo`]'s."""
        key = (f"{repo_type}s", repo_id)
        with self._lock:
            if key not in self.repos:
                self.repos[key] = Repo(*key, **settings)
                attributes = {".gitattributes": (b"*.safetensors filter=lfs\n", False)}
                self.repos[key].add_commit("refs/heads/main", "initial commit", attributes)
            if files:
                changes = {path: (data, is_large(path, data, len(data))) for path, data in files.items()}
                for file in self.repos[key].add_commit("refs/heads/main", "Add files", changes).files.values():
                    self.blobs |= {file.etag: file.content} if file.large else {}
            return self.repos[key]

    def _strikes(self, request: Request, *kinds: str, size: float = float("inf")) -> Fault | None:
        """The first fault that is due, counted."""
        with self._lock:
            for fault in self._faults:
                due = fault.kind in kinds and fault.fired < fault.times and fault.size < size
                if due and fault.method in (None, request.method) and re.search(fault.pattern, request.path):
                    fault.fired += 1
                    return fault
        return None

    def _answer(self, request: Request) -> _Answer:
        try:
            if fault := self._strikes(request, "status"):
                raise HubError(fault.status, "A fault that the test asked for")
            with self._lock:
                return self._cdn(request) if request.origin == "cdn" else self._hub(request)
        except HubError as error:
            answer = _json({"error": error.message}, error.status)
            told = {"X-Error-Message": error.message, "X-Error-Code": error.code, "X-Repo-Commit": error.commit}
            answer.headers |= {name: value for name, value in told.items() if value}
            return answer
        except Exception:  # 501, and not 500: no client takes a bug in here for a busy Hub, and tries again
            return _Answer(traceback.format_exc().encode(), 501)

    def _cdn(self, request: Request) -> _Answer:
        if "authorization" in request.headers:  # as S3, which knows who may by the signature in the URL
            raise HubError(400, "Only one auth mechanism allowed")
        match request.method, request.path.split("/")[1:]:
            case "PUT", ["lfs", oid]:
                self.blobs.store(oid, request.body)
            case "PUT", ["lfs", oid, number]:
                self.blobs.parts[oid, int(number)] = request.body
            case "GET" | "HEAD", ["lfs", oid] if oid in self.blobs:
                return _ranged(self.blobs[oid], oid, request)
            case _:
                raise HubError(404, "No such object")
        return _Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _role(self, request: Request) -> str | None:
        given = request.headers.get("authorization")
        roles = {None: None} | {f"Bearer {token}": role for role, token in self.tokens.items()}
        if given not in roles:
            raise HubError(401, "Invalid credentials in Authorization header")
        return roles[given]

    def _allow(self, request: Request, kind: str, repo_id: str, need: str) -> Repo:
        """The repo, if the token may "see" that it is there, "read" its files, "write" to it or "create" it."""
        role = self._role(request)
        stranger, writes = role in (None, "none"), need in ("write", "create")
        repo = Repo(kind, repo_id) if need == "create" else self.repos.get((kind, repo_id))
        if repo is None or (repo.private and stranger):
            raise HubError(401 if role is None else 404, "Repository not found", "RepoNotFound")
        if need == "read" and repo.gated and stranger:
            raise HubError(401 if role is None else 403, f"Access to {repo_id} is restricted", "GatedRepo")
        if writes and role is None:  # by https the clients need no code to read this 401 so
            raise HubError(401, "Invalid username or password.", "RepoNotFound" if need == "write" else "")
        ours = repo_id.split("/")[0] in (USER, ORGANIZATION) or "create_pr" in request.query
        if writes and not (role == "write" and ours):
            raise HubError(403, f"You don't have the rights to write to {repo_id}")
        return repo

    def _hub(self, request: Request) -> _Answer:
        segments = [unquote(segment) for segment in request.path.split("/")[1:]]
        kind = segments.pop(0) if segments[0] in ("datasets", "spaces") else "models"
        match request.method, segments:
            case "GET", ["api", "whoami-v2"]:
                role = self._role(request)
                if role is None:
                    raise HubError(401, "Invalid username or password.")
                name, orgs = ("stranger", []) if role == "none" else (USER, [{"type": "org", "name": ORGANIZATION}])
                auth = {"type": "access_token", "accessToken": {"displayName": role, "role": role}}
                return _json({"type": "user", "name": name, "orgs": orgs, "auth": auth})
            case "POST" | "DELETE", ["api", "repos", "create" | "delete" as need]:
                wish = json.loads(request.body)
                kind, repo_id = f"{wish.get('type') or 'model'}s", f"{wish.get('organization') or USER}/{wish['name']}"
                repo = self._allow(request, kind, repo_id, "write" if need == "delete" else need)
                url = {"url": self.endpoint + repo.page}
                if need == "delete":
                    del self.repos[kind, repo_id]
                elif (kind, repo_id) in self.repos:
                    return _json({"error": "You already created this repo", **url}, 409)
                else:
                    self.add(kind[:-1], repo_id, private=wish.get("visibility") == "private", sdk=wish.get("sdk"))
                return _json(url)
            case "POST", ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case "POST", ["api", "complete-multipart", oid]:  # a signed URL too
                tags = [part["etag"].strip('"') for part in json.loads(request.body)["parts"]]
                self.blobs.join(oid, tags)
                return _json({})
            case method, ["api", "models" | "datasets" | "spaces" as kind, owner, name, *rest]:
                writes = method != "GET" and rest[:1] != ["paths-info"]
                repo = self._allow(request, kind, f"{owner}/{name}", "write" if writes else "see")
                return self._api(repo, rest, request)
            case "POST", [owner, name, "info", "lfs", *rest] if name.endswith(".git"):
                repo = self._allow(request, kind, f"{owner}/{name[:-4]}", "write")
                return self._lfs(repo, rest, json.loads(request.body))
            case "GET" | "HEAD", [owner, name, "resolve", revision, *path]:
                repo = self._allow(request, kind, f"{owner}/{name}", "read")
                return self._resolve(repo, revision, "/".join(path), request)
        raise HubError(404, "No such page on this server")

    def _api(self, repo: Repo, rest: list[str], request: Request) -> _Answer:
        """`/api/{kind}/{id}/...`."""
        query = request.query
        match request.method, rest:
            case "GET", [] | ["revision", _]:
                return _json(repo.info(rest[1] if rest else "main", "blobs" in query))
            case "GET", ["tree", revision, *path]:
                commit, start = repo.at(revision), int(query.get("cursor", 0))
                names, stop = commit.listing("/".join(path), query.get("recursive") == "true"), start + self.page_size
                answer = _json([commit.entry(name, query.get("expand") == "true") for name in names[start:stop]])
                next_page = f"{self.endpoint}{request.path}?{urlencode(query | {'cursor': stop})}"
                answer.headers |= {"Link": f'<{next_page}>; rel="next"'} if stop < len(names) else {}
                return answer
            case "POST", ["paths-info", revision]:
                form, commit = parse_qs(request.body.decode()), repo.at(revision)
                known = [path for path in form.get("paths", []) if path in commit.listing()]
                return _json([commit.entry(path, form.get("expand") == ["true"]) for path in known])
            case "GET", ["refs"]:
                return _json(repo.list_refs())
            case "POST", ["commit", revision]:
                lines = [json.loads(line) for line in request.body.splitlines()]
                commit, number = repo.push(revision, lines, self.blobs, "create_pr" in query)
                url = self.endpoint + repo.page
                told = {"commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
                return _json(told | ({"pullRequestUrl": f"{url}/discussions/{number}"} if number else {}))
        wish = json.loads(request.body or b"{}")
        match request.method, rest:
            case "POST", ["preupload", revision]:
                commit, files = repo.at(revision), wish["files"]
                modes = [commit.upload_mode(f["path"], base64.b64decode(f["sample"]), f["size"]) for f in files]
                return _json({"files": modes})
            case "POST", ["branch", name]:
                repo.add_ref(f"refs/heads/{name}", wish.get("startingPoint", "main"))
            case "POST", ["tag", revision]:
                repo.add_ref(f"refs/tags/{wish['tag']}", revision)
            case "DELETE", ["branch" | "tag" as what, name]:
                repo.remove_ref(f"refs/{'heads' if what == 'branch' else 'tags'}/{name}")
            case "PUT", ["settings"]:
                repo.gated = wish.get("gated", repo.gated)
                repo.private = wish["visibility"] == "private" if "visibility" in wish else repo.private
            case _:
                raise HubError(404, "No such page on this server")
        return _json({})

    def _lfs(self, repo: Repo, rest: list[str], wish: dict[str, Any]) -> _Answer:
        if rest == ["verify"]:
            if len(self.blobs.get(wish["oid"], b"")) != wish["size"]:
                raise HubError(404, "The object has not arrived")
            return _json({})
        objects = []
        for oid, size in ((wanted["oid"], wanted["size"]) for wanted in wish["objects"]):
            url, numbers = f"{self.cdn}/lfs/{oid}", range(1, -(-size // self.part_size) + 1)
            upload: dict[str, Any] = {"href": url}
            if len(numbers) > 1:
                header = {"chunk_size": str(self.part_size)} | {str(number): f"{url}/{number}" for number in numbers}
                upload = {"href": f"{self.endpoint}/api/complete-multipart/{oid}", "header": header}
            actions = {"upload": upload, "verify": {"href": f"{self.endpoint}{repo.page}.git/info/lfs/verify"}}
            objects.append({"oid": oid, "size": size} | ({} if oid in self.blobs else {"actions": actions}))
        return _json({"objects": objects})

    def _resolve(self, repo: Repo, revision: str, path: str, request: Request) -> _Answer:
        commit = repo.at(revision)
        file = commit.file(path)
        if file.large:
            answer = _Answer(status=302, headers={"Location": f"{self.cdn}/lfs/{file.etag}", "ETag": f'"{file.oid}"'})
            answer.headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.etag}"'}
        else:
            answer = _ranged(file.content, file.oid, request)
        answer.headers["X-Repo-Commit"] = commit.oid
        return answer


def _ranged(content: bytes, etag: str, request: Request) -> _Answer:
    """All of it, or the range that the request asks for."""
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "bytes=-"))
    first, last = wanted.groups() if wanted else ("", "")
    if not first and not last:
        return _Answer(content, 200, headers)
    start = int(first) if first else max(0, len(content) - int(last))
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return _Answer(b"", 416, headers | {"Content-Range": f"bytes */{len(content)}"})
    return _Answer(content[start:stop], 206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})


class _Port(ThreadingHTTPServer):
    """One of the two origins; it knows its open connections."""

    def __init__(self, hub: HubServer, origin: str) -> None:
        self.hub, self.origin, self.connections = hub, origin, set[socket.socket]()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client may hang up. What goes wrong in here is answered, by `HubServer._answer`."""


class _Handler(BaseHTTPRequestHandler):
    server: _Port
    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.server.origin, self.command, url.path, dict(parse_qsl(url.query)), headers)
        hub.requests.append(request)
        if not hub._strikes(request, "drop"):
            request.body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = hub._answer(request)
            if not hub._strikes(request, "lost"):
                return self._send(request, answer)
        self.close_connection = True

    def _send(self, request: Request, answer: _Answer) -> None:
        body, length = answer.body, len(answer.body)
        if request.method == "GET" and answer.status in (200, 206):
            match self.server.hub._strikes(request, "cut", "short", "garbage", size=length):
                case Fault(kind="cut", size=size):
                    body, self.close_connection = body[:size], True
                case Fault(kind="short", size=size):
                    body, length = body[:-size], length - size
                case Fault(kind="garbage"):
                    body = body.translate(_INVERTED)
        request.status = answer.status
        self.send_response_only(answer.status)
        for name, value in (answer.headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815
