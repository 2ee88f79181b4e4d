"""A Hugging Face Hub on loopback, in memory: enough of the protocol for the real clients to push and to load.

    with HubServer() as server:
        subprocess.run(command, env=server.environment(tmp_path / "home"))
        assert "config.json" in server.files("model", "tester/winter")

The clients read `HF_ENDPOINT` at import, so they run in a process of their own. Large files go through a second port,
the "CDN": another origin, which must never get the token (`server.leaks`).

Not imitated: of Xet what `hub_xet.py` says, `.gitignore`, search, discussions, running Spaces, squashing, copies
between repos, signatures and rate limits. Guessed: what counts as large, the words of errors, who may do what, what is
wrong with a card.
"""

import contextlib
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
from urllib.parse import parse_qsl, urlsplit

from tests.hub_api import Answer, HubRoutes, Request, json_answer
from tests.hub_repos import Blobs, HubError, Repo, is_large
from tests.hub_xet import XetStore


_INVERTED = bytes(255 - byte for byte in range(256))


@dataclass
class Fault:
    """Something that goes wrong with `times` requests of a `method` whose path has the `pattern`, a regex: with the
    next ones, or `after` some have passed.

    Kinds: `"status"` answers `status` and does nothing; `"drop"` hangs up before the body is read; `"lost"` does what
    was asked and hangs up instead of answering; `"stall"` waits for `released` and hangs up. Of what a GET brings,
    `"cut"` hangs up after `size` bytes, `"short"` leaves out the last `size` bytes, and `"garbage"` is as many other
    bytes; what is not larger than `size` passes.
    """

    kind: Literal["status", "drop", "lost", "stall", "cut", "short", "garbage"]
    pattern: str = ""
    times: int = 1
    method: str | None = None
    status: int = 503
    size: int = 0
    after: int = 0
    fired: int = 0  # how often it did go wrong
    released: threading.Event = field(default_factory=threading.Event, repr=False)


class HubServer(HubRoutes):
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
        self.xet = XetStore()
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

    def environment(self, home: Path, role: str | None = "write", xet: bool = False) -> dict[str, str]:
        """This process's environment for a client of this server: a role's token, `home` for the caches.

        Without `xet`, large files go the older way, LFS.
        """
        kept = {k: v for k, v in os.environ.items() if not re.match(r"HF_|HUGGING|.*_proxy$", k, re.IGNORECASE)}
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        ours |= {"HF_XET_DATA_XORB_COMPRESSION_POLICY": "none"} if xet else {"HF_HUB_DISABLE_XET": "1"}
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
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.fired += 1
                    return fault
        return None

    def _answer(self, request: Request) -> Answer:
        try:
            if fault := self._strikes(request, "status"):
                raise HubError(fault.status, "A fault that the test asked for")
            with self._lock:
                return self._cdn(request) if request.origin == "cdn" else self._hub(request)
        except HubError as error:
            answer = json_answer({"error": error.message}, error.status)
            told = {"X-Error-Message": error.message, "X-Error-Code": error.code, "X-Repo-Commit": error.commit}
            answer.headers |= {name: value for name, value in told.items() if value}
            return answer
        except Exception:  # 501, and not 500: no client takes a bug in here for a busy Hub, and tries again
            return Answer(traceback.format_exc().encode(), 501)


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
        if stall := hub._strikes(request, "stall"):
            stall.released.wait(60)
        elif not hub._strikes(request, "drop"):
            request.body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = hub._answer(request)
            if not hub._strikes(request, "lost"):
                return self._send(request, answer)
        self.close_connection = True

    def _send(self, request: Request, answer: Answer) -> None:
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
        always = {"Content-Length": str(length), "Access-Control-Allow-Origin": "*"}  # pages may fetch, as on the Hub
        for name, value in (answer.headers | always).items():
            self.send_header(name, value)
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815
