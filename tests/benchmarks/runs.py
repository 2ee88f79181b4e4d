"""Trainings as benchmarks run them: how fast a recipe's steps are here, and how many of them it has."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.trainer import Trainer


def full_length(config: TrainConfig, images: int) -> int:
    """Return the steps of a recipe.

    Args:
        config: The recipe.
        images: Training images of the longer domain.
    """
    if config.run.max_train_steps is not None:
        return config.run.max_train_steps
    return config.run.num_train_epochs * math.ceil(images / config.run.train_batch_size)


def recipe_length(config: TrainConfig) -> tuple[str, int]:
    """Return what the recipe's schedule was written for, as `run.recipe_length` holds it."""
    run = config.run
    return ("epoch", run.num_train_epochs) if run.max_train_steps is None else ("step", run.max_train_steps)


def shrink(config: TrainConfig, size: int = 32) -> None:
    """Make a recipe tiny, in place: to try a benchmark out."""
    config.run.num_threads, config.run.fast = 1, False
    config.data.image_size, config.data.load_size, config.data.num_workers = size, (size + 4, size + 4), 0
    for block in (config.generator, config.discriminator):
        if "block_out_channels" in block:
            block["block_out_channels"] = [max(4, width // 16) for width in block["block_out_channels"]]
        if "num_res_blocks" in block:
            block["num_res_blocks"] = 1


def pace(config: TrainConfig, steps: int = 10, warm_up: int = 3) -> float:
    """Time training steps of a run that is thrown away.

    Args:
        config: Its configuration.
        steps: Timed steps.
        warm_up: Steps before them, which compile.

    Returns:
        Seconds of a whole step, with loading and averaging.
    """
    with tempfile.TemporaryDirectory() as place:
        copied = Path(place) / "recipe.yaml"
        copied.write_text(config.to_yaml(), encoding="utf-8")
        trial = TrainConfig.from_yaml(copied)
        trial.run.output_dir = str(Path(place) / "run")
        trainer = Trainer(trial)
        for number in range(1, warm_up + steps + 1):
            if number == warm_up + 1:
                _synchronize(trainer)
                start = time.perf_counter()
            values = trainer.update(number, 0.0, trainer.next_batch)
            for average, generator in zip(trainer.ema, trainer.raw.generators, strict=False):
                average.update_parameters(generator)
            trainer.watch.add(values)
        _synchronize(trainer)
        seconds = (time.perf_counter() - start) / steps
        for stream in trainer.streams.values():
            stream.close()
    forget_accelerator()
    return seconds


def forget_accelerator() -> None:
    """Let the next trainer of this process choose its own precision: accelerate keeps the first one's."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def _synchronize(trainer: Trainer) -> None:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
