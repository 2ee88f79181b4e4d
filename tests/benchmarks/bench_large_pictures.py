"""Time and memory of large pictures, against a small one's: in strips both ought to be a matter of pixels alone.

Each row is a process of its own, whose peak of resident memory is its own too.

    python tests/benchmarks/bench_large_pictures.py --sides 1024 2048 4096
    python tests/benchmarks/bench_large_pictures.py --generator paper --sides 1024 2048
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import machine_line  # noqa: E402


SMALL = 512


def main(
    sides: tuple[int, ...] = (1024, 2048),
    generator: Literal["bundled", "paper"] = "bundled",
    whole: bool = False,
    measure: int | None = None,
) -> None:
    """Translate square pictures of noise.

    Args:
        sides: Heights and widths, in pixels.
        generator: The bundled weights, or the paper's ResNet with random ones.
        whole: Also as a whole, as if memory did not matter.
        measure: What each row's process is called with.
    """
    if measure is not None:
        print(json.dumps(row(measure, generator, whole)))
        return
    print(f"{generator}, against {SMALL}x{SMALL} as a whole; {machine_line()}")
    print(f"{'side':>6}  {'':<7}{'seconds':>9}{'peak GiB':>10}{'before':>8}{'time a pixel':>14}")
    small = measured(SMALL, generator, True)
    for side in sides:
        for as_whole in (False, True)[: 1 + whole]:
            found = measured(side, generator, as_whole)
            ratio = found["seconds"] / side**2 / (small["seconds"] / SMALL**2)
            print(
                f"{side:>6}  {'whole' if as_whole else 'strips':<7}{found['seconds']:>9.1f}{found['peak']:>10.2f}"
                f"{found['before']:>8.2f}{ratio:>13.2f}x"
            )


def measured(side: int, generator: str, whole: bool) -> dict[str, float]:
    """One row, by a process of its own."""
    command = [sys.executable, __file__, "--measure", str(side), "--generator", generator]
    ended = subprocess.run([*command, *(["--whole"] if whole else [])], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def row(side: int, generator: str, whole: bool) -> dict[str, float]:
    """Seconds, and the peak of resident memory before and after, in GiB."""
    import resource

    import numpy as np
    from PIL import Image

    from cyclegan_hf import CycleGANPipeline, ResnetGenerator

    pipeline = CycleGANPipeline.from_pretrained() if generator == "bundled" else CycleGANPipeline(ResnetGenerator())
    pipeline.memory_budget = sys.maxsize if whole else None
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    del noise
    pipeline(picture.crop((0, 0, 64, 64)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = []
    for _ in range(5 if side == SMALL else 1):
        started = time.perf_counter()
        pipeline(picture)
        seconds.append(time.perf_counter() - started)
    taken = statistics.median(seconds)
    return {"seconds": taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "before": before}


if __name__ == "__main__":
    tyro.cli(main)
