"""The commands of the page about sources, run as they stand there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from tests.hub_server import HubServer
from tests.testing_utils import write_domains
from tests.training.data_files import cell, grey, write_arrow, write_parquet, write_webdataset
from tests.training.tiny import write_recipe


pytestmark = pytest.mark.slow  # a new process and its imports for each command
ROOT = Path(__file__).resolve().parents[3]
TRAINING = ROOT / "training"
COMMANDS = re.findall(
    r"^accelerate launch training/train\.py (.*)$", (ROOT / "docs" / "data-sources.md").read_text("utf-8"), re.M
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every local source that the page names."""
    root = tmp_path_factory.mktemp("sources")
    write_recipe(root / "recipe.yaml", data={"num_workers": 1})
    write_domains(root / "domains", count=4, size=40)
    for name, domain in (("photos/summer", "trainA"), ("photos/winter", "trainB"), ("more/summer", "testA")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / "domains" / domain).rename(root / name)
    Image.new("RGB", (40, 40)).save(root / "photos" / "summer" / "a.png")
    (root / "chosen.txt").write_text("".join(f"{path}\n" for path in sorted((root / "photos/winter").iterdir())[:3]))
    for label in ("horse", "zebra"):
        (root / "animals" / label).mkdir(parents=True)
        for number in range(3):
            (root / "animals" / label / f"{number}.png").write_bytes(grey(number))
    rows = {"image": [cell(grey(number)) for number in range(6)]}
    table = Dataset.from_dict(rows, features=Features({"image": ImageFeature()}))
    (root / "zips").mkdir()
    for file, domain in (("summer.zip", "summer"), ("zips/one.zip", "winter"), ("zips/two.zip", "summer")):
        with zipfile.ZipFile(root / file, "w") as archive:
            for path in (root / "photos" / domain).iterdir():
                archive.write(path, f"{domain}/{path.name}")
    for domain, folder in (("summer", "trainA"), ("winter", "trainB")):
        shutil.copytree(root / "photos" / domain, root / "summer2winter" / folder)
    (root / "shards").mkdir()
    for shard in range(2):
        table.shard(2, shard).to_parquet(root / "shards" / f"train-{shard}.parquet")
    (write_webdataset(root / "tars", (5,)) / "train-000.tar").rename(root / "winter.tar")
    (write_arrow(root / "arrows", (5,)) / "data-00000-of-00001.arrow").rename(root / "winter.arrow")
    return root


@pytest.fixture(scope="module")
def hub(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a Hub that has the page's data sets."""
    root = tmp_path_factory.mktemp("hub")
    write_parquet(root / "rows", (5, 4))
    rows = {f"data/{file.name}": file.read_bytes() for file in (root / "rows").iterdir()}
    animals = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (place / "animals").glob("*/*.png")}
    lines = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/*.parquet\n"
        for name in ("trainA", "trainB")
    )
    seasons = {"README.md": f"---\nconfigs:\n{lines}---\n".encode()}
    for file in (place / "shards").iterdir():
        seasons |= {f"{name}/{file.name}": file.read_bytes() for name in ("trainA", "trainB")}
    with HubServer() as server:
        server.add("dataset", "user/pairs", rows)
        server.add("dataset", "user/animals", animals)
        branches = server.repos["datasets", "user/animals"].refs
        branches["refs/tags/v1.0"] = branches["refs/heads/main"]
        server.add("dataset", "user/seasons", seasons)
        files = {"winter.tar": (place / "winter.tar"), "winter.parquet": place / "shards" / "train-0.parquet"}
        server.add("dataset", "user/files", {name: file.read_bytes() for name, file in files.items()})
        environment = server.environment(tmp_path_factory.mktemp("home"), role=None)
        yield environment | {"MY_TOKEN": server.tokens["read"], "ACCELERATE_USE_CPU": "1"}


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 17


@pytest.mark.parametrize("words", COMMANDS, ids=range(len(COMMANDS)))
def test_a_command_trains(words: str, place: Path, hub: dict[str, str], tmp_path: Path) -> None:
    # Any server: to the clients, the Hub by another name is not the Hub.
    server = hub["HF_ENDPOINT"].replace("127.0.0.1", "localhost")
    words = words.replace("https://example.org", f"{server}/datasets/user/files/resolve/main")
    short = ["--output-dir", str(tmp_path / "run"), "--max-train-steps", "2"]
    ended = subprocess.run(
        [sys.executable, str(TRAINING / "train.py"), *shlex.split(words), *short],
        cwd=place,
        env={**hub, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "model_index.json").exists()
