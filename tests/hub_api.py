"""What the Hub of `tests/hub_server.py` answers: its API, its files and its large files' origin."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from tests.hub_repos import Blobs, HubError, Repo, card_faults
from tests.hub_xet import XetStore


USER, ORGANIZATION = "tester", "team"  # the namespaces that the "write" token may write to


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
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


class HubRoutes:
    """The routes, over repos, blobs and tokens that [`HubServer`] holds."""

    endpoint: str
    cdn: str
    tokens: Mapping[str, str]
    repos: dict[tuple[str, str], Repo]
    blobs: Blobs
    xet: XetStore
    page_size: int
    part_size: int

    def add(self, repo_type: str, repo_id: str, files: Mapping[str, bytes] | None = None, **settings: Any) -> Repo:
        raise NotImplementedError

    def _cdn(self, request: Request) -> Answer:
        if "authorization" in request.headers:  # as S3, which knows who may by the signature in the URL
            raise HubError(400, "Only one auth mechanism allowed")
        match request.method, request.path.split("/")[1:]:
            case "PUT", ["lfs", oid]:
                self.blobs.store(oid, request.body)
            case "PUT", ["lfs", oid, number]:
                self.blobs.parts[oid, int(number)] = request.body
            case "GET", ["xorb", name] if name in self.xet.xorbs:
                return _ranged(self.xet.xorbs[name], name, request)
            case "GET" | "HEAD", ["lfs", oid] if oid in self.blobs:
                return _ranged(self.blobs[oid], oid, request)
            case _:
                raise HubError(404, "No such object")
        return Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _role(self, request: Request) -> str | None:
        given = request.headers.get("authorization")
        roles = {None: None} | {f"Bearer {token}": role for role, token in self.tokens.items()}
        if given not in roles:
            raise HubError(401, "Invalid credentials in Authorization header")
        return roles[given]

    def _allow(self, request: Request, kind: str, repo_id: str, need: str) -> Repo:
        """The repo, if the token may "see" that it is there, "read" its files, "write" to it or "create" it.

        To "upload", for a pull request it may be, takes a token that may write, whose repo it ever is.
        """
        role = self._role(request)
        stranger, writes = role in (None, "none"), need in ("write", "create", "upload")
        repo = Repo(kind, repo_id) if need == "create" else self.repos.get((kind, repo_id))
        if repo is None or (repo.private and stranger):
            raise HubError(401 if role is None else 404, "Repository not found", "RepoNotFound")
        if need == "read" and repo.gated and stranger:
            raise HubError(401 if role is None else 403, f"Access to {repo_id} is restricted", "GatedRepo")
        if writes and role is None:  # by https the clients need no code to read this 401 so
            raise HubError(401, "Invalid username or password.", "" if need == "create" else "RepoNotFound")
        ours = repo_id.split("/")[0] in (USER, ORGANIZATION) or "create_pr" in request.query or need == "upload"
        if writes and not (role == "write" and ours):
            raise HubError(403, f"You don't have the rights to write to {repo_id}")
        return repo

    def _hub(self, request: Request) -> Answer:
        segments = [unquote(segment) for segment in request.path.split("/")[1:]]
        kind = segments.pop(0) if segments[0] in ("datasets", "spaces") else "models"
        match request.method, segments:
            case "GET", ["api", "whoami-v2"]:
                role = self._role(request)
                if role is None:
                    raise HubError(401, "Invalid username or password.")
                name, orgs = ("stranger", []) if role == "none" else (USER, [{"type": "org", "name": ORGANIZATION}])
                auth = {"type": "access_token", "accessToken": {"displayName": role, "role": role}}
                return json_answer({"type": "user", "name": name, "orgs": orgs, "auth": auth})
            case "POST" | "DELETE", ["api", "repos", "create" | "delete" as need]:
                wish = json.loads(request.body)
                kind, repo_id = f"{wish.get('type') or 'model'}s", f"{wish.get('organization') or USER}/{wish['name']}"
                repo = self._allow(request, kind, repo_id, "write" if need == "delete" else need)
                url = {"url": self.endpoint + repo.page}
                if need == "delete":
                    del self.repos[kind, repo_id]
                elif (kind, repo_id) in self.repos:
                    return json_answer({"error": "You already created this repo", **url}, 409)
                else:
                    self.add(kind[:-1], repo_id, private=wish.get("visibility") == "private", sdk=wish.get("sdk"))
                return json_answer(url)
            case "POST", ["api", "validate-yaml"]:
                wish = json.loads(request.body)
                errors = [{"message": fault} for fault in card_faults(wish["content"], wish["repoType"])]
                return json_answer({"errors": errors, "warnings": []}, 400 if errors else 200)
            case "POST", ["api", "complete-multipart", oid]:  # a signed URL too
                tags = [part["etag"].strip('"') for part in json.loads(request.body)["parts"]]
                self.blobs.join(oid, tags)
                return json_answer({})
            case _, ["v1" | "v2", *rest]:
                return self._xet(segments[0], rest, request)
            case method, ["api", "models" | "datasets" | "spaces" as kind, owner, name, *rest]:
                writes = (method != "GET" and rest[:1] != ["paths-info"]) or rest[:1] == ["xet-write-token"]
                writes = writes or rest == ["auth-check", "write"]
                need = "write" if writes else "read" if rest == ["auth-check"] else "see"
                repo = self._allow(request, kind, f"{owner}/{name}", need)
                return self._api(repo, rest, request)
            case "POST", [owner, name, "info", "lfs", *rest] if name.endswith(".git"):
                repo = self._allow(request, kind, f"{owner}/{name[:-4]}", "upload")
                return self._lfs(repo, rest, json.loads(request.body))
            case "GET" | "HEAD", [owner, name, "resolve", revision, *path]:
                repo = self._allow(request, kind, f"{owner}/{name}", "read")
                return self._resolve(repo, revision, "/".join(path), request)
        raise HubError(404, "No such page on this server")

    def _api(self, repo: Repo, rest: list[str], request: Request) -> Answer:
        """`/api/{kind}/{id}/...`."""
        query = request.query
        match request.method, rest:
            case "GET", [] | ["revision", _]:
                return json_answer(repo.info(rest[1] if rest else "main", "blobs" in query))
            case "GET", ["tree", revision, *path]:
                commit, start = repo.at(revision), int(query.get("cursor", 0))
                names, stop = commit.listing("/".join(path), query.get("recursive") == "true"), start + self.page_size
                answer = json_answer([commit.entry(name, query.get("expand") == "true") for name in names[start:stop]])
                next_page = f"{self.endpoint}{request.path}?{urlencode(query | {'cursor': stop})}"
                answer.headers |= {"Link": f'<{next_page}>; rel="next"'} if stop < len(names) else {}
                return answer
            case "POST", ["paths-info", revision]:
                form, commit = parse_qs(request.body.decode()), repo.at(revision)
                known = [path for path in form.get("paths", []) if path in commit.listing()]
                return json_answer([commit.entry(path, form.get("expand") == ["true"]) for path in known])
            case "GET", [("xet-read-token" | "xet-write-token") as token, _]:
                answer = json_answer({"casUrl": self.endpoint, "accessToken": token, "exp": 2**40})
                told = {"X-Xet-Cas-Url": self.endpoint, "X-Xet-Access-Token": token}
                answer.headers |= told | {"X-Xet-Token-Expiration": str(2**40)}
                return answer
            case "GET", ["auth-check"] | ["auth-check", "write"]:
                return json_answer({})
            case "GET", ["refs"]:
                return json_answer(repo.list_refs())
            case "POST", ["commit", revision]:
                lines = [json.loads(line) for line in request.body.splitlines()]
                commit, number = repo.push(revision, lines, self.blobs, "create_pr" in query)
                url = self.endpoint + repo.page
                told = {"commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
                return json_answer(told | ({"pullRequestUrl": f"{url}/discussions/{number}"} if number else {}))
        wish = json.loads(request.body or b"{}")
        match request.method, rest:
            case "POST", ["preupload", revision]:
                commit, files = repo.at(revision), wish["files"]
                modes = [commit.upload_mode(f["path"], base64.b64decode(f["sample"]), f["size"]) for f in files]
                return json_answer({"files": modes})
            case "POST", ["branch", name]:
                repo.add_ref(f"refs/heads/{name}", wish.get("startingPoint", "main"))
            case "POST", ["tag", revision]:
                repo.add_ref(f"refs/tags/{wish['tag']}", revision)
            case "DELETE", ["branch" | "tag" as what, name]:
                repo.remove_ref(f"refs/{'heads' if what == 'branch' else 'tags'}/{name}")
            case "POST", ["variables"] if repo.kind == "spaces":
                repo.variables[wish["key"]] = wish["value"]
                return json_answer({name: {"value": value} for name, value in repo.variables.items()})
            case "POST", ["secrets"] if repo.kind == "spaces":
                repo.secrets[wish["key"]] = wish["value"]
            case "PUT", ["settings"]:
                repo.gated = wish.get("gated", repo.gated)
                repo.private = wish["visibility"] == "private" if "visibility" in wish else repo.private
            case _:
                raise HubError(404, "No such page on this server")
        return json_answer({})

    def _xet(self, version: str, rest: list[str], request: Request) -> Answer:
        """The store's API, for those who got its token from a repo."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in ("xet-read-token", "xet-write-token"):
            raise HubError(401, "Unauthorized")
        match request.method, version, rest:
            case "POST", "v1", ["xorbs", "default", name] if token == "xet-write-token":
                self.xet.xorbs[name] = request.body
                return json_answer({"was_inserted": True})
            case "POST", "v1", ["shards"] if token == "xet-write-token":
                self.xet.add_shard(request.body, self.blobs)
                return json_answer({"result": 1})
            case "GET", "v1", ["reconstructions", name]:
                return json_answer(self.xet.reconstruction(name, self.cdn, request.headers.get("range", "")))
        raise HubError(404, "No such page on this server")

    def _lfs(self, repo: Repo, rest: list[str], wish: dict[str, Any]) -> Answer:
        if rest == ["verify"]:
            if len(self.blobs.get(wish["oid"], b"")) != wish["size"]:
                raise HubError(404, "The object has not arrived")
            return json_answer({})
        objects = []
        for oid, size in ((wanted["oid"], wanted["size"]) for wanted in wish["objects"]):
            url, numbers = f"{self.cdn}/lfs/{oid}", range(1, -(-size // self.part_size) + 1)
            upload: dict[str, Any] = {"href": url}
            if len(numbers) > 1:
                header = {"chunk_size": str(self.part_size)} | {str(number): f"{url}/{number}" for number in numbers}
                upload = {"href": f"{self.endpoint}/api/complete-multipart/{oid}", "header": header}
            actions = {"upload": upload, "verify": {"href": f"{self.endpoint}{repo.page}.git/info/lfs/verify"}}
            objects.append({"oid": oid, "size": size} | ({} if oid in self.blobs else {"actions": actions}))
        return json_answer({"objects": objects})

    def _resolve(self, repo: Repo, revision: str, path: str, request: Request) -> Answer:
        commit = repo.at(revision)
        file = commit.file(path)
        if file.large:
            answer = Answer(status=302, headers={"Location": f"{self.cdn}/lfs/{file.etag}", "ETag": f'"{file.oid}"'})
            answer.headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.etag}"'}
            if file.etag in self.xet.names:
                auth = f"{self.endpoint}/api/{repo.kind}/{repo.id}/xet-read-token/{commit.oid}"
                answer.headers |= {"X-Xet-Hash": self.xet.names[file.etag], "Link": f'<{auth}>; rel="xet-auth"'}
        else:
            answer = _ranged(file.content, file.oid, request)
        answer.headers["X-Repo-Commit"] = commit.oid
        return answer


def _ranged(content: bytes, etag: str, request: Request) -> Answer:
    """All of it, or the range that the request asks for."""
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "bytes=-"))
    first, last = wanted.groups() if wanted else ("", "")
    if not first and not last:
        return Answer(content, 200, headers)
    start = int(first) if first else max(0, len(content) - int(last))
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return Answer(b"", 416, headers | {"Content-Range": f"bytes */{len(content)}"})
    return Answer(content[start:stop], 206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
