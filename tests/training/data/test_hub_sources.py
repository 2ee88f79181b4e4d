"""Data sets on the Hub and at addresses, with the real clients and a Hub on loopback: read, refused, gone on with.

The clients read `HF_ENDPOINT` at import, so they run in a process of their own, which imports this file before it gets
its environment: nothing here may import them at its top.
"""

import importlib.util
import io
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import token
from tests.hub_server import HubServer
from tests.testing_utils import make_picture


pytestmark = pytest.mark.slow  # a process that imports everything, and a hundred requests a data set

Client = Callable[..., Any]


def set_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def greys(**data: Any) -> dict[str, list[int]]:
    """In the clients' process: the greys of both domains' pictures, of streams shard by shard."""
    import numpy as np

    from cyclegan_hf.training.config import DataConfig
    from cyclegan_hf.training.data.rows import open_picture
    from cyclegan_hf.training.data.sources import load_sources

    sources = load_sources(DataConfig(**{"streaming": True} | data))
    found = {}
    for key in ("a", "b"):
        pictures = list(sources.train[key])
        if sources.groups[key]:
            shards = sources.groups[key][0].shards
            pictures = [picture for shard in range(shards.num_shards) for _, picture in shards.rows(shard)]
        found[key] = [int(np.asarray(open_picture(picture)).mean()) for picture in pictures]
        if data.get("test_a"):
            found["test"] = [int(np.asarray(open_picture(picture)).mean()) for picture in sources.test["a"]]
    return found


def length(**data: Any) -> int | None:
    from cyclegan_hf.training.config import DataConfig
    from cyclegan_hf.training.data.sources import load_sources

    return load_sources(DataConfig(**{"streaming": True} | data)).length("a")


def refusal(**data: Any) -> str:
    from cyclegan_hf.training.config import DataConfig
    from cyclegan_hf.training.data.sources import load_sources

    try:
        load_sources(DataConfig(**{"streaming": True} | data))
    except ValueError as error:
        return str(error)
    return "not refused"


def refusal_as(hf_token: str, **data: Any) -> str:
    with token(hf_token):
        return refusal(**data)


def train(folder: str, checkpoint: str | None, **groups: dict[str, Any]) -> dict[str, Any]:
    """In the clients' process: a tiny run; the bytes of its weights."""
    from accelerate.state import AcceleratorState, GradientState

    from cyclegan_hf.training.trainer import Trainer
    from tests.training.tiny import tiny_config

    trainer = Trainer(tiny_config(Path(folder), **groups), Path(checkpoint) if checkpoint else None)
    trainer.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    files = sorted((Path(folder) / "run").glob("generator_*/*.safetensors"))
    return {file.parent.name: file.read_bytes() for file in files}


def not_resumed(folder: str, checkpoint: str, **groups: dict[str, Any]) -> str:
    """In the clients' process: why a run does not go on."""
    try:
        train(folder, checkpoint, **groups)
    except ValueError as error:
        return str(error)
    return "resumed"


def contents(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def photo(domain: str, seed: int) -> bytes:
    file = io.BytesIO()
    make_picture(domain, seed, size=40).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """`tester/pets` (parquet of two image columns and a label, of two versions), `tester/tars` (private webdataset),
    `tester/pics` (pictures in folders), `tester/photos` (parquet of photos)."""
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    from tests.training.data_files import cell, grey, write_parquet, write_webdataset

    root = tmp_path_factory.mktemp("hub")
    write_parquet(root / "pets", (5, 4))
    write_parquet(root / "pets", (3,), split="test")
    write_webdataset(root / "tars", (5, 4))
    rows = {"image": [cell(photo("A", seed)) for seed in range(12)]}
    photos = Dataset.from_dict(rows, features=Features({"image": ImageFeature()}))
    for shard in range(3):
        path = root / "photos" / f"train-{shard}.parquet"
        path.parent.mkdir(exist_ok=True)
        photos.shard(3, shard, contiguous=True).to_parquet(path)
    pictures = {f"{kind}/{n}.png": grey(10 * place + n) for place, kind in enumerate(("cat", "dog")) for n in range(3)}
    with HubServer() as server:
        server.add("dataset", "tester/pets", contents(root / "pets", "data/"))
        server.repos["datasets", "tester/pets"].refs["refs/tags/v1"] = server.repos["datasets", "tester/pets"].refs[
            "refs/heads/main"
        ]
        server.add("dataset", "tester/pets", {"data/test-00000-of-00001.parquet": b""})
        for name in ("tester/tars", "tester/hidden"):  # the second is only streamed: what was mapped is in the cache
            server.add("dataset", name, contents(root / "tars"), private=True)
        server.add("dataset", "tester/pics", pictures)
        server.add("dataset", "tester/gated", {"README.md": b"# Ask\n"} | pictures, gated="auto")
        server.add("dataset", "tester/photos", contents(root / "photos", "data/"))
        yield server


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    environment = server.environment(tmp_path_factory.mktemp("home"), role=None)
    environment |= {
        "MY_TOKEN": server.tokens["read"],
        "STRANGER": "hf_none",
        "WRONG": "hf_wrong",
        "ACCELERATE_USE_CPU": "1",
    }
    context = multiprocessing.get_context("spawn")  # what this process has imported has read another HF_ENDPOINT
    with ProcessPoolExecutor(1, context, set_environment, (environment,)) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result(timeout=500)


NINE = list(range(9))
V1 = "tester/pets,revision=v1"


@pytest.mark.parametrize("streaming", [True, False])
def test_two_columns_of_one_data_set_are_two_domains(client: Client, streaming: bool) -> None:
    found = client(greys, a=f"{V1},column=imageA", b=f"{V1},column=imageB", streaming=streaming)
    assert found == {"a": NINE, "b": [255 - n for n in NINE]}


@pytest.mark.parametrize("streaming", [True, False])
def test_two_labels_of_one_data_set_are_two_domains(client: Client, streaming: bool) -> None:
    place = f"{V1},column=imageA,label="
    found = client(greys, a=f"{place}horse", b=f"{place}zebra", test_a=f"{V1},column=imageA", streaming=streaming)
    assert found == {"a": [0, 2, 4, 6, 8], "b": [1, 3, 5, 7], "test": [0, 1, 2]}


@pytest.mark.parametrize("streaming", [True, False])
def test_a_private_data_set_with_a_token_of_its_own(client: Client, streaming: bool) -> None:
    found = client(greys, a="tester/tars,token=MY_TOKEN", b="tester/pics,label=dog", streaming=streaming)
    assert found == {"a": NINE, "b": [10, 11, 12]}


def test_addresses(client: Client, server: HubServer) -> None:
    hub = "hf://datasets/tester/pets@v1/data/train-*.parquet,column=imageA"
    resolved = f"{server.endpoint}/datasets/tester/pets/resolve/v1/data/train-00001-of-00002.parquet,column=imageA"
    assert client(greys, a=hub, b=resolved) == {"a": NINE, "b": [5, 6, 7, 8]}
    assert client(greys, a="hf://datasets/tester/tars/*.tar,token=MY_TOKEN", b=resolved)["a"] == NINE


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="https:// needs aiohttp")
@pytest.mark.parametrize("streaming", [True, False])
def test_any_server(client: Client, server: HubServer, streaming: bool) -> None:
    other = server.endpoint.replace("127.0.0.1", "localhost")  # to the clients not the Hub
    place = f"{other}/datasets/tester/pets/resolve/v1/data/train-00001-of-00002.parquet"
    found = client(greys, a=f"{place},column=imageA", b=f"{place},column=imageB", streaming=streaming)
    assert found == {"a": [5, 6, 7, 8], "b": [250, 249, 248, 247]}


def test_how_long_a_stream_from_the_hub_is(client: Client) -> None:
    assert client(length, a=f"{V1},column=imageA", b="tester/pics") == 9
    assert client(length, a="tester/hidden,token=MY_TOKEN", b="tester/pics") is None
    assert client(length, a="tester/pics", b="tester/pics") == 6


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("tester/nothing", "neither a path on this machine nor a data set that the Hub gives"),
        (
            "tester/hidden",
            "or it is private: check the name, or log in with `hf auth login`, or set HF_TOKEN, or `token=",
        ),
        ("tester/hidden,token=STRANGER", "and that the account of `token=STRANGER` has access"),
        ("tester/hidden,token=WRONG", "the Hub does not know the token in the variable WRONG"),
        ("tester/gated", "it is gated: ask for access at http://127.0.0.1:"),
        ("tester/gated", "/datasets/tester/gated, then log in with `hf auth login`"),
        ("tester/gated,token=STRANGER", "/datasets/tester/gated, with the account of `token=STRANGER`."),
        ("hf://datasets/tester/hidden/*.tar,token=WRONG", "the Hub does not know the token in the variable WRONG"),
        (f"{V1},column=imageA,split=validation", "there is no split `validation`; there are: train, test."),
        (f"{V1},column=image", "there is no column `image`; there are: imageA, imageB, label."),
        ("tester/pets,revision=v9,column=imageA", "Revision 'v9' doesn't exist for dataset 'tester/pets' on the Hub."),
        (f"{V1},column=imageA,config=small", "BuilderConfig 'small' not found. Available: ['default']"),
        ("tester/pics,label=cow", "no row is labelled so in `label`; its labels are: cat, dog."),
        ("hf://datasets/tester/pets", "an address must end in .parquet, .tar, .arrow, .zip"),
    ],
)
def test_what_the_hub_does_not_have_is_refused(client: Client, place: str, message: str) -> None:
    words = client(refusal, a=place, b="tester/pics")
    assert words.startswith(f"`data.a` {place}: ")
    assert message in words
    assert "\n" not in words


def test_the_stored_token_is_refused_in_words_too(client: Client) -> None:
    places = {"a": "tester/hidden", "b": "tester/pics"}
    assert "which is wrong or has expired: `hf auth login`" in client(refusal_as, "hf_wrong", **places)
    assert "and that the account of the stored token has access" in client(refusal_as, "hf_none", **places)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_run_that_streams_from_the_hub_goes_on_as_if_unbroken(
    client: Client, server: HubServer, tmp_path: Path, num_workers: int
) -> None:
    settings = {"a": "tester/photos", "b": "tester/photos,revision=main", "streaming": True, "shuffle_buffer": 5}
    groups = {
        "data": settings | {"num_workers": num_workers, "stream_samples": 2, "load_size": [36, 40]},
        "run": {"max_train_steps": 10, "checkpointing_steps": 7, "train_batch_size": 2, "image_pool_size": 3},
    }
    unbroken = client(train, str(tmp_path), None, **groups)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    checkpoint = tmp_path / "unbroken" / "checkpoint-7"  # fourteen rows: two into the second pass
    assert client(train, str(tmp_path), str(checkpoint), **groups) == unbroken
    assert set(unbroken) == {"generator_a2b", "generator_b2a"}
    assert not server.leaks


@pytest.mark.parametrize("streaming", [True, False])
def test_a_data_set_that_has_changed_is_refused_and_its_old_commit_goes_on(
    client: Client, server: HubServer, tmp_path: Path, streaming: bool
) -> None:
    name = f"tester/changing-{streaming}"
    files = server.repos["datasets", "tester/photos"].at("main").files
    shards = {path: file.content for path, file in files.items() if path.endswith(".parquet")}
    server.add("dataset", name, shards)
    groups = {
        "data": {"a": name, "b": "tester/photos", "streaming": streaming, "stream_samples": 2},
        "run": {"max_train_steps": 4, "checkpointing_steps": 2},
    }
    unbroken = client(train, str(tmp_path), None, **groups)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    began = server.repos["datasets", name].at("main").oid
    server.add("dataset", name, dict(zip(shards, reversed(shards.values()), strict=True)))  # names and numbers stay
    resume = [str(tmp_path), str(tmp_path / "unbroken" / "checkpoint-2")]
    told = client(not_resumed, *resume, **groups)
    assert f"`data.a` {name} is at revision " in told
    assert f"and the run began with another one: write `revision={began}`; `--allow-other-pictures`" in told
    groups["data"]["a"] = f"{name},revision={began}"
    assert client(train, *resume, **groups) == unbroken
