"""The record of a run: a JSONL file with every scalar, and accelerate's tracker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator


class Record:
    """Writes scalars to `log.jsonl` and to the tracker, pictures to `samples/` and to the tracker.

    Only the main process writes.

    Args:
        accelerator: Holds the trackers.
        output_dir: The run's folder.
        last_step: The step that the run goes on from; lines of later steps, of a stretch that was lost, are dropped.
    """

    def __init__(self, accelerator: Accelerator, output_dir: Path, last_step: int) -> None:
        self.accelerator = accelerator
        self.file = output_dir / "log.jsonl"
        if accelerator.is_main_process and self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines()
            kept = "".join(f"{line}\n" for line in lines if _step_of(line) <= last_step)
            shorter = self.file.with_suffix(".tmp")
            shorter.write_text(kept, encoding="utf-8")
            shorter.replace(self.file)  # whole or not at all: a kill here loses nothing

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record values at a step."""
        if self.accelerator.is_main_process:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step} | values) + "\n")
        self.accelerator.log(values, step=step)

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Show pictures, uint8 of shape `(height, width, 3)`, in the tracker."""
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images(
                    {name: image[None] for name, image in images.items()}, step=step, dataformats="NHWC"
                )


def _step_of(line: str) -> float:
    """The step of a line; a line that a kill cut short belongs to no step."""
    try:
        content: Any = json.loads(line)
        return content["step"]
    except (ValueError, TypeError, KeyError):
        return float("inf")
