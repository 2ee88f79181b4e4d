"""The Hub's real clients with the Hub of `hub_server.py`. They run in a process of their own."""

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client, ClientError
from tests.hub_server import HubServer
from tests.testing_utils import make_picture


pytestmark = pytest.mark.slow  # half a minute, of what the other tests here use

LARGE = 12 << 20  # the clients keep what they have of a download in steps of 10 MB


def refused(error: str, text: str = "") -> contextlib.AbstractContextManager:
    return pytest.raises(ClientError, match=rf"(?s)^{error}: .*{text}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A card, a text in a folder, and two large files: one by its name, one by its size."""
    root = tmp_path / "upload"
    (root / "sub folder").mkdir(parents=True)
    (root / "README.md").write_text("---\nlicense: mit\n---\n# Winter\n")
    (root / "sub folder/notes.txt").write_text("snow")
    (root / "weights.safetensors").write_bytes(b"weights")
    (root / "long.txt").write_bytes(random.Random(0).randbytes(LARGE // 2).hex().encode())
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_goes_up_and_comes_down(server: HubServer, hub: Client, folder: Path) -> None:
    repo_id = "tester/round-trip"
    assert hub("create_repo", repo_id) == f"{server.endpoint}/{repo_id}"
    with refused("HfHubHTTPError", "409"):
        hub("create_repo", repo_id)
    hub("create_repo", repo_id, exist_ok=True)
    commit = hub("upload_folder", repo_id=repo_id, folder_path=folder)
    files = contents(folder)
    attributes = {".gitattributes": server.files("model", repo_id)[".gitattributes"]}
    assert server.files("model", repo_id, commit.oid) == attributes | files
    assert len(server.seen("PUT", "/lfs/")) == 2

    again = hub("upload_folder", repo_id=repo_id, folder_path=folder)
    assert again.oid == commit.oid and len(server.seen("POST", "/commit/")) == 1
    assert len(server.seen("PUT", "/lfs/")) == 2

    hub("create_tag", repo_id, tag="v1")
    hub("create_branch", repo_id, branch="exp/a", revision="v1")
    (folder / "weights.safetensors").write_bytes(b"better weights")
    better = hub(
        "upload_folder", repo_id=repo_id, folder_path=folder, delete_patterns="*.txt", ignore_patterns="*.txt"
    )
    now = {path: data for path, data in contents(folder).items() if not path.endswith(".txt")} | attributes
    assert server.files("model", repo_id) == now
    for revision in ("v1", "exp/a", commit.oid, "main"):
        found = Path(hub("snapshot_download", repo_id, revision=revision))
        assert contents(found) == (now if revision == "main" else attributes | files)
        assert found.name == (better.oid if revision == "main" else commit.oid)
        weights = Path(hub("hf_hub_download", repo_id, "weights.safetensors", revision=revision))
        assert weights.read_bytes() == (b"better weights" if revision == "main" else b"weights")
    assert server.seen("GET", "/lfs/") and server.leaks == []


def test_infos(server: HubServer, hub: Client, folder: Path) -> None:
    repo = server.add("space", "team/infos", contents(folder), sdk="gradio")
    server.add("space", "team/infos", {"sub folder/new.txt": b""})
    space = {"repo_id": "team/infos", "repo_type": "space"}
    files = {entry.path: entry for entry in hub("list_repo_tree", recursive=True, expand=True, **space)}
    assert sorted(files) == sorted([*server.files("space", "team/infos"), "sub folder"])
    large, text = files["long.txt"], files["sub folder/notes.txt"]
    assert (large.size, large.lfs.size, text.size, text.lfs) == (LARGE, LARGE, 4, None)
    assert large.lfs.sha256 in server.blobs
    assert text.blob_id == "f0218f4e81323a80579d966f0082affdff2c78b9"  # as `git hash-object` has it
    newest = repo.at("main").oid
    assert files["sub folder"].last_commit.oid == newest != text.last_commit.oid
    info = hub("space_info", "team/infos", files_metadata=True)
    assert (info.id, info.sha, info.private, info.sdk) == ("team/infos", newest, False, "gradio")
    sizes = {path: len(data) for path, data in server.files("space", "team/infos").items()}
    assert {file.rfilename: file.size for file in info.siblings} == sizes
    paths = ["long.txt", "nothing", "sub folder"]
    assert [entry.path for entry in hub("get_paths_info", paths=paths, **space)] == paths[::2]


def test_all_pages_of_a_listing_are_read(server: HubServer, hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "page_size", 2)
    files = [f"sub/{index}.txt" for index in range(4)]
    server.add("dataset", "tester/pages", dict.fromkeys(files, b""))
    assert hub("list_repo_files", "tester/pages", repo_type="dataset") == [".gitattributes", *files]
    assert len(server.seen("GET", "/tree/main")) == 3


def test_refs(server: HubServer, hub: Client) -> None:
    repo = server.add("dataset", "tester/refs", {"a.txt": b"a"})
    settings = {"repo_id": "tester/refs", "repo_type": "dataset"}
    hub("create_branch", branch="new", **settings)
    hub("create_tag", tag="v1", revision="new", **settings)
    with refused("HfHubHTTPError", "409"):
        hub("create_tag", tag="v1", **settings)
    refs = hub("list_repo_refs", include_pull_requests=True, **settings)
    assert [(ref.name, ref.ref) for ref in refs.branches] == [("main", "refs/heads/main"), ("new", "refs/heads/new")]
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", repo.at("main").oid)]
    assert refs.pull_requests == []
    with refused("BadRequestError"):
        hub("upload_file", path_or_fileobj=b"b", path_in_repo="b.txt", revision="v1", **settings)
    hub("delete_branch", branch="new", **settings)
    hub("delete_tag", tag="v1", **settings)
    assert list(repo.refs) == ["refs/heads/main"]
    with refused("RevisionNotFoundError"):
        hub("delete_tag", tag="v1", **settings)


def test_the_clients_own_errors(server: HubServer, hub: Client) -> None:
    hub("create_repo", "tester/private", private=True)
    hub("upload_file", path_or_fileobj=b"a", path_in_repo="a.txt", repo_id="tester/private")
    server.add("model", "tester/waiting", {"a.txt": b"a"})
    hub("update_repo_settings", "tester/waiting", gated="manual")
    server.add("model", "someone/theirs")
    none, read = server.tokens["none"], server.tokens["read"]
    for token in (False, none):
        with refused("RepositoryNotFoundError"):
            hub("model_info", "tester/private", token=token)
        with refused("GatedRepoError"):
            hub("hf_hub_download", "tester/waiting", "a.txt", token=token)
    with refused("HfHubHTTPError", "Invalid credentials"):
        hub("model_info", "tester/private", token="hf_wrong")
    for name in ("private", "waiting"):
        assert Path(hub("hf_hub_download", f"tester/{name}", "a.txt", token=read)).read_bytes() == b"a"
    with refused("RepositoryNotFoundError"):
        hub("hf_hub_download", "tester/nothing", "a.txt")
    with refused("RevisionNotFoundError"):
        hub("hf_hub_download", "tester/private", "a.txt", revision="v9")
    with refused("RemoteEntryNotFoundError"):
        hub("hf_hub_download", "tester/private", "b.txt")
    for token, repo_id, error in (
        (read, "tester/private", ("HfHubHTTPError", "403 Forbidden")),
        (None, "someone/theirs", ("HfHubHTTPError", "403 Forbidden")),
        (False, "tester/waiting", ("RepositoryNotFoundError",)),
    ):
        with refused(*error):
            hub("upload_file", path_or_fileobj=b"", path_in_repo="b.txt", repo_id=repo_id, token=token)
    assert [hub("whoami", token=token)["name"] for token in (None, read, none)] == ["tester", "tester", "stranger"]


def test_a_repo_made_again_is_another(server: HubServer, hub: Client) -> None:
    for content in (b"old", b"new"):
        hub("create_repo", "tester/again")
        hub("upload_file", path_or_fileobj=content, path_in_repo="a.txt", repo_id="tester/again")
        assert Path(hub("hf_hub_download", "tester/again", "a.txt")).read_bytes() == content
        hub("delete_repo", "tester/again")
    with refused("RepositoryNotFoundError"):
        hub("delete_repo", "tester/again")


def test_a_commit_on_an_old_parent_conflicts(server: HubServer, hub: Client) -> None:
    old = server.add("model", "tester/conflict").at("main").oid
    upload = {"path_or_fileobj": b"a", "repo_id": "tester/conflict", "parent_commit": old}
    newer = hub("upload_file", path_in_repo="a.txt", **upload)
    with refused("HfHubHTTPError", "412"):
        hub("upload_file", path_in_repo="b.txt", **upload)
    hub("upload_file", path_in_repo="b.txt", **upload | {"parent_commit": newer.oid})
    assert {"a.txt", "b.txt"} < set(server.files("model", "tester/conflict"))


def test_a_pull_request_leaves_the_branch_alone(server: HubServer, hub: Client) -> None:
    server.add("model", "someone/popular", {"a.txt": b"a"})
    upload = {"path_in_repo": "a.txt", "repo_id": "someone/popular"}
    first = hub("upload_file", path_or_fileobj=b"b", create_pr=True, **upload)
    second = hub("upload_file", path_or_fileobj=b"c", create_pr=True, **upload)
    assert (first.pr_revision, second.pr_num) == ("refs/pr/1", 2)
    for revision, content in (("main", b"a"), ("refs/pr/1", b"b"), ("refs/pr/2", b"c")):
        found = hub("hf_hub_download", "someone/popular", "a.txt", revision=revision)
        assert Path(found).read_bytes() == content


def test_a_cut_download_is_resumed(server: HubServer, hub: Client, folder: Path) -> None:
    server.add("model", "tester/cut", contents(folder))
    cut = server.fault("cut", "/lfs/", size=LARGE - 1)
    assert Path(hub("hf_hub_download", "tester/cut", "long.txt")).read_bytes() == contents(folder)["long.txt"]
    assert cut.fired == 1
    assert [r.headers.get("range") for r in server.seen("GET", "/lfs/")] == [None, f"bytes={10 << 20}-"]


def test_an_upload_is_tried_again(server: HubServer, hub: Client) -> None:
    server.add("model", "tester/retries")
    faults = [server.fault("status", "/lfs/", method="PUT", times=2), server.fault("drop", "/lfs/", method="PUT")]
    hub("upload_file", path_or_fileobj=b"retried", path_in_repo="a.bin", repo_id="tester/retries")
    assert server.files("model", "tester/retries")["a.bin"] == b"retried"
    assert [fault.fired for fault in faults] == [2, 1]
    assert [request.status for request in server.seen("PUT", "/lfs/")] == [None, 503, 503, 200]


def test_a_long_upload_comes_in_parts(server: HubServer, hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "part_size", 500)
    content = random.Random(1).randbytes(1200)
    server.add("model", "tester/parts")
    hub("upload_file", path_or_fileobj=content, path_in_repo="a.bin", repo_id="tester/parts")
    assert server.files("model", "tester/parts")["a.bin"] == content
    assert [len(request.body) for request in server.seen("PUT", "/lfs/")] == [500, 500, 200]


def test_what_was_uploaded_is_not_uploaded_again_after_a_failed_commit(server: HubServer, hub: Client) -> None:
    server.add("model", "tester/rejected")
    upload = {"path_or_fileobj": b"rejected", "path_in_repo": "a.bin", "repo_id": "tester/rejected"}
    rejected = server.fault("status", "/commit/", status=500)
    with refused("HfHubHTTPError", "500"):
        hub("upload_file", **upload)
    assert (rejected.fired, list(server.files("model", "tester/rejected"))) == (1, [".gitattributes"])
    hub("upload_file", **upload)
    assert server.files("model", "tester/rejected")["a.bin"] == b"rejected"
    assert len(server.seen("PUT", "/lfs/")) == 1


def test_short_content_is_noticed_and_garbage_is_not(server: HubServer, hub: Client) -> None:
    server.add("model", "tester/garbage", {"short.bin": b"short content", "garbage.bin": b"content"})
    short, garbage = server.fault("short", "/lfs/", size=3), server.fault("garbage", "/lfs/")
    with refused("OSError", "Consistency check failed"):
        hub("hf_hub_download", "tester/garbage", "short.bin")
    found = hub("hf_hub_download", "tester/garbage", "garbage.bin")
    assert Path(found).read_bytes() == bytes(255 - byte for byte in b"content")  # sizes are compared, not SHA-256
    assert (short.fired, garbage.fired) == (1, 1)


def test_a_hub_that_is_gone_leaves_the_cache(hub: Client) -> None:
    with HubServer() as gone:
        gone.add("model", "tester/gone", {"a.txt": b"a"})
        first = hub("hf_hub_download", "tester/gone", "a.txt", endpoint=gone.endpoint)
    assert hub("hf_hub_download", "tester/gone", "a.txt", endpoint=gone.endpoint) == first
    with refused("ConnectError"):  # a file that is not in the cache would take the client 23 s
        hub("get_hf_file_metadata", f"{gone.endpoint}/tester/gone/resolve/main/a.txt")
    assert len(gone.seen("HEAD")) == 1


def stream(repo_id: str) -> list[tuple[bytes, str]]:
    """The pixels and the label of each picture."""
    from datasets import load_dataset

    rows = load_dataset(repo_id, split="train", streaming=True)
    names = rows.features["label"]
    return [(row["image"].convert("RGB").tobytes(), names.int2str(row["label"])) for row in rows]


def push_dataset(repo_id: str, pictures: list[bytes]) -> None:
    from datasets import ClassLabel, Dataset, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=["meadow", "snow"])})
    rows = {"image": [{"bytes": data, "path": None} for data in pictures], "label": [0, 1]}
    Dataset.from_dict(rows, features=features).push_to_hub(repo_id, private=True)


def png(domain: str) -> bytes:
    buffer = io.BytesIO()
    make_picture(domain, 0, 32).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_dataset_is_streamed(server: HubServer, client: Client) -> None:
    expected = [(make_picture(domain, 0, 32).tobytes(), label) for domain, label in (("A", "meadow"), ("B", "snow"))]
    server.add("dataset", "tester/folders", {"train/meadow/0.png": png("A"), "train/snow/0.png": png("B")})
    assert client(stream, "tester/folders") == expected
    assert len(server.seen("GET", "/lfs/")) == 2

    client(push_dataset, "tester/parquet", [png("A"), png("B")])
    files = server.files("dataset", "tester/parquet")
    assert sorted(files) == [".gitattributes", "README.md", "data/train-00000-of-00001.parquet"]
    assert server.repos["datasets", "tester/parquet"].private
    assert client(stream, "tester/parquet") == expected
    assert server.leaks == []


def push_and_load(repo_id: str, **kwargs: Any) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """A random generator's weights, before and after."""
    from cyclegan_hf.models.generator_resnet import ResnetGenerator

    generator = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    generator.push_to_hub(repo_id, private=True, **kwargs)
    loaded = ResnetGenerator.from_pretrained(repo_id, **kwargs)
    before, after = ({k: v.numpy().tobytes() for k, v in m.state_dict().items()} for m in (generator, loaded))
    return before, after


@pytest.mark.parametrize("subfolder", [None, "generator_a2b"])
def test_a_generator_goes_up_and_comes_down(server: HubServer, client: Client, subfolder: str | None) -> None:
    repo_id = f"tester/generator-{subfolder}"
    before, after = client(push_and_load, repo_id, **({"subfolder": subfolder} if subfolder else {}))
    assert before == after and len(before) > 4
    names = ["config.json", "diffusion_pytorch_model.safetensors"]
    expected = [f"{subfolder}/{name}" for name in names] if subfolder else [*names, "README.md"]
    assert set(server.files("model", repo_id)) == {".gitattributes", *expected}
    assert server.repos["models", repo_id].private
    assert server.seen("GET", "/lfs/") and server.leaks == []
