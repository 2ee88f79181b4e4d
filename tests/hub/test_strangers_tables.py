"""A stranger's data set that names files of this machine, of private repositories and of other servers."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client
from tests.hub_server import HubServer


pytest.importorskip("datasets", reason="needs the extra `train`")
pytestmark = pytest.mark.slow  # a process with the real clients

OWN, SECRET = 10, 200  # greys


def training(place: str, streaming: bool, outside: bool = False) -> dict[str, Any]:
    """In the clients' process: the grey of every row, or what is wrong with it, as the training reads them."""
    import numpy as np

    from cyclegan_hf.training.config import DataConfig
    from cyclegan_hf.training.data.rows import open_picture
    from cyclegan_hf.training.data.sources import load_sources

    found: dict[str, Any] = {"greys": [], "refused": []}
    try:
        sources = load_sources(DataConfig(a=place, b=place, streaming=streaming, allow_outside_files=outside))
        pictures = list(sources.train["a"])
        if sources.groups["a"]:
            shards = sources.groups["a"][0].shards
            pictures = [picture for shard in range(shards.num_shards) for _, picture in shards.rows(shard)]
    except ValueError as error:
        return found | {"error": str(error)}
    for picture in pictures:
        try:
            found["greys"].append(int(np.asarray(open_picture(picture)).mean()))
        except ValueError as error:
            found["refused"].append(str(error))
    return found


def bulk(place: str, streaming: bool, outside: bool = False) -> dict[str, Any]:
    """In the clients' process: the same, as `translate` reads them."""
    import numpy as np

    from cyclegan_hf.bulk.source import DatasetSource, Rows, pictures_of
    from cyclegan_hf.images.io import open_image

    found: dict[str, Any] = {"greys": [], "refused": []}
    try:
        rows = Rows(DatasetSource.read(place), streaming, outside)
        tables = list(rows.rows.with_format("arrow").iter(batch_size=100))
    except ValueError as error:
        return found | {"error": str(error)}
    for table in tables:
        for file in pictures_of(table, rows.column, rows.access):
            if isinstance(file, ValueError):
                found["refused"].append(str(file))
            else:
                found["greys"].append(int(np.asarray(open_image(file)).mean()))
    return found


def grey(value: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def parquet(cells: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Image

    schema = Features({"image": Image()}).arrow_schema
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array(cells, schema.field("image").type)}, schema=schema), file)
    return file.getvalue()


@pytest.fixture
def secrets(server: HubServer, tmp_path: Path) -> list[str]:
    """What a stranger would like to have: paths and addresses of one picture, each readable to who runs this."""
    server.add("dataset", "tester/diary", {"me.png": grey(SECRET), "me.zip": zipped()}, private=True)
    server.add("dataset", "stranger/other", {"me.png": grey(SECRET)})
    (tmp_path / "me.png").write_bytes(grey(SECRET))
    (tmp_path / "me.zip").write_bytes(zipped())
    return [
        str(tmp_path / "me.png"),
        f"file://{tmp_path}/me.png",
        f"local://{tmp_path}/me.png",
        f"/proc/self/root{tmp_path}/me.png",
        f"../../../../../../../../../../../..{tmp_path}/me.png",
        "hf://datasets/tester/diary/me.png",
        "hf://datasets/tester/diary@main/me.png",
        "hf://datasets/stranger/other/me.png",
        "hf://datasets/stranger/set/../../tester/diary/me.png",
        "hf://datasets/stranger/set/%2e%2e/%2e%2e/tester/diary/me.png",
        "hf://datasets/stranger/set@other/me.png",
        f"{server.endpoint}/datasets/tester/diary/resolve/main/me.png",
        f"{server.endpoint}/trap.png",
        f"{server.endpoint.replace('127.0.0.1', 'localhost')}/trap.png",
        f"zip://me.png::{tmp_path}/me.zip",
        f"zip://me.png::file://{tmp_path}/me.zip",
        "zip://me.png::hf://datasets/tester/diary/me.zip",
        f"zip://me.png::{server.endpoint}/trap.zip",
        f"simplecache::{server.endpoint}/trap.png",
        "filecache::hf://datasets/tester/diary/me.png",
        f"dir://me.png::{tmp_path}",
        "github://stranger:set@main/me.png",
        "\0",
    ]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("me.png", grey(SECRET))
    return file.getvalue()


def own_files() -> dict[str, bytes]:
    """What a table of `stranger/set` may name."""
    return {"pictures/one.png": grey(OWN), "one.png": grey(OWN)}


READERS = [(reader, streaming) for reader in (training, bulk) for streaming in (False, True)]


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_cells_of_a_strangers_table(
    client: Client, server: HubServer, secrets: list[str], reader: Any, streaming: bool
) -> None:
    own = ["pictures/one.png", "hf://datasets/stranger/set/pictures/one.png"]
    cells = [{"bytes": grey(OWN), "path": secrets[0]}]  # its own bytes, whatever it is called
    cells += [{"bytes": None, "path": path} for path in (*own, *secrets)]
    server.add("dataset", "stranger/set", own_files() | {"train.parquet": parquet(cells)})
    server.requests.clear()
    found = client(reader, "stranger/set,column=image", streaming)
    assert found["greys"] == [OWN] * 3
    assert len(found["refused"]) == len(secrets)
    assert all("refused" in message and "allow-outside-files" in message for message in found["refused"])
    assert not [request for request in server.requests if "trap" in str(request) or "diary" in str(request)]


@pytest.mark.parametrize(("reader", "streaming"), READERS)
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "metadata.jsonl", "metadata.csv"])
def test_paths_in_text_tables(
    client: Client, server: HubServer, secrets: list[str], reader: Any, streaming: bool, suffix: str
) -> None:
    for number, path in enumerate(secrets[:8:3]):
        repo, column = f"stranger/{suffix.replace('.', '-')}-{number}", "image"
        card = "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n---\n"
        if suffix.startswith("metadata"):
            column, card = "file_name", ""
        name = suffix if suffix.startswith("metadata") else f"train.{suffix}"
        rows = ["one.png", path]
        text = (
            "".join(json.dumps({column: row}) + "\n" for row in rows)
            if suffix.endswith("jsonl")
            else "\n".join([column, *rows]) + "\n"
        )
        files = {name: text.encode(), "README.md": card.encode() or b"# A set\n"} | own_files()
        if not suffix.startswith("metadata"):
            files = {name: files[name], "README.md": files["README.md"]}
        server.add("dataset", repo, files)
        server.requests.clear()
        found = client(reader, f"{repo},column=image", streaming)
        assert SECRET not in found["greys"]
        assert found["refused"] or "error" in found
        assert not [request for request in server.requests if "diary" in str(request)]


@pytest.mark.parametrize(("reader", "streaming"), READERS)
@pytest.mark.parametrize("at", ["data_files", "data_dir", "yaml"])
def test_data_files_of_a_strangers_card(
    client: Client, server: HubServer, secrets: list[str], tmp_path: Path, reader: Any, streaming: bool, at: str
) -> None:
    server.add("dataset", "tester/diary", {"train.parquet": parquet([{"bytes": grey(SECRET), "path": None}])})
    (tmp_path / "x.parquet").write_bytes(parquet([{"bytes": grey(SECRET), "path": None}]))
    places = [
        "hf://datasets/tester/diary/train.parquet",
        f"{tmp_path}/x.parquet",
        f"{server.endpoint}/trap.parquet",
        "../../tester/diary/train.parquet",
        f"[{{split: train, path: ['{tmp_path}/*.parquet']}}]",
    ]
    for number, place in enumerate(places):
        key = "data_dir" if at == "data_dir" else "data_files"
        text = f"configs:\n- config_name: default\n  {key}: {place}\n"
        card = {".huggingface.yaml": text} if at == "yaml" else {"README.md": f"---\n{text}---\n"}
        files = {name: content.encode() for name, content in card.items()}
        repo = f"stranger/card-{at}-{number}"
        server.add("dataset", repo, files | {"one.parquet": parquet([{"bytes": grey(OWN), "path": None}])})
        server.requests.clear()
        found = client(reader, f"{repo},column=image", streaming)
        assert SECRET not in found["greys"]
        assert "refused" in found["error"] and "allow-outside-files" in found["error"]
        assert not [request for request in server.requests if "trap" in str(request) or "diary" in str(request)]


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_a_repository_of_pictures_is_read(client: Client, server: HubServer, reader: Any, streaming: bool) -> None:
    server.add("dataset", "stranger/pictures", own_files() | {"two/one.png": grey(OWN)})
    assert client(reader, "stranger/pictures,column=image", streaming) == {"greys": [OWN] * 3, "refused": []}
    server.add("dataset", "stranger/zip", {"set.zip": zipped()})
    assert client(reader, "stranger/zip,column=image", streaming) == {"greys": [SECRET], "refused": []}
    metadata = {"metadata.jsonl": b'{"file_name": "one.png"}\n{"file_name": "pictures/one.png"}\n'}
    server.add("dataset", "stranger/metadata", own_files() | metadata)
    assert client(reader, "stranger/metadata,column=image", streaming) == {"greys": [OWN] * 2, "refused": []}


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_the_flag_opens_what_a_table_names(
    client: Client, server: HubServer, secrets: list[str], reader: Any, streaming: bool
) -> None:
    cells = [{"bytes": None, "path": path} for path in (secrets[0], secrets[5], secrets[14])]
    server.add("dataset", "stranger/open", {"train.parquet": parquet(cells)})
    assert client(reader, "stranger/open,column=image", streaming, True)["greys"] == [SECRET] * 3
