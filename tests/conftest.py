"""What every test shares. The environment comes first: torch, diffusers and the Hub's clients read it at import."""

import atexit
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path


# A cache of our own: nothing that this machine's user downloaded can help a test to pass, and no test writes there.
_HF_HOME = tempfile.TemporaryDirectory(prefix="cyclegan-hf-tests-")
atexit.register(_HF_HOME.cleanup)
os.environ["HF_HOME"] = _HF_HOME.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores; commands that they start inherit it

import numpy as np
import pytest
import torch

from tests.chromium import browser as browser
from tests.official.official_networks import Patch, Pixel, randomized, save, small_resnet
from tests.testing_utils import write_domains


CPU_FOR_GPU = os.environ.get("CYCLEGAN_GPU_DEVICE") == "cpu"
"""The tests for GPUs run on the CPU, in a small form: to see that they work."""


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start each test from the same random state, whatever ran before it, and keep torch's thread count."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_domains(tmp_path: Path) -> Path:
    """A folder with `trainA`, `trainB`, `testA` and `testB`: six 48x48 pictures each, green meadows and white ones."""
    return write_domains(tmp_path / "domains", count=6, size=48)


@pytest.fixture
def official_files(tmp_path: Path) -> dict[str, Path]:
    """G_A and G_B (3 to 1 channels and back) and the discriminators that play with them."""
    networks = {
        "G_A": small_resnet(1, in_channels=3, out_channels=1),
        "G_B": small_resnet(2, in_channels=1, out_channels=3, blocks=3),
        "D_A": randomized(Patch(1, width=2), 3),
        "D_B": randomized(Pixel(3, width=2), 4),
    }
    return {name: save(tmp_path / f"latest_net_{name}.pth", network) for name, network in networks.items()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device, and this machine has none")
    no_network = pytest.mark.skip(reason="needs the internet: set CYCLEGAN_TEST_NETWORK=1 to run it")
    for item in items:
        # By the marker: an item's keywords hold the names of the folders above it too.
        if item.get_closest_marker("gpu") and not (torch.cuda.is_available() or CPU_FOR_GPU):
            item.add_marker(no_gpu)
        if item.get_closest_marker("network") and os.environ.get("CYCLEGAN_TEST_NETWORK") != "1":
            item.add_marker(no_network)
