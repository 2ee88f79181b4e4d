"""What a checkpoint costs: seconds against a training step, and MB, part by part.

Steps and checkpoints take turns in one process, so that a busy machine is busy for both: trust the ratio. The pools
are full, as they are from the fiftieth step on. A save ends when the disk has it, not only the system's memory. How
long it takes to load one is told too.

    python tests/benchmarks/bench_checkpoint.py
    python tests/benchmarks/bench_checkpoint.py --recipes summer2winter --rounds 5 --folder /mnt/shared
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.training.checkpointing import load_checkpoint  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path  # noqa: E402
from cyclegan_hf.training.trainer import Trainer  # noqa: E402
from tests.benchmarks.turns import machine_line  # noqa: E402


def main(
    recipes: tuple[str, ...] = ("summer2winter_light", "summer2winter"), rounds: int = 3, folder: Path | None = None
) -> None:
    """Time checkpoints.

    Args:
        recipes: Whose networks and pools; each in its own arithmetic, but not compiled.
        rounds: Steps and checkpoints of each, after one of each to warm up.
        folder: Where to save; unset, where temporary files lie.
    """
    logging.disable()
    print(machine_line())
    for recipe in recipes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            measure(recipe, rounds, Path(place))


def measure(recipe: str, rounds: int, place: Path) -> None:
    """Print what a recipe's checkpoint costs."""
    trainer = Trainer(prepared(recipe, place))
    batch = trainer.next_batch()
    for key, pool in trainer.update.pools.items():
        pool.images = [torch.rand_like(batch[key][0]) for _ in range(pool.size)]
    folder = trainer.output_dir / "checkpoint-0"
    times: dict[str, list[float]] = {"step": [], "save": [], "load": []}
    jobs: dict[str, Callable[[], object]] = {
        "step": lambda: trainer.update(1, 1.0, lambda: batch),
        "save": lambda: trainer.save(folder.name),
        "load": lambda: load_checkpoint(folder, vars(trainer.raw)),
    }
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            if round_ > 0:
                times[name].append(time.perf_counter() - start)
    where = torch.cuda.get_device_name() if trainer.device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{recipe}: {trainer.accelerator.mixed_precision.replace('no', 'fp32')}, {where}")
    for name, values in times.items():
        print(f"  {name}: median {statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})")
    ratios = [save / step for save, step in zip(times["save"], times["step"], strict=True)]
    every = trainer.config.run.checkpointing_steps
    print(
        f"  a checkpoint costs {statistics.median(ratios):.2f} steps ({min(ratios):.2f} to {max(ratios):.2f}); every "
        f"{every} steps, as the recipe has it, {statistics.median(ratios) / every:.2%} of the time"
    )
    sizes = {file.relative_to(folder): file.stat().st_size / 1e6 for file in folder.rglob("*") if file.is_file()}
    kinds: dict[str, Callable[[Path], bool]] = {
        "the pipeline": lambda file: file.parts[0] != "training_state",
        "the networks as they train": lambda file: file.parts[0] == "training_state" and file.suffix == ".safetensors",
        "optimisers, pools and the rest": lambda file: file.name == "state.pt",
    }
    parts = [f"{name} {sum(size for file, size in sizes.items() if fits(file)):.0f}" for name, fits in kinds.items()]
    print(f"  {sum(sizes.values()):.0f} MB: {', '.join(parts)}", flush=True)


def prepared(recipe: str, place: Path) -> TrainConfig:
    """The recipe on four pictures of noise a domain."""
    config = TrainConfig.from_yaml(recipe_path(recipe))
    rng = np.random.default_rng(0)
    for key in ("a", "b"):
        (place / key).mkdir()
        for index in range(4):
            pixels = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / key / f"{index}.png")
        setattr(config.data, key, str(place / key))
    config.data.num_workers = 0
    config.run.output_dir, config.run.compile, config.run.report_to = str(place / "run"), False, "none"
    return config


if __name__ == "__main__":
    tyro.cli(main)
