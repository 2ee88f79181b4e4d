"""Measure how much of a model's speed `cyclegan-hf translate` keeps on a folder, which also reads and writes images.

Three things take turns on the same images: the command, the model alone on arrays that are in memory, and a plain loop
in eager torch that opens, translates and saves one image after the other. The command's start (one image) is timed
too and taken off: of 2,000 images it is a part of a second in minutes.

    python tests/benchmarks/bench_bulk.py
    python tests/benchmarks/bench_bulk.py --images 200 --model resnet9 --backend torch --rounds 1
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from PIL import Image


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.pipelines.folders import PRETRAINED_FOLDER  # noqa: E402

from cyclegan_hf import CycleGANPipeline, ResnetGenerator  # noqa: E402
from tests.benchmarks.turns import faster_than, keep, machine_line, spread  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


def main(
    images: int = 2000,
    side: int = 256,
    model: str = "bundled",
    backend: Literal["onnx", "torch"] = "onnx",
    batch_size: int = 8,
    rounds: int = 3,
    plain_images: int = 100,
    json: Path | None = None,
) -> None:
    """Time bulk translation.

    Args:
        images: Images in the folder, JPEG files.
        side: Height and width.
        model: A pipeline's folder, `bundled`, or `resnet9`: the paper's generator with random weights.
        backend: What computes in the command and in the model alone.
        batch_size: `--batch-size` of both.
        rounds: Counted turns.
        plain_images: Images of the plain loop, which is the slowest.
        json: Where to keep the figures.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if model == "resnet9":
            CycleGANPipeline(ResnetGenerator()).save_pretrained(folder / "model")
        chosen = {"resnet9": folder / "model", "bundled": PRETRAINED_FOLDER}.get(model, Path(model))
        (folder / "inputs").mkdir()
        for number in range(images):
            make_picture("A", number % 50, side).save(folder / "inputs" / f"{number:05d}.jpg", quality=95)
        (folder / "one").mkdir()
        shutil.copy(folder / "inputs" / "00000.jpg", folder / "one")
        found = measure(folder, chosen, backend, batch_size, rounds, images, min(plain_images, images))
    print(f"{images} images of {side}², {model}, {backend}, batch {batch_size}; {machine_line()}")
    rates: dict[str, list[float]] = {name: found[name] for name in ("command", "model alone", "plain loop")}
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.1f} images/s ({min(values):.1f} to {max(values):.1f})")
    print(f"the command's start: {statistics.median(found['start']):.2f} s")
    shares = {other: spread(faster_than(rates["command"], rates[other])) for other in ("model alone", "plain loop")}
    for other, share in shares.items():
        print(f"command against {other}: {share['median']:.2f}x ({share['least']:.2f} to {share['most']:.2f})")
    facts = {"images": images, "side": side, "model": model, "backend": backend, "batch_size": batch_size}
    forms = {name: spread(values) for name, values in rates.items()}
    keep(
        json, facts | {"images_per_second": forms, "start_seconds": spread(found["start"]), "command_against": shares}
    )


def measure(
    folder: Path, model: Path, backend: str, batch_size: int, rounds: int, images: int, plain_images: int
) -> dict[str, list[float]]:
    """Images a second of each way in each round, and the command's seconds of one image."""
    command = [sys.executable, "-m", "cyclegan_hf.cli", "translate", "--model", str(model), "--backend", backend]
    command += ["--direction", "a2b", "--batch-size", str(batch_size), "--existing", "overwrite"]

    def translated(inputs: str) -> float:
        words = [*command, str(folder / inputs), "--output", str(folder / "out")]
        return seconds(lambda: subprocess.run(words, cwd=ROOT, check=True, capture_output=True))

    alone, loop = model_alone(model, backend, folder / "inputs", batch_size), plain_loop(model, folder, plain_images)
    found: dict[str, list[float]] = {name: [] for name in ("start", "command", "model alone", "plain loop")}
    for number in range(rounds + 1):
        start, whole = translated("one"), translated("inputs")
        times = {"model alone": seconds(alone), "plain loop": seconds(loop)}
        if number > 0:  # the first round warms up
            found["start"].append(start)
            found["command"].append((images - 1) / (whole - start))
            found["model alone"].append(images / times["model alone"])
            found["plain loop"].append(plain_images / times["plain loop"])
    return found


def model_alone(model: Path, backend: str, inputs: Path, batch_size: int) -> Callable[[], None]:
    """A function that translates all images, which are in memory as arrays in [-1, 1]."""
    arrays = [np.asarray(Image.open(file), dtype=np.float32).transpose(2, 0, 1) for file in sorted(inputs.iterdir())]
    batches = [
        np.stack(arrays[first : first + batch_size]) / np.float32(127.5) - 1
        for first in range(0, len(arrays), batch_size)
    ]
    if backend == "onnx":
        network = CycleGANPipeline.from_pretrained(model, backend="onnx")._networks["generator_a2b"]

        def run() -> None:
            for batch in batches:
                network(batch)

        return run
    generator = CycleGANPipeline.from_pretrained(model).generator_a2b

    @torch.inference_mode()
    def run_torch() -> None:
        for batch in batches:
            generator(torch.from_numpy(batch))

    return run_torch


def plain_loop(model: Path, folder: Path, images: int) -> Callable[[], None]:
    """A function that opens, translates and saves one image after the other, as a script would."""
    generator = CycleGANPipeline.from_pretrained(model).generator_a2b
    output = folder / "plain"
    output.mkdir()

    @torch.inference_mode()
    def run() -> None:
        for file in sorted((folder / "inputs").iterdir())[:images]:
            pixels = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 127.5 - 1
            sample = generator(torch.from_numpy(pixels).permute(2, 0, 1)[None]).sample[0]
            result = ((sample.permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
            Image.fromarray(result).save(output / file.name, quality=95)

    return run


def seconds(run: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
