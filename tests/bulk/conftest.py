"""A model and pictures for bulk translation, and the command as several processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from tests.testing_utils import make_picture


ROOT = Path(__file__).resolve().parents[2]
Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved pipeline, of one small random network each way."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    generators = [ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1) for _ in range(2)]
    CycleGANPipeline(*generators, domain_a="summer", domain_b="winter").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos/` under the current folder: two classes of seven pictures each, PNG and JPEG."""
    monkeypatch.chdir(tmp_path)
    for letter, name in (("A", "meadow"), ("B", "snow")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(7):
            picture = make_picture(letter, index, 24)
            picture.save(tmp_path / "photos" / name / f"{index}.{'jpg' if index % 3 else 'png'}")
    return tmp_path / "photos"


@pytest.fixture
def launch() -> Launch:
    """Starts the command as so many processes."""

    def start(count: int, *words: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        return subprocess.Popen(
            [sys.executable, *launcher, "-m", "cyclegan_hf.cli", *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def files_under(folder: Path | str) -> dict[str, bytes]:
    """Every file but hidden ones, by its path."""
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in sorted(names.items()) if not name.startswith(".")}
