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
from pathlib import Path

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import faster_than, in_turn, keep, machine_line, spread  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


def main(rounds: int = 5, model: str | None = None, side: int = 256, json: Path | None = None) -> None:
    """Time cold commands.

    Args:
        rounds: Processes of each kind; one more of each warms the caches and is not counted.
        model: Folder of a pipeline; by default the bundled weights.
        side: Height and width of the picture to translate.
        json: Where to keep the figures.
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
        seconds = in_turn(
            {name: lambda command=command: run(command) for name, command in commands.items()}, rounds, 1
        )
    torch_alone = seconds["import torch"]
    print(f"{rounds} rounds, picture of {side}x{side}; {machine_line()}")
    print(f"{'':<44}{'median':>8}{'min':>7}{'max':>7}   × import torch (min to max)")
    forms = {}
    for name, times in seconds.items():
        ratios = faster_than(times, torch_alone)
        forms[name] = {"seconds": spread(times), "of_import_torch": spread(ratios)}
        print(
            f"{name:<44}{statistics.median(times):>6.2f} s{min(times):>7.2f}{max(times):>7.2f}"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    keep(json, {"side": side, "forms": forms})


def run(command: list[str]) -> None:
    """One process, which must succeed."""
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    tyro.cli(main)
