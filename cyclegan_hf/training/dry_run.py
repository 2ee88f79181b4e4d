"""Print a run's images, networks, steps and schedule, with a few measured steps, and write nothing."""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import torch

from cyclegan_hf.training.config import TrainConfig, with_validation_split
from cyclegan_hf.training.run_environment import in_words, inventory
from cyclegan_hf.training.schedule import schedule_in_words
from cyclegan_hf.training.stages import in_words_of_stage, stage_configs
from cyclegan_hf.training.trainer import Trainer


MEASURED_STEPS = 3


def dry_run(config: TrainConfig, checkpoint: Path | None = None) -> str:
    """Build a run, make a few of its steps and describe it.

    A recipe with stages is measured by its first stage.

    Args:
        config: The resolved configuration.
        checkpoint: The checkpoint to resume from.

    Returns:
        Lines of text: sources with their counts, parameters, steps, schedule, seconds per step, time and memory.

    Raises:
        ValueError: If the configuration, the data or the checkpoint cannot work.
    """
    config = with_validation_split(config)
    plan = stage_configs(config) if config.stages.epochs else [config]
    trainer = Trainer(plan[0], checkpoint)
    with closing(trainer.streams["a"]), closing(trainer.streams["b"]):
        lines = _description(trainer) + _measurement(trainer)
    lines += [f"then             {in_words_of_stage(stage)}" for stage in plan[1:]]
    return "\n".join([*lines, "Dry run: nothing was written."])


def _description(trainer: Trainer) -> list[str]:
    config, facts = trainer.config, inventory(trainer.device, trainer.raw)
    lines = []
    for key, name in (("a", config.data.domain_a), ("b", config.data.domain_b)):
        counts = [in_words(trainer.sources.length(key))]
        counts += [
            f"{len(images)} for {split}"
            for split in ("validation", "test")
            if (images := getattr(trainer.sources, split)[key])
        ]
        lines.append(f"domain {key}         {name}: {', '.join(counts)} ({_places(getattr(config.data, key))})")
    for name, count in facts["parameters"].items():
        lines.append(f"{name:<16} {type(getattr(trainer.raw, name)).__name__}, {count:,} parameters")
    precision = {"no": "fp32"}.get(trainer.accelerator.mixed_precision, trainer.accelerator.mixed_precision)
    settings = precision + (", compiled" if config.run.compile else "")
    lines += [
        f"steps            {trainer.step} to {trainer.total_steps}, with {trainer.batch_pictures} image(s) of each "
        f"domain; {trainer.steps_per_epoch} steps per epoch",
        f"schedule         {schedule_in_words(config, trainer.total_steps, trainer.steps_per_epoch)}",
        f"hardware         {facts['hardware']}, {trainer.accelerator.num_processes} process(es), {settings}",
    ]
    return lines


def _places(sources: Any) -> str:
    return sources if isinstance(sources, str) else " ".join(map(str, sources))


def _measurement(trainer: Trainer) -> list[str]:
    """Make one step that isn't counted, since it compiles and allocates, and time those after it."""
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    seconds = []
    for number in range(1 + MEASURED_STEPS):
        started = time.perf_counter()
        values = trainer.update(trainer.step + number + 1, 1.0, trainer.next_batch)
        float(values["generator"])  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    each = sum(seconds[1:]) / MEASURED_STEPS
    left = (trainer.total_steps - trainer.step) * each
    return [
        f"time             {each:.3g} s per step (mean of {MEASURED_STEPS}; the first took {seconds[0]:.3g} s): "
        f"{_duration(left)} for {trainer.total_steps - trainer.step} steps, without samples, checkpoints and "
        "evaluations",
        f"memory           {_peak_memory(trainer.device) / 2**30:.2f} GiB at the peak, per process",
    ]


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU where there is one, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    resource = importlib.import_module("resource")  # which Windows lacks
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
