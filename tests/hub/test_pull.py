"""Pulls: from where, as whom, in what order, and from a cache or a Hub that is damaged."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cyclegan_hf
from tests.hub.client import Client, ClientError, load, make_pipeline
from tests.hub_server import HubServer
from tests.official.official_networks import save, small_resnet
from tests.testing_utils import make_picture


WEIGHTS = "generator_a2b/diffusion_pytorch_model.safetensors"


def files_of(folder: Path, prefix: str = "") -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def refused(words: str) -> Any:
    return pytest.raises(ClientError, match=rf"^(ValueError|HubError): [^\n]*{words}[^\n]*$")


def cached(cache: Path, name: str) -> Path:
    """A file of the only snapshot in a cache."""
    (found,) = cache.glob(f"models--*/snapshots/*/{name}")
    return found


def test_only_what_is_needed_is_fetched_and_then_one_request_will_do(
    server: HubServer, client: Client, model: Path, tmp_path: Path
) -> None:
    also = {"README.md": b"card", "generator_a2b/model.onnx": b"graph", WEIGHTS.replace(".s", ".fp16.s"): b"half"}
    server.add("model", "tester/lean", files_of(model) | also | {"training_state/state.pt": b"pickled"})
    here = client(load, str(model))
    assert client(load, "tester/lean", cache_dir=tmp_path / "cache") == here
    fetched = {request.path.split("/main/")[-1] for request in server.requests if "/resolve/" in request.path}
    assert len(server.seen("HEAD")) == 5  # the index, two configurations, two weight files
    assert not any(name.endswith((".onnx", ".md", ".pt")) or "fp16" in name for name in fetched)
    server.requests.clear()
    assert client(load, "tester/lean", cache_dir=tmp_path / "cache") == here
    assert [request.method for request in server.requests] == ["HEAD"]
    server.requests.clear()
    assert client(load, "tester/lean", cache_dir=tmp_path / "cache", local_files_only=True) == here
    assert server.requests == []
    assert server.leaks == []


def test_all_files_are_of_one_commit(server: HubServer, client: Client, tmp_path: Path) -> None:
    """Somebody pushes between the index and the weights."""
    old, new = (Path(client(make_pipeline, str(tmp_path / name), seed=seed)) for seed, name in enumerate("on"))
    repo = server.add("model", "tester/moving", files_of(old))
    first = repo.at("main").oid
    cache = tmp_path / "cache"
    client(load, "tester/moving", cache_dir=cache)
    cached(cache, WEIGHTS).unlink()  # only the index is left to tell which commit it was
    server.add("model", "tester/moving", files_of(new))
    assert client(load, "tester/moving", cache_dir=cache, revision=first) == client(load, str(old))
    assert client(load, "tester/moving", cache_dir=cache) == client(load, str(new))
    resolved = [request.path.split("/")[4] for request in server.seen("HEAD", "/resolve/")]
    assert resolved.count("main") == 2 and set(resolved) == {"main", first, repo.at("main").oid}


def test_where_a_pipeline_is(server: HubServer, client: Client, model: Path, tmp_path: Path) -> None:
    best = Path(client(make_pipeline, str(tmp_path / "best"), seed=1))
    repo = server.add("model", "tester/places", files_of(model) | files_of(best, "runs/best/"))
    repo.add_ref("refs/tags/v1", "main")
    server.add("model", "tester/places", files_of(best))
    root, inner = client(load, str(model)), client(load, str(best))
    assert client(load, "tester/places") == inner
    assert client(load, "tester/places", revision="v1") == root
    assert client(load, "tester/places", revision="v1", subfolder="runs/best/") == inner
    with refused(r"there is no runs/last/model_index.json at revision 'main'"):
        client(load, "tester/places", subfolder="runs/last")
    with refused(r"has no file generator_a2b/diffusion_pytorch_model.bf16.safetensors at revision 'main'"):
        client(load, "tester/places", variant="bf16")


@pytest.mark.parametrize(
    ("repo_id", "role", "words"),
    [
        (
            "tester/nothing",
            "write",
            "there is no such folder here; .*no such model on the Hub, or it is private: check the name",
        ),
        ("tester/nothing", None, "check the name, or log in with `hf auth login`, or set HF_TOKEN"),
        ("tester/closed", None, "or it is private: check the name, or log in"),
        ("tester/closed", "none", "or it is private: check the name, and that this token's account has access"),
        (
            "tester/asked",
            None,
            "is gated: ask for access at http://[^ ]*/tester/asked, then log in",
        ),
        ("tester/asked", "none", "is gated: ask for access at .*, with the account of this token"),
        (
            "tester/closed",
            "hf_wrong",
            "does not know this token, which is wrong or has expired: `hf auth login`",
        ),
        ("tester/other", "write", "expected a saved pipeline, but there is no model_index.json.* set `official`"),
        ("tester/a b", "write", "Hub id such as user/name"),
    ],
)
def test_who_may_have_what(
    server: HubServer, client: Client, model: Path, repo_id: str, role: str | None, words: str
) -> None:
    server.add("model", "tester/closed", files_of(model), private=True)
    server.add("model", "tester/asked", files_of(model), gated="manual")
    server.add("model", "tester/other", {"model.bin": b"theirs"})
    with refused(words):
        client(load, repo_id, hf_token=server.tokens.get(role, role) if role else None)


def test_with_access_they_load(server: HubServer, client: Client, model: Path) -> None:
    server.add("model", "tester/closed", files_of(model), private=True)
    server.add("model", "tester/asked", files_of(model), gated="manual")
    here = client(load, str(model))
    for repo_id in ("tester/closed", "tester/asked"):
        assert client(load, repo_id, hf_token=server.tokens["read"]) == here
        assert client(load, repo_id, hf_token=None, token=server.tokens["read"]) == here
    with refused("has no revision 'v9': set `revision` to a branch, tag or commit of it"):
        client(load, "tester/closed", revision="v9")


def test_a_command_says_so_too(server: HubServer, cli: Any, tmp_path: Path) -> None:
    make_picture("A", 0).save(tmp_path / "photo.png")
    code, output, errors = cli("translate", "photo.png", "--output", "out.png", "--model", "tester/nowhere", role=None)
    assert (code, output) == (2, "") and errors.count("\n") == 1
    assert "tester/nowhere: there is no such model on the Hub, or it is private" in errors
    assert not (tmp_path / "out.png").exists()


# Damage


@pytest.mark.parametrize("name", [WEIGHTS, "generator_a2b/config.json", "model_index.json"])
def test_same_size_garbage_is_fetched_again(
    server: HubServer, client: Client, model: Path, tmp_path: Path, name: str
) -> None:
    """The clients compare sizes alone. The first of the file's downloads brings other bytes."""
    repo_id = f"tester/garbage-{name.split('.')[-1]}-{name.count('/')}"
    files = files_of(model)
    server.add("model", repo_id, files)
    place = next(oid for oid, blob in server.blobs.items() if blob == files[name]) if name == WEIGHTS else name
    garbage = server.fault("garbage", f"{place}$", method="GET")
    assert client(load, repo_id, cache_dir=tmp_path / "cache") == client(load, str(model))
    assert garbage.fired == 1
    always = server.fault("garbage", f"{place}$", method="GET", times=10)
    with refused(f"{name} arrived damaged, twice"):
        client(load, repo_id, cache_dir=tmp_path / "another")
    assert always.fired == 2
    always.times = 0


def test_a_damaged_cache_entry_is_fetched_again_and_otherwise_named(
    server: HubServer, client: Client, model: Path, tmp_path: Path
) -> None:
    server.add("model", "tester/rotten", files_of(model))
    cache, here = tmp_path / "cache", client(load, str(model))
    assert client(load, "tester/rotten", cache_dir=cache) == here

    def flip() -> None:
        """One bit of a weight: the file is as long as before, and safetensors reads it."""
        blob = cached(cache, WEIGHTS).resolve()
        content = bytearray(blob.read_bytes())
        content[-1] ^= 1
        blob.write_bytes(content)

    flip()
    server.requests.clear()
    assert client(load, "tester/rotten", cache_dir=cache) == here
    assert len(server.seen("GET", "/lfs/")) == 1  # of two weight files the damaged one
    flip()
    with refused("in the cache is damaged, and cannot be fetched again now: load it once with a connection") as caught:
        client(load, "tester/rotten", cache_dir=cache, local_files_only=True)
    assert str(cached(cache, WEIGHTS)) in str(caught.value)
    assert client(load, "tester/rotten", cache_dir=cache) == here


def test_downloads_that_break_off(server: HubServer, client: Client, model: Path, tmp_path: Path) -> None:
    server.add("model", "tester/cuts", files_of(model))
    cut = server.fault("cut", "/lfs/", size=3000)
    assert client(load, "tester/cuts", cache_dir=tmp_path / "one") == client(load, str(model))
    short = server.fault("short", "/lfs/", size=3)
    assert client(load, "tester/cuts", cache_dir=tmp_path / "two") == client(load, str(model))
    assert (cut.fired, short.fired) == (1, 1)
    always = server.fault("short", "/lfs/", size=3, times=2)
    with refused("Consistency check failed: .* Please retry with `force_download=True`"):
        client(load, "tester/cuts", cache_dir=tmp_path / "three")
    assert always.fired == 2


def test_a_hub_that_is_busy_for_a_moment(server: HubServer, client: Client, model: Path, tmp_path: Path) -> None:
    server.add("model", "tester/busy-pull", files_of(model))
    busy = server.fault("status", "/busy-pull/", times=2)
    assert client(load, "tester/busy-pull", cache_dir=tmp_path / "cache") == client(load, str(model))
    assert busy.fired == 2


def test_a_cache_that_lacks_a_file_is_told_so_offline(
    server: HubServer, client: Client, model: Path, tmp_path: Path
) -> None:
    server.add("model", "tester/partly", files_of(model))
    client(load, "tester/partly", cache_dir=tmp_path / "cache")
    cached(tmp_path / "cache", WEIGHTS).unlink()
    with refused(
        r"is not \(or not whole\) in the cache, and `local_files_only` or HF_HUB_OFFLINE forbids to fetch it"
    ):
        client(load, "tester/partly", cache_dir=tmp_path / "cache", local_files_only=True)


# The official code's files


def test_official_files_load_through_the_converter(
    server: HubServer, client: Client, cli: Any, tmp_path: Path
) -> None:
    home = tmp_path / "official"
    home.mkdir()
    for key, seed in (("G_A", 1), ("G_B", 2)):
        save(home / f"latest_net_{key}.pth", small_resnet(seed))
        save(home / f"5_net_{key}.pth", small_resnet(seed + 10))
    server.add("model", "tester/official", files_of(home) | files_of(home, "horse2zebra/"))
    here = client(load, str(home), official=True)
    assert any(key.startswith("generator_b2a") for key in here)
    assert client(load, "tester/official", official=True) == here
    assert client(load, "tester/official", official=True, subfolder="horse2zebra") == here
    assert client(load, "tester/official", official=True, local_files_only=True) == here
    with refused("there is no model_index.json at revision 'main'; where it holds files of the official code"):
        client(load, "tester/official")
    with refused("there are files of the official code: set `official`"):
        client(load, str(home))

    server.add("model", "tester/single", {"latest_net_G.pth": (home / "latest_net_G_A.pth").read_bytes()})
    single = client(load, "tester/single", official=True)
    assert single == {key: value for key, value in here.items() if key.startswith("generator_a2b")}
    make_picture("A", 0).save(tmp_path / "photo.png")
    words = ("translate", "photo.png", "--output", "zebra.png", "--model", "tester/single")
    assert cli(*words, "--official")[0] == 0 and (tmp_path / "zebra.png").exists()
    server.add("model", "tester/none-official", {"model.bin": b"theirs"})
    with refused(r"expected files of the official code such as latest_net_G_A\.pth or latest_net_G\.pth, found none"):
        client(load, "tester/none-official", official=True)
    with refused("have no variants"):
        client(load, "tester/single", official=True, variant="fp16")
    (home / "latest_net_G_A.pth").unlink()
    save(home / "10_net_G_A.pth", small_resnet(3))
    with refused(r"expected one G_A or a latest_net_G_A\.pth, found 10_net_G_A\.pth, 5_net_G_A\.pth"):
        client(load, str(home), official=True)


# A process of its own: these variables are read at import


@pytest.mark.slow
def test_offline_and_alone(server: HubServer, client: Client, model: Path, tmp_path: Path) -> None:
    server.add("model", "tester/offline", files_of(model))
    arguments = ["translate", "photo.png", "--output=out.png", "--existing=overwrite", "--model=tester/offline"]
    make_picture("A", 0).save(tmp_path / "photo.png")

    def translate(**settings: str) -> tuple[int, str]:
        environment = server.environment(tmp_path / "home") | settings
        environment["PYTHONPATH"] = str(Path(cyclegan_hf.__file__).parents[1])
        words = [sys.executable, "-m", "cyclegan_hf.cli", *arguments]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stderr

    code_offline, complaint = translate(HF_HUB_OFFLINE="1")
    assert code_offline == 2 and complaint.count("\n") == 1 and "not whole) in the cache" in complaint
    assert translate()[0] == 0
    first = (tmp_path / "out.png").read_bytes()
    server.requests.clear()
    assert translate(HF_HUB_OFFLINE="1") == (0, "")
    assert server.requests == [] and (tmp_path / "out.png").read_bytes() == first
    gone = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert translate(**gone)[0] == 0  # the cache answers for a Hub that is gone
    shutil.rmtree(tmp_path / "home")
    status, complaint = translate(**gone)  # half a minute of the client's retries
    assert status == 2 and complaint.count("\n") == 1
    assert "no connection to the Hub at http://127.0.0.1:9" in complaint and "HF_HUB_OFFLINE=1" in complaint


WITHOUT_LINKS = """
import sys
from pathlib import Path
from cyclegan_hf.hub.download import RepoFiles

repo_id = sys.argv[1]
for name in ("weights.safetensors", "config.json"):
    path = RepoFiles(repo_id).get(name)
    assert not path.is_symlink()
    before = path.read_bytes()
    path.write_bytes(bytes(255 - byte for byte in before))
    assert RepoFiles(repo_id, local_files_only=True).get(name).read_bytes() != before  # nobody can know
    assert RepoFiles(repo_id).get(name).read_bytes() == before, name
    print(name, len(before))
"""


def test_a_cache_without_links_is_compared_with_the_hub(server: HubServer, tmp_path: Path) -> None:
    server.add("model", "tester/no-links", {"weights.safetensors": b"weights" * 99, "config.json": b"{}"})
    environment = server.environment(tmp_path / "home") | {"HF_HUB_DISABLE_SYMLINKS": "1"}
    environment |= {"PYTHONPATH": str(Path(cyclegan_hf.__file__).parents[1])}
    command = [sys.executable, "-c", WITHOUT_LINKS, "tester/no-links"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("weights.safetensors 693\nconfig.json 2\n", 0), done.stderr
    assert server.leaks == []
