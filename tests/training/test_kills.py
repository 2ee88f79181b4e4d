"""A run is killed at random moments, while it saves too, and goes on: it ends as one that was left alone.

Whatever moment a kill finds, the outcome is the same: a run that has ended waits for its kill, and is asked to go on
like any other.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_hf.training.config import recipe_path
from tests.testing_utils import write_domains
from tests.training.runs import Run
from tests.training.test_recipe_runs import STAGED, needs, thinned
from tests.training.test_streaming_runs import write_sets
from tests.training.tiny import identical, write_recipe


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start runs of the recipe in `tmp_path/recipe.yaml`; what is left of them at the end of the test is killed."""
    write_domains(tmp_path / "domains", count=6, size=40)
    runs: list[Run] = []

    def one(output: str, *more: object, **options: Any) -> Run:
        words = ["--recipe", tmp_path / "recipe.yaml", "--output-dir", tmp_path / output]
        words += ["--data.a", tmp_path / "domains" / "trainA", "--data.b", tmp_path / "domains" / "trainB"]
        words += [*more, "--resume-from-checkpoint", "auto"]
        runs.append(Run(words, tmp_path / f"log-{len(runs)}", **options))
        return runs[-1]

    yield one
    for run in runs:
        run.kill()


def kill_again_and_again(
    start: Start, folder: Path, kills: int, steps: int, seed: int, *words: object, **options: Any
) -> None:
    """Start a run, kill it and start it again, one kill in each of equal stretches; the last run may end.

    Args:
        start: Starts a run.
        folder: Its output folder.
        kills: How often it is killed; every third time while it writes a checkpoint.
        steps: How many it makes, all stages together.
        seed: Of the moments.
        *words: Of the runs' command lines.
        **options: Of the runs.
    """
    moments = random.Random(seed)
    for number in range(kills):
        run = start(folder.name, *words, endless=True, **options)
        target = moments.uniform(number, number + 1) / kills * steps
        run.wait_for(lambda target=target: steps_made(folder) >= target)
        if number % 3 == 1:
            run.wait_for(lambda: saving(folder) or (folder / "model_index.json").exists())
        time.sleep(moments.uniform(0, 0.02 if number % 3 == 1 else 0.1))  # seconds: about a step and a save
        run.kill()
    start(folder.name, *words, **options).ends_well()


def steps_made(folder: Path) -> int:
    logs = [folder / "log.jsonl", *(folder / f"stage-{number}" / "log.jsonl" for number in (1, 2, 3))]
    return sum(file.read_bytes().count(b"\n") for file in logs if file.exists())


def saving(folder: Path) -> bool:
    """Whether something half-written is there."""
    return any(any(folder.glob(pattern)) for pattern in (".*.tmp", "stage-*/.*.tmp"))


def assert_same_end(first: Path, second: Path) -> None:
    """Two runs have left the same files, the same to the last bit but for what tells the time."""
    files = [sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file()) for one in (first, second)]
    assert files[0] == files[1]
    compared = 0
    for file in files[0]:
        if file.name == "state.pt":
            states = [torch.load(folder / file, weights_only=True) for folder in (first, second)]
            assert states[0].keys() == states[1].keys()
            for part in states[0]:
                assert identical(states[0][part], states[1][part]), f"{file}: {part}"
        elif file.name not in ("run.json", "training.json", "README.md", "config.yaml", "recipe.yaml", "stages.yaml"):
            assert (first / file).read_bytes() == (second / file).read_bytes(), file
            compared += file.suffix == ".safetensors"
    assert compared >= 2 + 2 + 4  # the finished pipeline, and a checkpoint's and its networks


PLAIN: dict[str, Any] = {"run": {"max_train_steps": 12, "checkpointing_steps": 2, "image_pool_size": 4}}
STATEFUL: dict[str, Any] = {  # a plateau that the evaluation feeds, weights that adapt, statistics, dropout, averages
    "run": {"max_train_steps": 24, "checkpointing_steps": 2, "image_pool_size": 4},
    "data": {"num_workers": 1, "test_share": 0.4},
    "generator": {"dropout_prob": 0.5, "norm_type": "batch"},
    "discriminator": {"norm_type": "batch"},
    "losses": {"adaptive": "dwa", "identity_warmup_steps": 9},
    "ema": {"decay": 0.9},
    "lr_scheduler": {"type": "plateau", "patience": 0, "gamma": 0.5},
    "evaluation": {"epochs": 1},
}


def test_a_run_that_is_killed_three_times_ends_as_an_unbroken_one(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    start("unbroken").ends_well()
    kill_again_and_again(start, tmp_path / "killed", kills=3, steps=12, seed=0)
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "num_processes", "kills"), [(PLAIN, 1, 20), (STATEFUL, 1, 20), (STATEFUL, 2, 6)])
def test_a_run_that_is_killed_many_times_ends_as_an_unbroken_one(
    tmp_path: Path, start: Start, recipe: dict[str, Any], num_processes: int, kills: int
) -> None:
    longer = recipe | {"run": recipe["run"] | {"max_train_steps": 40}}
    write_recipe(tmp_path / "recipe.yaml", **longer)
    start("unbroken", num_processes=num_processes).ends_well()
    kill_again_and_again(start, tmp_path / "killed", kills=kills, steps=40, seed=1, num_processes=num_processes)
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "kills"), [(1, 10), (2, 3)])
def test_a_streamed_run_survives_kills(tmp_path: Path, start: Start, num_processes: int, kills: int) -> None:
    """Parquet of three shards and webdataset of two, in the middle of a buffer."""
    write_sets(tmp_path / "sets")
    streamed: dict[str, Any] = {
        "run": {"max_train_steps": 30, "checkpointing_steps": 2, "image_pool_size": 4, "train_batch_size": 2},
        "data": {"streaming": True, "shuffle_buffer": 4, "stream_samples": 3, "num_workers": 1},
        "lr_scheduler": {"unit": "step", "constant": 15, "decay": 15},
    }
    write_recipe(tmp_path / "recipe.yaml", **streamed)
    sets = ["--data.a", tmp_path / "sets" / "a" / "*.parquet", "--data.b", tmp_path / "sets" / "b" / "*.tar"]
    start("unbroken", *sets, num_processes=num_processes).ends_well()
    folder = tmp_path / "killed"
    kill_again_and_again(start, folder, kills, 30, 3, *sets, num_processes=num_processes)
    assert_same_end(tmp_path / "unbroken", folder)


EVERY = sorted(file.stem for file in recipe_path("summer2winter").parent.glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_processes", "kills"),
    [*((name, 1, 6) for name in EVERY), *((name, 2, 1) for name in ("summer2winter_v1", *STAGED))],
)
def test_every_recipe_survives_kills(tmp_path: Path, start: Start, name: str, num_processes: int, kills: int) -> None:
    needs(name)
    config = thinned(name, tmp_path / "other")
    config.run.max_train_steps, config.run.checkpointing_steps, config.run.train_batch_size = 8, 2, 2
    config.run.compile, config.run.image_pool_size = False, min(config.run.image_pool_size, 4)
    config.data.a = config.data.b = None
    stages = len(config.stages.epochs)
    config.stages.evaluation_epochs = [1] * stages  # the best is replaced again and again
    (tmp_path / "recipe.yaml").write_text(config.to_yaml(), encoding="utf-8")
    start("unbroken", num_processes=num_processes).ends_well()
    steps = 8 * max(1, stages)
    kill_again_and_again(start, tmp_path / "killed", kills, steps, seed=2, num_processes=num_processes)
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")
