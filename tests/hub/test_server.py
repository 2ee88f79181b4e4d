"""The Hub of `hub_server.py`, without a client: plain requests."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.hub_server import HubServer


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def ask(
    url: str, method: str = "GET", body: bytes = b"", token: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request over a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, f"{parts.path}?{parts.query}", body, headers | authorization)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["small.txt", "large.bin"])
@pytest.mark.parametrize(
    ("wanted", "status", "content", "told"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
    ],
)
def test_ranges(server: HubServer, path: str, wanted: str | None, status: int, content: bytes, told: str) -> None:
    repo = server.add("model", "tester/ranges", {path: b"0123456789"})
    url = f"{server.endpoint}/tester/ranges/resolve/main/{path}"
    if path == "large.bin":
        found, headers, _ = ask(url, "HEAD")
        assert (found, headers["X-Linked-Size"], headers["X-Repo-Commit"]) == (302, "10", repo.at("main").oid)
        url = headers["Location"]
        assert url.startswith(server.cdn)
    found, headers, body = ask(url, **({"Range": wanted} if wanted else {}))
    assert (found, body, headers["Content-Range"]) == (status, content, told)
    assert headers["ETag"].strip('"')


def test_a_listing_comes_in_pages(server: HubServer) -> None:
    server.add("dataset", "tester/pages", {f"sub/{index}.txt": b"" for index in range(3)})
    server.page_size = 2
    pages, url = [], f"{server.endpoint}/api/datasets/tester/pages/tree/main?recursive=true"
    while url:
        _, headers, body = ask(url)
        pages.append([entry["path"] for entry in json.loads(body)])
        url, _, relation = (headers["Link"] or "").strip("<").partition(">; ")
        assert relation == ('rel="next"' if url else "")
    assert pages == [[".gitattributes", "sub"], ["sub/0.txt", "sub/1.txt"], ["sub/2.txt"]]


@pytest.mark.parametrize(
    ("role", "path", "status", "code"),
    [
        (None, "/api/models/tester/nothing", 401, "RepoNotFound"),
        ("read", "/api/models/tester/nothing", 404, "RepoNotFound"),
        (None, "/api/models/tester/closed", 401, "RepoNotFound"),
        ("none", "/api/models/tester/closed", 404, "RepoNotFound"),
        ("read", "/api/models/tester/closed", 200, None),
        (None, "/api/models/tester/gated", 200, None),
        (None, "/tester/gated/resolve/main/a.txt", 401, "GatedRepo"),
        ("none", "/tester/gated/resolve/main/a.txt", 403, "GatedRepo"),
        ("read", "/tester/gated/resolve/main/a.txt", 200, None),
        ("read", "/tester/gated/resolve/v2/a.txt", 404, "RevisionNotFound"),
        ("read", "/tester/gated/resolve/main/b.txt", 404, "EntryNotFound"),
        ("read", "/api/models/tester/gated/tree/main/nowhere", 404, "EntryNotFound"),
        ("read", "/api/models/tester/gated/unknown", 404, None),
    ],
)
def test_who_may_see_what(server: HubServer, role: str | None, path: str, status: int, code: str | None) -> None:
    server.add("model", "tester/closed", private=True)
    server.add("model", "tester/gated", {"a.txt": b"a"}, gated="auto")
    found, headers, _ = ask(server.endpoint + path, token=role and server.tokens[role])
    assert (found, headers["X-Error-Code"]) == (status, code)
    if code == "EntryNotFound":
        assert headers["X-Repo-Commit"] == server.repos["models", "tester/gated"].at("main").oid


def test_the_cdn_refuses_a_token_and_tells(server: HubServer) -> None:
    assert server.leaks == []
    status, *_ = ask(f"{server.cdn}/lfs/{64 * '0'}", token=server.tokens["write"])
    assert (status, [request.path for request in server.leaks]) == (400, [f"/lfs/{64 * '0'}"])


def test_content_that_is_not_what_its_name_says_is_refused(server: HubServer) -> None:
    oid = 64 * "0"
    assert ask(f"{server.cdn}/lfs/{oid}", "PUT", b"other")[0] == 400
    etag = ask(f"{server.cdn}/lfs/{oid}/1", "PUT", b"other")[1]["ETag"]
    for tag in (etag, "wrong"):
        parts = json.dumps({"oid": oid, "parts": [{"partNumber": 1, "etag": tag}]}).encode()
        assert ask(f"{server.endpoint}/api/complete-multipart/{oid}", "POST", parts)[0] == 400
    assert oid not in server.blobs


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"key": "lfsFile", "value": {"path": "b", "algo": "sha256", "oid": 64 * "0", "size": 1}}, 400),
        ({"key": "deletedFile", "value": {"path": "nothing"}}, 404),
        ({"key": "deletedFolder", "value": {"path": "a"}}, 404),
    ],
)
def test_a_commit_is_done_as_a_whole_or_not(server: HubServer, operation: dict, status: int) -> None:
    repo = server.add("model", "tester/whole")
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "file", "value": {"path": "a", "content": "YQ=="}}]
    url, token = f"{server.endpoint}/api/models/tester/whole/commit/main", server.tokens["write"]
    before = len(repo.commits)
    assert ask(url, "POST", "\n".join(map(json.dumps, [*lines, operation])).encode(), token)[0] == status
    assert len(repo.commits) == before
    assert ask(url, "POST", "\n".join(map(json.dumps, lines)).encode(), token)[0] == 200
    assert server.files("model", "tester/whole")["a"] == b"a"


def test_what_it_cannot_do_is_no_answer_of_a_hub(server: HubServer) -> None:
    status, _, body = ask(f"{server.endpoint}/api/repos/create", "POST", b"no JSON", server.tokens["write"])
    assert status == 501 and b"JSONDecodeError" in body


def test_each_fault_strikes_as_often_as_it_was_told_and_counts(server: HubServer) -> None:
    server.add("model", "tester/faults", {"a.txt": b"0123456789"})
    url = f"{server.endpoint}/tester/faults/resolve/main/a.txt"
    busy = server.fault("status", "/faults/", times=2, method="GET", status=500)
    assert [ask(url, "HEAD")[0], *(ask(url)[0] for _ in range(3))] == [200, 500, 500, 200]
    short, garbage = server.fault("short", "/faults/", size=4), server.fault("garbage", "/faults/")
    assert [ask(url)[2] for _ in range(3)] == [b"012345", bytes(255 - byte for byte in b"0123456789"), b"0123456789"]
    cut, beyond = server.fault("cut", "/faults/", size=6), server.fault("cut", "/faults/", size=10)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(url)
    assert caught.value.partial == b"012345"
    assert ask(url)[2] == b"0123456789"
    assert [fault.fired for fault in (busy, short, garbage, cut, beyond)] == [2, 1, 1, 1, 0]


def test_a_dropped_request_does_nothing_and_a_lost_answer_does(server: HubServer) -> None:
    url, body = f"{server.endpoint}/api/repos/create", json.dumps({"name": "lost", "type": "model"}).encode()
    for kind, exists in (("drop", False), ("lost", True)):
        fault = server.fault(kind, "/repos/create")
        with pytest.raises(ConnectionError):
            ask(url, "POST", body, server.tokens["write"])
        assert (fault.fired, ("models", "tester/lost") in server.repos) == (1, exists)
    assert [request.status for request in server.requests] == [None, None]


def test_stop_hangs_up() -> None:
    with HubServer() as server:
        connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc, timeout=60)
        for _ in range(2):  # one connection, kept open
            connection.request("GET", "/api/nothing")
            response = connection.getresponse()
            assert (response.status, response.will_close) == (404, False)
            response.read()
        opened = connection.sock
        server.stop()
        assert opened.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            ask(server.endpoint)
