"""Checkpoints: written whole or not at all, found again, rotated."""

import contextlib
import json
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.checkpointing import (
    checkpoint_folders,
    find_checkpoint,
    load_checkpoint,
    random_state,
    rotate,
    save_checkpoint,
    set_random_state,
)
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import tiny_config


class Pipeline:
    """What a checkpoint asks of one."""

    def save_pretrained(self, folder: Path) -> None:
        (folder / "model_index.json").write_text("{}", encoding="utf-8")


def save(folder: Path, networks: dict[str, nn.Module] | None = None, **state: Any) -> Path:
    networks = networks or {"generator_a2b": nn.Linear(2, 2)}
    run = {"step": 3, "seconds": 1.5, "positions": {"a": 3, "b": 3}, "pictures": {"a": 9, "b": 9}}
    state = {"step": {}, "ema": [], "scaler": None, "plateau": None, "processes": []} | state
    save_checkpoint(folder, pipeline=Pipeline(), config="run: {}\n", run=run, networks=networks, state=state)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """For real: the system refuses every write beyond the first `size` bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    network(torch.rand(5, 2))
    state = {"pools": {"a": [torch.rand(3, 2, 2)]}, "counts": [1, 2], "none": None, "random": random_state()}
    folder = save(tmp_path / "checkpoint-3", {"generator_a2b": network}, **state)
    assert names(tmp_path) == ["checkpoint-3"]
    assert names(folder) == ["model_index.json", "training_state"]

    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    run, loaded = load_checkpoint(folder, {"generator_a2b": other})
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())
    assert (run["step"], run["positions"]) == (3, {"a": 3, "b": 3})
    assert torch.equal(loaded["pools"]["a"][0], state["pools"]["a"][0])
    assert (loaded["counts"], loaded["none"]) == ([1, 2], None)


def test_random_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]

    network = {"generator_a2b": nn.Linear(2, 2)}
    draw()  # the second half of a pair of normal numbers waits in both generators
    folder = save(tmp_path / "checkpoint-3", network, random=random_state())
    expected = draw() + draw()
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    set_random_state(load_checkpoint(folder, {})[1]["random"])
    assert draw() + draw() == expected


@pytest.mark.parametrize("size", [100, 2_000])
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, size: int) -> None:
    save(tmp_path / "checkpoint-3")
    # Linear(2, 2) needs some 200 bytes, the state 40,000: the first limit stops the weights, the second the state.
    with pytest.raises(OSError, match=r"could not save to .*checkpoint-4") as error, disk_full_after(size):
        save(tmp_path / "checkpoint-4", numbers=torch.rand(10_000))
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["checkpoint-3"]
    assert find_checkpoint("latest", tmp_path) == tmp_path / "checkpoint-3"


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_a_full_disk_in_a_real_run_keeps_the_last_checkpoint(tmp_path: Path, size: int) -> None:
    config = tiny_config(tmp_path, run={"checkpointing_steps": 2, "max_train_steps": 2}, ema={"decay": 0.9})
    Trainer(config).train()
    config.run.max_train_steps = 4
    trainer = Trainer(config, tmp_path / "run" / "checkpoint-2")
    # A generator needs 12,764 bytes, the training state 192,487.
    with pytest.raises(OSError, match=r"could not save to .*checkpoint-4"), disk_full_after(size):
        trainer.train()
    assert [folder.name for folder in checkpoint_folders(tmp_path / "run")] == ["checkpoint-2"]
    assert not list((tmp_path / "run").glob(".*"))
    CycleGANPipeline.from_pretrained(tmp_path / "run")  # that of the first two steps, whole


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.bias, value)
    with pytest.raises(ValueError, match=r"`discriminator_b.bias` holds NaN or infinite"):
        save(tmp_path / "checkpoint-3", {"generator_a2b": nn.Linear(1, 1), "discriminator_b": network})
    assert names(tmp_path) == []


def test_the_newest_complete_checkpoint_is_latest(tmp_path: Path) -> None:
    assert find_checkpoint("latest", tmp_path / "none") is None
    for step in (9, 10, 100):
        save(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-100" / "training_state" / "run.json").unlink()
    (tmp_path / "checkpoint-200").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-300").touch()
    (tmp_path / ".checkpoint-400.0a1b2c3d.tmp" / "training_state").mkdir(parents=True)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    assert find_checkpoint("latest", tmp_path) == tmp_path / "checkpoint-10"
    assert find_checkpoint("checkpoint-9", tmp_path) == tmp_path / "checkpoint-9"
    assert find_checkpoint(str(tmp_path / "checkpoint-9"), tmp_path / "other") == tmp_path / "checkpoint-9"
    with pytest.raises(ValueError, match="checkpoint's folder; checkpoint-200 is none"):
        find_checkpoint("checkpoint-200", tmp_path)


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(None, [2, 9, 10]), (3, [2, 9, 10]), (2, [9, 10]), (1, [10]), (5, [2, 9, 10])],
)
def test_the_oldest_checkpoints_go_first(tmp_path: Path, limit: int | None, kept: list[int]) -> None:
    for step in (10, 9, 2):
        save(tmp_path / f"checkpoint-{step}")
    (tmp_path / "best").mkdir()
    rotate(tmp_path, limit)
    assert names(tmp_path) == sorted(["best", *(f"checkpoint-{step}" for step in kept)])


def test_a_run_keeps_as_many_as_it_is_told(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, run={"checkpointing_steps": 1, "checkpoints_total_limit": 2})
    Trainer(config).train()
    assert [folder.name for folder in checkpoint_folders(tmp_path / "run")] == ["checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize("file", ["generator_a2b.safetensors", "state.pt", "run.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, file: str, damage: str) -> None:
    path = save(tmp_path / "checkpoint-3", numbers=torch.rand(100)) / "training_state" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ValueError, match="checkpoint-3 cannot be resumed from: ") as error:
        load_checkpoint(tmp_path / "checkpoint-3", {"generator_a2b": nn.Linear(2, 2)})
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-3")
    with pytest.raises(ValueError, match="checkpoint-3 cannot be resumed from: "):
        load_checkpoint(folder, {"generator_a2b": nn.Linear(3, 2)})


def test_a_checkpoint_is_a_pipeline_that_says_what_it_is(tmp_path: Path) -> None:
    Trainer(tiny_config(tmp_path, run={"checkpointing_steps": 4}, data={"domain_a": "summer"})).train()
    folder = tmp_path / "run" / "checkpoint-4"
    assert CycleGANPipeline.from_pretrained(folder).config["domain_a"] == "summer"
    run = json.loads((folder / "training_state" / "run.json").read_text())
    assert (run["step"], run["epoch"], run["positions"]) == (4, 2, {"a": 4, "b": 4})
    assert {"threads", "mixed_precision", "num_processes", "device", "torch", "cyclegan_hf", "seconds"} <= set(run)
    assert "domain_a: summer" in (folder / "training_state" / "config.yaml").read_text()
