"""Data sets from the Hub and back to it, through the real clients and a Hub on loopback, by two processes."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest


datasets = pytest.importorskip("datasets", reason="needs the extra `train`")

import pyarrow.parquet as pq  # noqa: E402

from tests.bulk.conftest import Launch, files_under  # noqa: E402
from tests.hub_server import HubServer  # noqa: E402


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as one:
        yield one


@pytest.fixture
def repository(photos: Path, server: HubServer) -> str:
    """`user/photos` with two configurations: `seasons` has the splits `train` (three files) and `test`."""
    rows = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train")
    rows = datasets.Dataset.from_list(list(rows), features=rows.features)  # with the pictures inside
    files = {}
    for index in range(3):
        for split, part in (("train", rows.shard(3, index)), ("test", rows.shard(3, index).select([0]))):
            content = io.BytesIO()
            part.to_parquet(content)
            files[f"seasons/{split}-{index:05d}-of-00003.parquet"] = content.getvalue()
    card = "---\nconfigs:\n- config_name: seasons\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: seasons/{split}-*\n" for split in ("train", "test"))
    files["README.md"] = (card + "- config_name: none\n  data_files: none/*\n---\n").encode()
    server.add("dataset", "user/photos", files)
    return "user/photos"


def test_a_data_set_from_the_hub_goes_back_to_it(
    repository: str, server: HubServer, model: str, launch: Launch, tmp_path: Path
) -> None:
    environment = server.environment(tmp_path / "home")
    source = f"{repository},config=seasons,split=train,column=image,revision=main"
    words = ["translate", source, "--model", model, "--output", "out", "--write", "parquet", "--rows-per-shard", 3]
    process = launch(2, *words, "--streaming", "--push-to-hub", "tester/winter", "--private", environment=environment)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[0] == "out: 14 pictures translated, 6 shards written"
    assert lines[1].endswith("/datasets/tester/winter")
    pushed = {name: content for name, content in server.files("dataset", "tester/winter").items() if "parquet" in name}
    tables = [pq.read_table(io.BytesIO(content)) for _, content in sorted(pushed.items())]
    assert [label for table in tables for label in table["label"].to_pylist()] == [0] * 7 + [1] * 7
    here = [pq.read_table(io.BytesIO(content)) for content in files_under("out").values()]
    assert [cell["bytes"] for table in tables for cell in table["image"].to_pylist()] == [
        cell["bytes"] for table in here for cell in table["image"].to_pylist()
    ]
    assert "seasons" not in server.files("dataset", "tester/winter")["README.md"].decode()

    words[1] = f"{repository},config=seasons,split=test"
    process = launch(2, *words[:5], "test", environment=environment)  # not streamed, to pictures
    out, err = process.communicate(timeout=500)
    assert (process.returncode, out) == (0, "test: 3 pictures translated, 1 shard written\n"), err
    process = launch(1, "translate", "user/nothing", "--output", "none", environment=environment)
    _, err = process.communicate(timeout=500)
    assert "error: user/nothing: there is no such data set on the Hub, or it is private" in err
    assert not Path("none").exists()
