"""How long the commands take from a cold start, against what importing alone costs.

Each row is a fresh process (of files that the system has cached), and the rows take turns, so that a busy machine is
busy for all of them: trust the ratios, which are taken within each round.

    python tests/benchmarks/bench_cli.py --rounds 7
    python tests/benchmarks/bench_cli.py --model runs/s2w --side 512
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


def main(rounds: int = 5, model: str | None = None, side: int = 256) -> None:
    """Time cold commands.

    Args:
        rounds: Processes of each kind; one more of each warms the caches and is not counted.
        model: Folder of a pipeline; by default the bundled weights.
        side: Height and width of the picture to translate.
    """
    python = [sys.executable]
    cyclegan = [*python, "-m", "cyclegan_hf.cli"]
    with tempfile.TemporaryDirectory() as folder:
        make_picture("A", 0, side).save(f"{folder}/photo.png")
        translate = ["translate", f"{folder}/photo.png", "--output", f"{folder}/out.png", "--existing", "overwrite"]
        translate += ["--model", model] if model else []
        commands = {
            "import torch": [*python, "-c", "import torch"],
            "import torch, diffusers.DiffusionPipeline": [
                *python,
                "-c",
                "import torch, diffusers\ndiffusers.DiffusionPipeline",
            ],
            "cyclegan-hf --help": [*cyclegan, "--help"],
            "cyclegan-hf translate --help": [*cyclegan, "translate", "--help"],
            "cyclegan-hf translate (one picture)": [*cyclegan, *translate],
            "cyclegan-hf translate --backend torch": [*cyclegan, *translate, "--backend", "torch"],
            "cyclegan-hf translate --backend openvino": [*cyclegan, *translate, "--backend", "openvino"],
            "cyclegan-hf translate --fast": [*cyclegan, *translate, "--fast"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_number in range(rounds + 1):
            for name, command in commands.items():
                taken = timed(command)
                if round_number:
                    seconds[name].append(taken)
    torch_alone = seconds["import torch"]
    print(f"{rounds} rounds, picture of {side}x{side}; {machine_line()}")
    print(f"{'':<44}{'median':>8}{'min':>7}{'max':>7}   × import torch (min to max)")
    for name, times in seconds.items():
        ratios = [taken / base for taken, base in zip(times, torch_alone, strict=True)]
        print(
            f"{name:<44}{statistics.median(times):>6.2f} s{min(times):>7.2f}{max(times):>7.2f}"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def timed(command: list[str]) -> float:
    """Wall seconds of one process, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
