"""The device of these tests and benchmarks, and the one file of figures."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch


DEVICE = torch.device(os.environ.get("CYCLEGAN_GPU_DEVICE") or "cuda")
"""`CYCLEGAN_GPU_DEVICE=cpu` runs everything on the CPU, with tiny networks and images: to see that it works."""
ON_GPU = DEVICE.type == "cuda"
COMPILES = ON_GPU or os.environ.get("CYCLEGAN_GPU_COMPILE") == "1"
"""On the CPU, compiling takes minutes, and the tests that are not of GPUs compile there."""
FIGURES_NAME = "figures.json"


def synchronize() -> None:
    """Wait until the device has done all that it was given."""
    if ON_GPU:
        torch.cuda.synchronize()


def release() -> None:
    """Give memory that is cached and not used back to the device."""
    if ON_GPU:
        torch.cuda.empty_cache()


def set_tf32(on: bool) -> None:
    """Let float32 convolutions and matrix products round their factors to 10 bits of mantissa, or not."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def relative_error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the Euclidean distance of two tensors as a share of `expected`'s length."""
    result, expected = result.detach().double().cpu(), expected.detach().double().cpu()
    return ((result - expected).norm() / expected.norm().clamp(min=1e-30)).item()


class Deadline:
    """Time that is left.

    Args:
        minutes: Time from now on.
    """

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds left; negative when the time is over."""
        return self._end - time.monotonic()


def keep(folder: Path, part: str, results: dict[str, Any] | list[Any]) -> None:
    """Write one part's results into the file of figures, and leave the other parts as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FIGURES_NAME
    figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(figures | {part: results}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)  # a kill leaves the figures before
