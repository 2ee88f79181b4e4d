"""Data sets of two folders: what goes up, what comes down, and what is refused."""

import io
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from tests.hub.client import Client
from tests.hub_server import HubServer
from tests.testing_utils import FOLDERS, write_domains


def rows(repo_id: str, config: str, split: str) -> list[tuple[str, bytes, int]]:
    """Each picture's name and file, as a stream gives them, and the count that is stated."""
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    stream = load_dataset(repo_id, config, split=split, streaming=True)
    count = stream.info.splits[split].num_examples
    files: Iterator[dict[str, Any]] = (row["image"] for row in stream.cast_column("image", ImageFeature(decode=False)))
    return [(file["path"], file["bytes"], count) for file in islice(files, 20)]


def splits(repo_id: str) -> dict[str, int]:
    """The splits of the data set's own configuration, and how many pictures each states."""
    from datasets import load_dataset_builder

    return {name: info.num_examples for name, info in load_dataset_builder(repo_id).info.splits.items()}


def test_four_folders_become_a_data_set_that_streams(
    server: HubServer, cli: Any, client: Client, tmp_path: Path
) -> None:
    root = write_domains(tmp_path / "domains", count=3, size=24)
    (root / "trainB" / "deep").mkdir()
    (root / "trainB" / "000.png").rename(root / "trainB" / "deep" / "x.png")
    (root / "trainB" / "notes.txt").write_text("no picture")
    names = ["--domain-a", "summer", "--domain-b", "winter", "--license", "cc0-1.0"]
    tests = ["--test-a", root / "testA", "--test-b", root / "testB"]
    code, output, errors = cli("dataset", "push", root / "trainA", root / "trainB", "tester/seasons2", *tests, *names)
    assert (code, output) == (0, f"{server.endpoint}/datasets/tester/seasons2\n"), errors
    repo = server.repos["datasets", "tester/seasons2"]
    assert [commit.title for commit in repo.commits.values()] == ["initial commit", "Upload 12 pictures"]

    def pictures(folder: str) -> dict[str, bytes]:
        return {
            path.relative_to(root / folder).as_posix(): path.read_bytes() for path in (root / folder).rglob("*.png")
        }

    for folder in FOLDERS:
        table = pq.read_table(io.BytesIO(repo.at("main").files[f"{folder}/00000-of-00001.parquet"].content))
        assert {row["path"]: row["bytes"] for row in table["image"].to_pylist()} == pictures(folder)
    found = client(rows, "tester/seasons2", "trainB", "train")
    assert {name: content for name, content, _ in found} == pictures("trainB")
    assert {count for _, _, count in found} == {3} == {len(found)}
    assert client(splits, "tester/seasons2") == dict.fromkeys(FOLDERS, 3)

    card = DatasetCard(server.files("dataset", "tester/seasons2")["README.md"].decode())
    assert (card.data.license, card.data.size_categories) == ("cc0-1.0", ["n<1K"])
    assert "unpaired-image-translation" in card.data.tags
    assert [config["config_name"] for config in card.data.configs] == ["default", *FOLDERS]
    assert "| `trainB` | winter | train | 3 |" in card.text and "the licence (cc0-1.0)" in card.text

    shutil.rmtree(root / "testA")
    assert cli("dataset", "push", root / "trainA", root / "trainB", "tester/seasons2", *names)[0] == 0
    now = server.files("dataset", "tester/seasons2")
    assert {path.split("/")[0] for path in now} == {".gitattributes", "README.md", "trainA", "trainB"}
    assert server.leaks == []


def test_large_folders_become_several_files(client: Client, tmp_path: Path) -> None:
    sizes, groups = client(write_shards, str(tmp_path))
    assert sizes == [[3, 3, 1], [1], [1, 1]]  # pictures a file: three of 30 bytes fit into 100, one of 200 none
    assert groups == [2, 1]  # rows a group


def write_shards(folder: str) -> tuple[list[list[int]], list[int]]:
    import pyarrow.parquet as pq

    from cyclegan_hf.hub import data as hub_data

    limits = hub_data.SHARD_BYTES, hub_data.ROW_GROUP
    hub_data.SHARD_BYTES, hub_data.ROW_GROUP = 100, 2
    try:
        found = []
        for lengths in ([30] * 7, [30], [200, 200]):
            files = []
            for number, length in enumerate(lengths):
                path = Path(folder, f"{number}.png")
                path.write_bytes(bytes(length))
                files.append((path.name, path))
            found.append([len(shard) for shard in hub_data._shards(files)])
        hub_data._write(Path(folder, "x.parquet"), [(f"{number}.png", Path(folder, "0.png")) for number in range(3)])
        metadata = pq.ParquetFile(Path(folder, "x.parquet")).metadata
        return found, [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    finally:
        hub_data.SHARD_BYTES, hub_data.ROW_GROUP = limits


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("", [], "--license"),
        ("", ["--license", "mine"], '"license" must be one of'),
        ("empty", ["--license", "mit"], "2 files left out: 2 .txt"),
        ("gone", ["--license", "mit"], "expected a folder of pictures, there is no such folder"),
        ("broken", ["--license", "mit"], "1 of 4 pictures cannot be read; remove them. The first: "),
        ("", ["--license", "mit", "--domain-b", "summer"], "must be two different names, got 'summer' twice"),
        ("taken", ["--license", "mit"], "holds something else (data.csv)"),
    ],
)
def test_each_refusal_is_one_line(
    server: HubServer, cli: Any, tmp_path: Path, change: str, options: list[str], words: str
) -> None:
    for name in ("summer", "winter"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    match change:
        case "empty":
            for path in (tmp_path / "summer").iterdir():
                path.rename(path.with_suffix(".txt"))
        case "gone":
            shutil.rmtree(tmp_path / "winter")
        case "broken":
            (tmp_path / "winter" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    server.add("dataset", "tester/taken-data", {"data.csv": b"theirs"})
    repo_id = "tester/taken-data" if change == "taken" else "tester/refused-data"
    code, output, errors = cli("dataset", "push", "summer", "winter", repo_id, *options)
    assert (code, output) == (2, "") and words in errors
    assert "Traceback" not in errors and errors.splitlines()[-1].startswith("error: ")
    assert server.files("dataset", "tester/taken-data").keys() == {".gitattributes", "data.csv"}
    if repo := server.repos.get(("datasets", "tester/refused-data")):
        assert len(repo.commits) == 1


def train(folder: str, source: str) -> list[str]:
    """A run on the data set, streamed; what its folder holds then."""
    from cyclegan_hf.training.trainer import Trainer
    from tests.training.tiny import tiny_config

    places = {key: f"{source},config=train{key.upper()}" for key in "ab"}
    tests = {f"test_{key}": f"{source},config=test{key.upper()}" for key in "ab"}
    Trainer(tiny_config(Path(folder), data=places | tests | {"streaming": True})).train()
    return sorted(path.name for path in (Path(folder) / "run").iterdir())


@pytest.mark.slow
def test_the_trainer_streams_it(server: HubServer, cli: Any, client: Client, tmp_path: Path) -> None:
    pytest.importorskip("cyclegan_hf.training.data.notation", reason="the trainer of this tree takes folders only")
    root = write_domains(tmp_path / "domains", count=3, size=40)
    tests = ["--test-a", root / "testA", "--test-b", root / "testB", "--license", "mit"]
    assert cli("dataset", "push", root / "trainA", root / "trainB", "tester/fed", *tests)[0] == 0
    server.requests.clear()
    assert "model_index.json" in client(train, str(tmp_path), "tester/fed")
    assert server.seen("GET", "/lfs/")


BULK_REFUSALS = {
    "not logged in": (None, "tester/bulk", "the Hub needs to know who writes: log in with `hf auth login`"),
    "wrong token": ("hf_wrong", "tester/bulk", "the Hub does not know this token"),
    "read-only token": ("read", "tester/bulk", "this token may not write to tester/bulk"),
    "read-only token, and it is there": ("read", "tester/bulk-there", "this token may not write to tester/bulk-there"),
    "somebody else's": ("write", "someone/bulk-there", "this token may not write to someone/bulk-there"),
}


@pytest.mark.parametrize("case", BULK_REFUSALS)
def test_a_bulk_translation_is_refused_before_it_begins(
    server: HubServer, cli: Any, two_domains: Path, model: Path, tmp_path: Path, case: str
) -> None:
    role, repo_id, words = BULK_REFUSALS[case]
    for there in ("tester/bulk-there", "someone/bulk-there"):
        server.add("dataset", there)
    words_of_it = ["translate", two_domains / "trainA", "--model", model, "--output", "out", "--write", "parquet"]
    code, output, errors = cli(*words_of_it, "--push-to-hub", repo_id, role=role)
    complaint = errors.splitlines()[-1]  # after a bar: the data set is read first
    assert (code, output) == (2, "") and complaint.startswith("error: ") and words in complaint
    assert "Traceback" not in errors and not (tmp_path / "out").exists()


def test_a_bulk_push_that_fails_says_how_to_go_on(server: HubServer, cli: Any, two_domains: Path, model: Path) -> None:
    words = ["translate", two_domains / "trainA", "--model", model, "--output", "out", "--write", "parquet"]
    words += ["--push-to-hub", "tester/bulk-late"]
    server.fault("status", "/tester/bulk-late/commit/", status=403)
    code, _, errors = cli(*words)
    assert code == 2 and "error: The translation is complete in out, but could not be pushed: this token may" in errors
    code, output, errors = cli(*words, "--existing", "skip")
    assert (code, errors.count("error")) == (0, 0) and output.endswith("/datasets/tester/bulk-late\n")
    assert any(name.endswith(".parquet") for name in server.files("dataset", "tester/bulk-late"))


def test_links_out_of_a_folder_are_not_published(server: HubServer, cli: Any, tmp_path: Path) -> None:
    root = write_domains(tmp_path / "domains", count=2, size=24)
    (root / "trainA" / "inside.png").symlink_to(root / "trainA" / "000.png")
    shutil.copy(root / "trainB" / "000.png", tmp_path / "me.png")
    words = ["dataset", "push", root / "trainA", root / "trainB", "tester/links", "--license", "cc0-1.0"]
    words += ["--domain-a", "summer", "--domain-b", "winter"]
    (root / "trainB" / "link.png").symlink_to(tmp_path / "me.png")
    code, _, errors = cli(*words)
    assert code == 2 and "1 of 3 pictures are links to files outside of it" in errors
    assert ("datasets", "tester/links") not in server.repos
    assert cli(*words, "--allow-outside-files")[0] == 0
