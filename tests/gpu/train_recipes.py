"""Train shipped recipes at their full size in the time that is there, and leave the results as fp16 shards.

Each recipe gets an equal part of the time that is left, in a process of its own. Its schedule is fitted to the steps
that the part allows, by a few steps that are timed first, and it takes no more steps than the recipe has. A run that
the time ends is saved, and the same call goes on with it where `runs` is still there.

    python tests/gpu/train_recipes.py --output figures --runs runs --data photos --minutes 8
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.feature_networks import MissingPackageError, weights_file  # noqa: E402
from cyclegan_hf.training.checkpointing import find_checkpoint  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path  # noqa: E402
from cyclegan_hf.training.interruption import Interrupted  # noqa: E402
from cyclegan_hf.training.trainer import Trainer  # noqa: E402
from tests.benchmarks.runs import full_length, pace, recipe_length, shrink  # noqa: E402
from tests.gpu.shards import pack  # noqa: E402
from tests.gpu.support import DEVICE, ON_GPU, Deadline, keep  # noqa: E402
from tests.testing_utils import write_domains  # noqa: E402


RECIPES = ("few_images", "summer2winter_best", "summer2winter")
SPARE = 12.0 if ON_GPU else 20.0  # seconds for a run's end: a checkpoint, samples, the report
PLAN_NAME = "plan.json"


def main(
    output: Path,
    runs: Path | None = None,
    data: Path | None = None,
    minutes: float = 5.0,
    recipes: tuple[str, ...] = RECIPES,
    batch_size: int | None = None,
    only: str | None = None,
) -> None:
    """Train one recipe after the other.

    Args:
        output: Folder for the figures and the shards.
        runs: Folder of the runs themselves; by default a temporary one that stays.
        data: Folder with `trainA` and `trainB`; by default computed images, for a trial.
        minutes: Time for everything.
        recipes: Which, in this order.
        batch_size: Images of either domain a step; unset, the recipe's.
        only: Train this one alone, in this process.
    """
    runs = runs or Path(tempfile.gettempdir()) / "cyclegan-gpu-runs"
    runs.mkdir(parents=True, exist_ok=True)
    if only is not None:
        train(only, runs / only, data or computed(runs), Deadline(minutes), batch_size)
        return
    deadline, results = Deadline(minutes), dict[str, Any]()
    for number, recipe in enumerate(recipes):
        part = deadline.left / 60 / (len(recipes) - number)
        command = [sys.executable, __file__, "--output", output, "--runs", runs, "--minutes", part, "--only", recipe]
        command += ["--data", data or computed(runs)]
        command += ["--batch-size", batch_size] if batch_size else []
        if part * 60 < SPARE:
            results[recipe] = {"error": "no time is left"}
            continue
        code = ended(list(map(str, command)), 60 * part)
        results[recipe] = facts(runs / recipe) | ({"exit": code} if code else {})
        keep(output, "training_runs", results)
    trained = {recipe: folder for recipe in recipes if (folder := newest(runs / recipe))}
    for recipe in pack(trained, output):
        results[recipe]["weights"] = "left out: the shards are full"
    keep(output, "training_runs", results)
    for recipe, found in results.items():
        print(f"{recipe}: {json.dumps(found)}", flush=True)


def ended(command: list[str], seconds: float) -> int:
    """Run a command that ends itself in time; ask it to save and stop where it does not, and then stop it."""
    process = subprocess.Popen(command)
    for patience, stop in ((seconds, process.terminate), (SPARE, process.kill)):
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            stop()
    return process.wait()


def computed(runs: Path) -> Path:
    """Images of our own making, where none are given."""
    folder = runs / "computed"
    if not folder.exists():
        write_domains(folder, count=8, size=288 if ON_GPU else 64)
    return folder


def newest(folder: Path) -> Path | None:
    """The finished pipeline of a run, or its newest checkpoint."""
    return folder if (folder / "model_index.json").is_file() else find_checkpoint("latest", folder)


def facts(folder: Path) -> dict[str, Any]:
    """Return a run's steps, seconds a step and last losses."""
    plan = folder / PLAN_NAME
    found = json.loads(plan.read_text(encoding="utf-8")) if plan.is_file() else {"error": "did not start"}
    log = folder / "log.jsonl"
    if log.is_file():
        lines = log.read_text(encoding="utf-8").splitlines()
        found["last"] = json.loads(lines[-1]) if lines else None
    found["finished"] = (folder / "model_index.json").is_file()
    return found


def train(recipe: str, folder: Path, data: Path, deadline: Deadline, batch_size: int | None) -> None:
    """Train a recipe until it is done or the time is over; go on where an earlier call stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "model_index.json").is_file():
        return
    if not ON_GPU:
        os.environ["ACCELERATE_USE_CPU"] = "1"
    plan_file = folder / PLAN_NAME
    if not plan_file.is_file():
        config = config_of(recipe, folder, data, batch_size)
        images = max(len(list((data / name).iterdir())) for name in ("trainA", "trainB"))
        seconds, full = pace(config, *((30,) if ON_GPU else (2, 1))), full_length(config, images)
        steps = max(1, min(full, math.floor((deadline.left - 2 * SPARE) / seconds)))
        plan: dict[str, Any] = {"seconds_per_step": round(seconds, 5), "recipe_steps": full, "steps": steps}
        plan |= {"batch_size": config.run.train_batch_size, "device": str(DEVICE)}
        plan_file.write_text(json.dumps(plan) + "\n", encoding="utf-8")
    steps = json.loads(plan_file.read_text(encoding="utf-8"))["steps"]
    config = config_of(recipe, folder, data, batch_size)
    config.run.recipe_length = recipe_length(config)
    config.run.max_train_steps = steps
    started = time.monotonic()
    stop = threading.Timer(max(1.0, deadline.left - SPARE), os.kill, (os.getpid(), signal.SIGTERM))
    stop.daemon = True
    stop.start()
    try:
        Trainer(config, find_checkpoint("latest", folder)).train()
    except Interrupted as stopped:
        print(f"{recipe}: {stopped}", flush=True)
    stop.cancel()
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    plan["seconds"] = round(plan.get("seconds", 0) + time.monotonic() - started, 1)
    plan_file.write_text(json.dumps(plan) + "\n", encoding="utf-8")


def config_of(recipe: str, folder: Path, data: Path, batch_size: int | None) -> TrainConfig:
    """The recipe on the images, with settings of the run only; on the CPU in a tiny form."""
    config = TrainConfig.from_yaml(recipe_path(recipe))
    run = config.run
    run.output_dir, run.report_to, run.validation_steps = str(folder), "none", 0
    run.checkpointing_steps, run.checkpoints_total_limit = (1000 if ON_GPU else 20), 1
    run.train_batch_size = batch_size or run.train_batch_size
    config.data.a, config.data.b = str(data / "trainA"), str(data / "trainB")
    config.data.num_workers = 4 if ON_GPU else 0
    try:
        weights_file("efficientnet-lite2")
    except MissingPackageError:
        config.evaluation.epochs = config.evaluation.steps = 0
        config.evaluation.feature_network = "none"
    if not ON_GPU:
        shrink(config)
        run.max_train_steps = 4
    return config


if __name__ == "__main__":
    tyro.cli(main)
