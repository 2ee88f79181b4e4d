"""How long a training step takes, tuned against plain.

Plain is the official code's form: fp32, eager, each pass on its own, contiguous memory. Tuned is what
`--mixed-precision bf16 --compile` does: bf16 autocast, compiled networks, channels innermost, identity and translation
in one batch, real and fake in one batch. The two take turns in one process, so that a busy machine is busy for both:
trust the ratio. Where the processor takes Winograd's algorithm, a third form is the tuned one without it.

What bounds the tuned step is told last: the arithmetic of its convolutions, how long they take forward and backward,
and how long the same number of operations takes where the machine is at its best, in a large matrix product.

    python tests/benchmarks/bench_train_step.py
    python tests/benchmarks/bench_train_step.py --recipe summer2winter_light --rounds 10
    python tests/benchmarks/bench_train_step.py --recipe mnist2svhn --batch-size 64
"""

import contextlib
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.training.builders import build_networks, mixes_batch  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path  # noqa: E402
from cyclegan_hf.training.objectives import Networks  # noqa: E402
from cyclegan_hf.training.step import TrainingStep  # noqa: E402
from tests.benchmarks.turns import (  # noqa: E402
    faster_than,
    hold_memory,
    in_turn,
    keep,
    machine_line,
    matmul_rate,
    put_winograd_off,
    spread,
)


def main(
    recipe: str = "summer2winter",
    rounds: int = 5,
    channels_last: bool = True,
    batch_size: int | None = None,
    json: Path | None = None,
) -> None:
    """Time training steps on random pictures.

    Args:
        recipe: Networks, losses, batch and picture size.
        rounds: Counted steps of each form; two more of each warm up.
        channels_last: Memory layout of the tuned form; on processors the trainer always takes it for this form.
        batch_size: Pictures of each domain a step; unset, the recipe's.
        json: Where to keep the figures.
    """
    hold_memory()
    config = TrainConfig.from_yaml(recipe_path(recipe))
    config.run.train_batch_size = batch_size or config.run.train_batch_size
    torch.manual_seed(0)
    networks = build_networks(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = step(config, copy.deepcopy(networks), device, tuned=False, layout=torch.contiguous_format)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    forms = {"plain": plain}
    direct = copy.deepcopy(networks)
    if put_winograd_off(*direct.generators):
        forms[DIRECT] = step(config, direct, device, tuned=True, layout=layout)
    tuned = step(config, networks, device, tuned=True, layout=layout)
    start = time.perf_counter()
    tuned()
    compiling = time.perf_counter() - start
    times = in_turn(forms | {"tuned": tuned}, rounds)
    ratios = {name: faster_than(times["plain"], values) for name, values in times.items() if name != "plain"}
    sizes = " and ".join(f"{size}²" for size in dict.fromkeys(config.data.image_sizes))
    print(f"{recipe}: {sizes}, batch {config.run.train_batch_size}; {machine_line()}")
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})")
    pairs = 60 * config.run.train_batch_size / statistics.median(times["tuned"])
    print(f"tuned: {pairs:,.0f} pairs a minute")
    for name, faster in ratios.items():
        print(f"{name}, ratio: median {statistics.median(faster):.2f}x ({min(faster):.2f} to {max(faster):.2f})")
    print(f"first tuned step, with compilation: {compiling:.0f} s")
    bounds = print_bounds(plain, tuned, config.run.train_batch_size, device)
    found = {name: {"seconds": spread(values)} for name, values in times.items()}
    for name, faster in ratios.items():
        found[name]["faster"] = spread(faster)
    facts = {"recipe": recipe, "batch_size": config.run.train_batch_size, "channels_last": channels_last}
    keep(json, facts | {"forms": found, "pairs_a_minute": pairs, "compiling_seconds": compiling, "bounds": bounds})


def print_bounds(
    plain: Callable[[], None], tuned: Callable[[], None], batch_size: int, device: torch.device
) -> dict[str, Any]:
    """Print and return where the tuned step's time goes, and what bounds a step of its arithmetic here."""
    with FlopCounterMode(display=False) as counter:  # of the plain form: compiled code hides its operators
        plain()
    counts = counter.get_flop_counts()["Global"]
    work = {name: sum(flop for key, flop in counts.items() if matches(str(key))) for name, matches in PASSES.items()}
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        start = time.perf_counter()
        tuned()
        whole = time.perf_counter() - start
    spent = dict.fromkeys(PASSES, 0.0)
    for event in profiler.key_averages():
        microseconds = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        if "winograd" in event.key:  # its products and sums are operators of their own
            microseconds = event.cpu_time_total
        for name, matches in PASSES.items():
            if matches(event.key):
                spent[name] += microseconds / 1e6
    best = matmul_rate(torch.bfloat16, device)
    found: dict[str, Any] = {"step_seconds": whole, "matmul_operations_a_second": best}
    for name, seconds in spent.items():
        found[name] = {"seconds": seconds, "operations": work[name]}
        if seconds:  # a GPU's kernels have names of their own
            rate = f"{work[name] / seconds / 1e12:.2f} TFLOP/s"
            print(f"convolutions, {name}: {seconds:.3f} s of {whole:.3f} s, {work[name] / 1e12:.2f} TFLOP at {rate}")
    least = sum(work.values()) / best
    print(
        f"a matrix product of 4096² in bf16: {best / 1e12:.2f} TFLOP/s; at that rate the convolutions alone take "
        f"{least:.2f} s with all their multiplications: {60 * batch_size / least:,.0f} pairs a minute"
    )
    return found


DIRECT = "tuned, without Winograd"
PASSES: dict[str, Callable[[str], bool]] = {
    "forward": lambda name: ("convolution" in name or "::winograd" in name) and "backward" not in name,
    "backward": lambda name: (
        ("convolution_backward" in name or "::winograd_backward" in name) and not name.startswith("autograd")
    ),
}


def step(
    config: TrainConfig, networks: Networks, device: torch.device, *, tuned: bool, layout: torch.memory_format
) -> Callable[[], None]:
    """A function that makes one whole training step: the trainer's own, on pictures of noise."""
    for network in [*networks.generators, *networks.discriminators]:
        nn.Module.to(network.train(), device, memory_format=layout)
        if tuned:
            network.compile(dynamic=False)  # as the trainer
    together = tuned and not mixes_batch(networks)
    update = TrainingStep(networks, networks, config, Arithmetic(device, torch.bfloat16 if tuned else None), together)
    batch_size, sizes = config.run.train_batch_size, config.data.image_sizes
    channels = [network.config.in_channels for network in networks.generators]
    batch = {
        key: (torch.rand(batch_size, count, size, size, device=device) * 2 - 1).to(memory_format=layout)
        for key, count, size in zip("ab", channels, sizes, strict=True)
    }

    def run() -> None:
        update(1, 1.0, lambda: batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


class Arithmetic:
    """What a training step asks of accelerate, for one process: two precisions cannot share its global state."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self.device = device
        self.dtype = dtype
        self.process_index = 0

    def prepare_optimizer(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimiser as it is."""
        return optimizer

    def autocast(self) -> contextlib.AbstractContextManager:
        """Autocast in the reduced precision, where there is one."""
        return contextlib.nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Backward without scaling: bf16 needs none."""
        loss.backward()

    def clip_grad_norm_(self, parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
        """Clip, as accelerate does on one process."""
        return nn.utils.clip_grad_norm_(parameters, limit)


if __name__ == "__main__":
    tyro.cli(main)
