"""The record of a run: JSONL files with every scalar, step by step and epoch by epoch, and accelerate's tracker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator


EPOCHS_NAME = "epochs.jsonl"


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
        self.file = output_dir / "log.jsonl"
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

    def _append(self, file: Path, content: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(content) + "\n")


def read_epochs(output_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's `epochs.jsonl`; none where it has not ended an epoch."""
    if not (output_dir / EPOCHS_NAME).exists():
        return []
    return [json.loads(line) for line in (output_dir / EPOCHS_NAME).read_text(encoding="utf-8").splitlines()]


def _drop_later(file: Path, last_step: int) -> None:
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines()
        kept = "".join(f"{line}\n" for line in lines if _step_of(line) <= last_step)
        shorter = file.with_suffix(".tmp")
        shorter.write_text(kept, encoding="utf-8")
        shorter.replace(file)  # whole or not at all: a kill here loses nothing


def _step_of(line: str) -> float:
    """The step of a line; a line that a kill cut short belongs to no step."""
    try:
        content: Any = json.loads(line)
        return content["step"]
    except (ValueError, TypeError, KeyError):
        return float("inf")
