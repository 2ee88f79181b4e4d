"""Capabilities of a device: precision, memory, compilation."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from pathlib import Path

import torch


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the reduced precision that a device computes in, `None` if there is nothing to gain.

    bfloat16 has float32's range: sums of squares in instance norm cannot overflow as in float16.
    """
    match device.type:
        case "cuda" if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        case "cpu" if torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
            return torch.bfloat16
    return None


def available_memory() -> int | None:
    """Return the bytes of memory that can still be taken without swapping, `None` where the system does not say."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" is none
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        found.append(max(0, limit - int((group / "memory.current").read_text(encoding="ascii"))))
    return min(found, default=None)


def can_compile(device: torch.device) -> bool:
    """Return whether `torch.compile` has what it needs on a device: Triton, or a C++ compiler."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))
