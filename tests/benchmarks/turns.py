"""Forms of the same work, timed in turn in one process, and the record of it."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import torch


PACKAGES = ("torch", "diffusers", "accelerate", "onnxruntime", "openvino", "nncf")


def hold_memory() -> None:
    """Keep freed memory in the process, where the C library can.

    Eager code frees gigabytes a step, and getting them back costs nothing to a third of a step, by the machine's hour
    and by what else the process holds. That is no part of what is compared.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: never trim
        mallopt(-4, 0)  # M_MMAP_MAX: take large blocks from the heap too


def in_turn(forms: dict[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each form in each round, after rounds that do not count.

    The forms take turns, so that a busy machine is busy for all of them: trust ratios that are taken within a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(warm_up + rounds):
        for name, run in forms.items():
            start = time.perf_counter()
            run()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def faster_than(base: list[float], others: list[float]) -> list[float]:
    """By how much each round of `others` was faster than the same round of `base`."""
    return [slow / fast for slow, fast in zip(base, others, strict=True)]


def put_winograd_off(*networks: torch.nn.Module) -> bool:
    """Let networks convolve directly, in all of their layers, and return whether that changes anything here."""
    from cyclegan_hf.models.kernels.winograd import Conv3x3, prefers_winograd

    found = [layer for network in networks for layer in network.modules() if isinstance(layer, Conv3x3)]
    for layer in found:
        layer.winograd = False
    return bool(found) and prefers_winograd()


def matmul_rate(dtype: torch.dtype, device: torch.device | None = None) -> float:
    """Operations a second in a large matrix product, bf16 or 8-bit integers: the median of several."""
    import torch

    size, times = 4096, []
    left = (torch.rand(size, size, device=device) * 100).to(dtype)
    multiply = torch.matmul if dtype.is_floating_point else torch._int_mm
    for _ in range(7):
        start = time.perf_counter()
        multiply(left, left)
        if left.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    import torch  # here: commands are timed that do without

    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    model = next((line.split(":", 1)[1].strip() for line in flags.splitlines() if line.startswith("model name")), "")
    return {
        "date": date.today().isoformat(),
        "processor": model or platform.machine(),
        "threads": torch.get_num_threads(),
        "amx_bf16": "amx_bf16" in flags,
        "amx_int8": "amx_int8" in flags,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def machine_line() -> str:
    """`machine()` in a line, for the head of a benchmark's output: figures without their machine are worth little."""
    facts = machine()
    names = {"amx_bf16": "AMX bf16", "amx_int8": "AMX int8"}
    special = [name if facts[key] else f"no {name}" for key, name in names.items()]
    parts = [facts["gpu"] or facts["processor"], f"{facts['threads']} threads", *special, f"load {facts['load']}"]
    return ", ".join([*parts, *(f"{name} {number}" for name, number in facts["versions"].items())])


def keep(path: Path | None, results: dict[str, Any]) -> None:
    """Write results with the machine's facts as JSON, where a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n", encoding="utf-8")
