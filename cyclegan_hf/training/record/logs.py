"""The record of a run: JSONL files with every scalar, step by step and epoch by epoch, and accelerate's tracker."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.errors import one_line
from cyclegan_hf.training.config_groups import RunConfig


LOG_NAME = "log.jsonl"
EPOCHS_NAME = "epochs.jsonl"
PROJECT = "cyclegan_hf"
"""Of trackers that keep the runs of many projects together."""


def check_tracker(run: RunConfig) -> None:
    """Refuse a tracker that is not installed: accelerate would leave it out without a word.

    Raises:
        ValueError: With the package to install.
    """
    if run.report_to != "none" and importlib.util.find_spec(run.report_to) is None:
        raise ValueError(
            f"`--report-to {run.report_to}` needs the package {run.report_to}: pip install {run.report_to}. "
            "`--report-to none` does without a tracker."
        )


def start_trackers(accelerator: Accelerator, run: RunConfig, step: int) -> None:
    """Start the tracker that `report_to` names.

    Args:
        accelerator: Was made with `log_with`.
        run: The run's settings.
        step: The step that the run goes on from.

    Raises:
        ValueError: If it cannot start: no account, no connection.
    """
    name = Path(run.output_dir).resolve().name
    settings: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": step + 1},  # what was written after the checkpoint is not shown
        "wandb": {"name": name, "group": name, "dir": run.output_dir},
        "trackio": {"name": name, "resume": "allow"},
    }
    if run.report_to == "none":
        return
    project = "logs" if run.report_to == "tensorboard" else PROJECT  # TensorBoard's is a folder of the run's
    try:
        accelerator.init_trackers(project, init_kwargs={run.report_to: settings[run.report_to]})
    except Exception as error:  # each has its own kinds of errors
        raise ValueError(f"`--report-to {run.report_to}` cannot start: {one_line(error, 300)}") from error


def places(run: RunConfig) -> str:
    """Say where a run's samples, losses and report are."""
    folder = Path(run.output_dir)
    lines = [f"samples in {folder / 'samples'}"] if run.validation_steps > 0 else []
    lines += [f"losses in {folder / LOG_NAME}"]
    if run.report_to == "tensorboard":
        lines += [f"curves by `tensorboard --logdir {folder}`"]
    elif run.report_to != "none":
        lines += [f"curves in the {run.report_to} project {PROJECT}"]
    text = ", ".join([*lines, f"the report at the end in {folder / 'report.md'}"])
    return f"{text[0].upper()}{text[1:]}."


def in_console(scalars: dict[str, float]) -> dict[str, str]:
    """Choose what the progress bar shows: both sides' losses, and each term of the generators'.

    Args:
        scalars: A step's losses, terms and measures by name; terms of both directions are added up.
    """
    sums: dict[str, float] = {"generator": scalars["generator"], "discriminator": 0.0}
    for name, value in scalars.items():
        base = re.sub(r"_(a2b|b2a|a|b)$", "", name)
        if base == "discriminator" or (base != name and not base.startswith(_SHOWN_ELSEWHERE)):
            sums[base] = sums.get(base, 0.0) + value
    return {name: f"{value:.3f}" for name, value in sums.items()}


_SHOWN_ELSEWHERE = ("accuracy", "real", "fake", "past", "penalty", "source", "perplexity", "codes")
"""Parts of the discriminators' loss, and measures: in the log."""


class Record:
    """Writes scalars to `log.jsonl` and to the tracker, epochs to `epochs.jsonl` and pictures to the tracker.

    Only the main process writes.

    Args:
        accelerator: Holds the trackers.
        output_dir: The run's folder.
        last_step: The step that the run goes on from; lines of later steps, of a stretch that was lost, are dropped.
    """

    def __init__(self, accelerator: Accelerator, output_dir: Path, last_step: int) -> None:
        self.accelerator = accelerator
        self.file = output_dir / LOG_NAME
        self.epochs = output_dir / EPOCHS_NAME
        if accelerator.is_main_process:
            for file in (self.file, self.epochs):
                _drop_later(file, last_step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record values at a step."""
        self._append(self.file, {"step": step} | values)
        self.accelerator.log(values, step=step)

    def epoch(self, step: int, epoch: int, groups: dict[str, dict[str, Any]]) -> None:
        """Record what an epoch came to, in named groups; numbers are `epoch_<group>/<name>` in the tracker."""
        self._append(self.epochs, {"step": step, "epoch": epoch} | groups)
        for group, values in groups.items():
            numbers = {f"epoch_{group}/{name}": value for name, value in values.items() if isinstance(value, float)}
            self.accelerator.log(numbers, step=step)

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Show pictures, uint8 of shape `(height, width, 3)`, in the tracker."""
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images(
                    {name: image[None] for name, image in images.items()}, step=step, dataformats="NHWC"
                )
            elif tracker.name == "wandb":
                tracker.log_images({name: [image] for name, image in images.items()}, step=step)
            elif tracker.name == "trackio":  # accelerate 1.15 has no `log_images` for it
                from trackio import Image

                tracker.log({name: Image(image) for name, image in images.items()}, step=step)

    def _append(self, file: Path, content: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(content) + "\n")


def read_epochs(output_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's `epochs.jsonl`; none before the end of the first epoch."""
    if not (output_dir / EPOCHS_NAME).exists():
        return []
    lines = (output_dir / EPOCHS_NAME).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if _step_of(line) < float("inf")]  # not one that a kill cut short


def _drop_later(file: Path, last_step: int) -> None:
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines()
        kept = "".join(f"{line}\n" for line in lines if _step_of(line) <= last_step)
        with whole_file(file) as shorter:
            shorter.write_text(kept, encoding="utf-8")


def _step_of(line: str) -> float:
    """Return the step of a line; a truncated line belongs to no step."""
    try:
        content: Any = json.loads(line)
        return content["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return float("inf")
