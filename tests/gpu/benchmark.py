"""Measure how fast training steps and translations are on the GPU, in each form, against eager float32.

The forms take turns, so that ratios are of one minute. It stops when its time is over, and every figure is written as
soon as it is there. `table.py` makes tables of the file.

    python tests/gpu/benchmark.py --output figures --minutes 4
    CYCLEGAN_GPU_DEVICE=cpu python tests/gpu/benchmark.py --output figures --minutes 1
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf import CycleGANPipeline, ResnetGenerator  # noqa: E402
from cyclegan_hf.training.builders import build_networks, image_processors  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path  # noqa: E402
from cyclegan_hf.training.data.order import Share  # noqa: E402
from cyclegan_hf.training.data.sources import load_sources  # noqa: E402
from cyclegan_hf.training.data.streams import open_stream  # noqa: E402
from cyclegan_hf.training.step import TrainingStep  # noqa: E402
from tests.benchmarks.bench_train_step import Arithmetic  # noqa: E402
from tests.benchmarks.turns import machine  # noqa: E402
from tests.gpu.support import COMPILES, DEVICE, ON_GPU, Deadline, keep, release, set_tf32, synchronize  # noqa: E402
from tests.testing_utils import make_picture, write_domains  # noqa: E402


PLAIN = "eager float32"
SIDE = 256 if ON_GPU else 32
TRAIN_BATCHES = (16, 1, 64, 4, 32, 2, 8) if ON_GPU else (2,)
COMPILED_BATCHES = (16, 1, 64, 4, 32)
TRANSLATE_BATCHES = (64, 1, 256, 16, 4, 128, 32, 2, 8) if ON_GPU else (2,)
ROUNDS = 3
LONG = 0.25 if ON_GPU else 0.05  # seconds of a turn, at least


def main(
    output: Path,
    minutes: float = 4.0,
    parts: tuple[str, ...] = ("peaks", "training", "translation", "data", "profile"),
) -> None:
    """Measure, part by part, and keep the figures in `output`/figures.json.

    Args:
        output: Folder for the figures.
        minutes: Time for everything; a compilation that has begun is not broken off.
        parts: What is measured.
    """
    deadline = Deadline(minutes)
    results: dict[str, Any] = {
        "machine": machine(),
        "device": str(DEVICE),
        "side": SIDE,
        "compiled": COMPILES,
        "skipped": [],
    }
    shares = {"peaks": 0.1, "training": 0.6, "translation": 0.85, "data": 0.93, "profile": 1.0}
    for part in parts:
        until = Deadline((deadline.left - 60 * minutes * (1 - shares[part])) / 60)
        try:
            PARTS[part](results, until, lambda: keep(output, "benchmark", results))
        except Exception as error:  # the other parts do not depend on it
            results[f"{part}_error"] = f"{type(error).__name__}: {str(error)[:500]}"
            print(f"{part}: {results[f'{part}_error']}", flush=True)
        results["seconds"] = round(60 * minutes - deadline.left, 1)
        keep(output, "benchmark", results)
    print(f"benchmark: {results['seconds']} s; skipped {results['skipped'] or 'nothing'}", flush=True)


def seconds_of(run: Callable[[], Any], at_least: float = LONG) -> float:
    """Seconds of a call, from many in a row without waiting in between."""
    start = time.perf_counter()
    run()
    synchronize()
    calls = max(1, min(50, int(at_least / max(1e-6, time.perf_counter() - start))))
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize()
    return (time.perf_counter() - start) / calls


def peaks(results: dict[str, Any], until: Deadline, save: Callable[[], None]) -> None:
    """Rates of a large matrix product on random numbers, and of a copy within the device's memory."""
    size = 8192 if ON_GPU else 256
    found: dict[str, float] = {}
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
    ):
        set_tf32(tf32)
        left, right = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
        seconds = min(seconds_of(lambda left=left, right=right: left @ right) for _ in range(3))
        found[f"{name}_tflops"] = float(f"{2 * size**3 / seconds / 1e12:.4g}")
    block = torch.empty(2**30 if ON_GPU else 2**20, device=DEVICE)
    other = torch.empty_like(block)
    seconds = min(seconds_of(lambda: other.copy_(block)) for _ in range(3))
    found["copy_gb_per_second"] = round(2 * block.numel() * 4 / seconds / 1e9, 1)
    results["peaks"] = found
    print(f"peaks: {found}", flush=True)
    release()


class Form:
    """One way to compute the same.

    Args:
        dtype: Autocast's, or the weights' of a translation; `None` is float32.
        tf32: Round float32's factors.
        compiled: Arguments of `compile`; `None` is eager.
        innermost: Channels last in memory.
    """

    def __init__(
        self,
        dtype: torch.dtype | None = None,
        tf32: bool = False,
        compiled: dict[str, Any] | None = None,
        innermost: bool = False,
    ) -> None:
        self.dtype, self.tf32, self.compiled = dtype, tf32, compiled
        self.layout = torch.channels_last if innermost else torch.contiguous_format
        self.replays = bool(compiled and compiled.get("mode") == "reduce-overhead")


GRAPHS = {"mode": "reduce-overhead"} if ON_GPU else {}
FORMS = {
    PLAIN: Form(),
    "eager TF32": Form(tf32=True),
    "eager bf16": Form(torch.bfloat16),
    "eager bf16, channels last": Form(torch.bfloat16, innermost=True),
    "compiled bf16, channels last": Form(torch.bfloat16, compiled={}, innermost=True),
    "compiled bf16, contiguous": Form(torch.bfloat16, compiled={}),
    "compiled bf16, channels last, CUDA graphs": Form(torch.bfloat16, compiled=GRAPHS, innermost=True),
}


def tried(name: str, batch: int) -> bool:
    """Return whether a form is worth its compilation at a batch size."""
    form = FORMS[name]
    if form.compiled is None or not ON_GPU:
        return True
    if form.replays:  # where launching kernels takes longer than running them
        return batch in (1, 4)
    return batch in (COMPILED_BATCHES if form.layout is torch.channels_last else (32,))


def config_of(batch: int) -> TrainConfig:
    """The paper's recipe; on the CPU with few channels."""
    config = TrainConfig.from_yaml(recipe_path("summer2winter"))
    config.run.train_batch_size, config.data.image_size = batch, SIDE
    if not ON_GPU:
        config.generator |= {"block_out_channels": [4, 8, 16], "num_res_blocks": 1}
        config.discriminator |= {"block_out_channels": [4, 8, 8, 8]}
    return config


def training_step(form: Form, batch: int) -> Callable[[], None]:
    """The trainer's own step in a form, on images of noise."""
    torch.manual_seed(0)
    config = config_of(batch)
    networks = build_networks(config)
    for network in [*networks.generators, *networks.discriminators]:
        nn.Module.to(network.train(), DEVICE, memory_format=form.layout)
        if form.compiled is not None and COMPILES:
            network.compile(dynamic=False, **form.compiled)
    update = TrainingStep(networks, networks, config, Arithmetic(DEVICE, form.dtype), together=form.dtype is not None)
    images = {
        key: (torch.rand(batch, 3, SIDE, SIDE, device=DEVICE) * 2 - 1).to(memory_format=form.layout) for key in "ab"
    }

    def run() -> None:
        set_tf32(form.tf32)
        if form.replays:
            torch.compiler.cudagraph_mark_step_begin()
        update(1, 1.0, lambda: images)

    return run


def translation(form: Form, batch: int) -> Callable[[], None]:
    """The paper's generator in a form, on images that are on the device."""
    torch.manual_seed(0)
    sizes = {} if ON_GPU else {"block_out_channels": (4, 8, 16), "num_res_blocks": 1}
    generator = ResnetGenerator(**sizes).eval().to(DEVICE, form.dtype or torch.float32)
    nn.Module.to(generator, memory_format=form.layout)
    if form.compiled is not None and COMPILES:
        generator.compile(dynamic=False, **form.compiled)
    images = torch.rand(batch, 3, SIDE, SIDE, device=DEVICE) * 2 - 1
    images = images.to(form.dtype or torch.float32).to(memory_format=form.layout)

    @torch.inference_mode()
    def run() -> None:
        set_tf32(form.tf32)
        if form.replays:
            torch.compiler.cudagraph_mark_step_begin()
        generator(images)

    return run


def in_forms(
    results: dict[str, Any],
    part: str,
    build: Callable[[Form, int], Callable[[], None]],
    batches: tuple[int, ...],
    images_a_call: int,
    until: Deadline,
    save: Callable[[], None],
) -> None:
    """Time all forms at all batch sizes, those of one size in turn, and write a row for each."""
    table = results.setdefault(part, {})
    work = operations(build)
    results[f"{part}_tflop_per_batch_of_1"] = float(f"{work / 1e12:.4g}")
    best = results.get("peaks", {}).get("bf16_tflops")
    slowest = 20.0 if ON_GPU else 1.0  # seconds that a compilation may take, until one was seen
    for batch in batches:
        rows: dict[str, Any] = {}
        table[str(batch)] = rows
        runs: dict[str, Callable[[], None]] = {}
        torch.compiler.reset()  # each size is compiled for itself, without limit
        for name, form in FORMS.items():
            if not tried(name, batch):
                continue
            if until.left < (slowest if form.compiled is not None else 2.0):
                results["skipped"].append(f"{part}, batch {batch}, {name}")
                continue
            release()
            try:
                before = torch.cuda.memory_allocated() if ON_GPU else 0
                start = time.perf_counter()
                run = build(form, batch)
                for _ in range(3 if form.replays else 2):
                    run()
                synchronize()
                first = time.perf_counter() - start
                if ON_GPU:
                    torch.cuda.reset_peak_memory_stats()
                run()
                synchronize()
                rows[name] = {"first_seconds": round(first, 2)}
                if ON_GPU:
                    rows[name]["peak_gib"] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
                if form.compiled is not None:
                    slowest = max(slowest, first)
                runs[name] = run
            except torch.OutOfMemoryError:
                rows[name] = {"error": "out of memory"}
            except Exception as error:  # a form that fails is a finding; the others go on
                rows[name] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        seconds = timed(runs, until)
        for name, values in seconds.items():
            one = statistics.median(values)
            rows[name] |= {"seconds": one, "images_per_second": round(images_a_call * batch / one, 2)}
            rows[name]["tflops"] = float(f"{batch * work / one / 1e12:.4g}")
            if best:
                rows[name]["share_of_bf16_peak"] = float(f"{batch * work / one / 1e12 / best:.3g}")
            if PLAIN in seconds:
                ratios = [slow / fast for slow, fast in zip(seconds[PLAIN], values, strict=True)]
                rows[name]["ratio"] = [round(statistics.median(ratios), 3), min(ratios), max(ratios)]
            print(f"{part}, batch {batch}, {name}: {1000 * one:.2f} ms, {rows[name]}", flush=True)
        runs.clear()
        release()
        save()


def timed(runs: dict[str, Callable[[], None]], until: Deadline) -> dict[str, list[float]]:
    """Seconds a call of each form in each round; one round where little time is left."""
    rounds = ROUNDS if until.left > 3 * LONG * ROUNDS * len(runs) else 1
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(seconds_of(run))
    return seconds


def operations(build: Callable[[Form, int], Callable[[], None]]) -> float:
    """Floating-point operations of a call at batch size 1, in convolutions and matrix products."""
    run = build(FORMS[PLAIN], 1)
    with FlopCounterMode(display=False) as counter:
        run()
    release()
    return counter.get_total_flops()


def training(results: dict[str, Any], until: Deadline, save: Callable[[], None]) -> None:
    """Training steps of the paper's system; a call takes a batch of either domain."""
    in_forms(results, "training", training_step, TRAIN_BATCHES, 2, until, save)


def translations(results: dict[str, Any], until: Deadline, save: Callable[[], None]) -> None:
    """Translations by the paper's generator, and by the pipeline from Pillow images to Pillow images."""
    in_forms(results, "translation", translation, TRANSLATE_BATCHES, 1, until, save)
    batch = 64 if ON_GPU else 2
    sizes = {} if ON_GPU else {"block_out_channels": (4, 8, 16), "num_res_blocks": 1}
    pipe = CycleGANPipeline(ResnetGenerator(**sizes).eval()).to(DEVICE).optimize()
    pipe.set_progress_bar_config(disable=True)
    images = [make_picture("A", seed, SIDE) for seed in range(batch)]
    pipe(images, batch_size=batch)
    seconds = min(seconds_of(lambda: pipe(images, batch_size=batch)) for _ in range(2))
    results["pipeline_images_per_second"] = round(batch / seconds, 1)
    print(f"the pipeline, optimize(), batch {batch}: {batch / seconds:.1f} images/s", flush=True)
    save()


def data(results: dict[str, Any], until: Deadline, save: Callable[[], None]) -> None:
    """Images a second from loaders with some numbers of workers, both domains together."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        side = 286 if ON_GPU else 40
        root = write_domains(Path(folder) / "domains", count=32 if ON_GPU else 4, size=side)
        for workers in (1, 4, 7) if ON_GPU else (0, 1):
            if until.left < 2:
                results["skipped"].append(f"data, {workers} workers")
                continue
            config = config_of(16 if ON_GPU else 2)
            config.data.a, config.data.b = str(root / "trainA"), str(root / "trainB")
            config.data.load_size, config.data.num_workers = (side, side), workers
            sources, batch = load_sources(config.data), config.run.train_batch_size
            streams = [
                open_stream(sources, key, processor, config.data, 0, Share(batch_size=batch))
                for key, processor in zip("ab", image_processors(config), strict=True)
            ]
            count = 0
            for stream in streams:  # the workers start
                next(stream)
            start = time.perf_counter()
            while time.perf_counter() - start < (3 if ON_GPU else 0.5):
                for stream in streams:
                    count += len(next(stream).to(DEVICE, non_blocking=True))
            synchronize()
            rate = count / (time.perf_counter() - start)
            for stream in streams:
                stream.close()
            found[f"{workers} workers a domain"] = round(rate, 1)
            print(f"data, {workers} workers a domain: {rate:.1f} images/s of both domains", flush=True)
    fastest = [
        row.get("images_per_second", 0) for rows in results.get("training", {}).values() for row in rows.values()
    ]
    results["data"] = {"images_per_second": found, "fastest_step_takes": max(fastest, default=None)}
    save()


def profiled(results: dict[str, Any], until: Deadline, save: Callable[[], None]) -> None:
    """Kernels of the slowest tenth of some steps, in the fastest form of a middle batch size."""
    batch = TRAIN_BATCHES[0]
    rows = results.get("training", {}).get(str(batch), {})
    timed_forms = {name: row["seconds"] for name, row in rows.items() if "seconds" in row}
    name = min(timed_forms, key=timed_forms.__getitem__, default="eager bf16, channels last")
    if FORMS[name].compiled is not None and until.left < rows[name]["first_seconds"]:
        name = "eager bf16, channels last"
    run, steps = training_step(FORMS[name], batch), 20 if ON_GPU else 10
    for _ in range(3):
        run()
    synchronize()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if ON_GPU else [])]
    walls = []
    with profile(activities=activities) as profiler:
        for number in range(steps):
            start = time.perf_counter()
            with record_function(f"step {number}"):
                run()
                synchronize()
            walls.append(time.perf_counter() - start)
    slow = sorted(range(steps), key=walls.__getitem__)[-max(1, steps // 10) :]
    spans = {
        event.name: event.time_range
        for event in profiler.events()
        if event.name in {f"step {number}" for number in slow} and "cpu" in str(event.device_type).lower()
    }
    spent: dict[str, float] = {}
    for event in profiler.events():
        on_device = "cuda" in str(event.device_type).lower()
        if on_device != ON_GPU or event.name.startswith("step "):
            continue
        if any(span.start <= event.time_range.start <= span.end for span in spans.values()):
            microseconds = event.time_range.elapsed_us() if ON_GPU else event.self_cpu_time_total
            spent[event.name] = spent.get(event.name, 0.0) + microseconds
    total, wall = sum(spent.values()), 1e6 * sum(walls[number] for number in slow)
    results["profile"] = {
        "form": name,
        "batch": batch,
        "step_seconds": {"median": statistics.median(walls), "slowest_tenth": wall / 1e6 / len(slow)},
        "busy_share": round(total / wall, 3),
        "top": [
            {"name": key[:120], "share": round(value / max(total, 1e-9), 4)}
            for key, value in sorted(spent.items(), key=lambda item: -item[1])[:15]
        ],
    }
    print(f"profile: {results['profile']}", flush=True)
    save()


PARTS = {"peaks": peaks, "training": training, "translation": translations, "data": data, "profile": profiled}


if __name__ == "__main__":
    tyro.cli(main)
