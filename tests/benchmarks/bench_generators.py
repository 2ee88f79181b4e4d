"""What narrower and separable generators save, against the paper's.

Each translates the same picture, plain (torch, fp32, eager) and after `optimize()`. All take turns in one process:
trust the ratios. Weights are random: what a form is worth is told in `docs/recipes.md`.

    python tests/benchmarks/bench_generators.py
"""

import copy
import sys
from pathlib import Path

import torch
import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf import CycleGANPipeline, LocalAffineGenerator, ResnetGenerator  # noqa: E402
from tests.benchmarks.turns import faster_than, in_turn, keep, machine_line, spread  # noqa: E402


HALF = (32, 64, 128)


def main(side: int = 256, rounds: int = 15, json: Path | None = None) -> None:
    """Time one translation A → B by each generator.

    Args:
        side: Height and width of the picture.
        rounds: Counted turns of each.
        json: Where to keep the figures.
    """
    torch.manual_seed(0)
    generators = {
        "ResNet-9": ResnetGenerator(),
        "ResNet-9, separable": ResnetGenerator(separable=True),
        "ResNet-9, half as wide": ResnetGenerator(block_out_channels=HALF),
        "ResNet-9, half as wide, separable": ResnetGenerator(block_out_channels=HALF, separable=True),
        "ResNet-6, half as wide, resize-convolutions": ResnetGenerator(
            block_out_channels=HALF,
            num_res_blocks=6,
            upsample_type="resize_conv",
            norm_type="pixel",
            learn_residual=True,
        ),
        "local affine": LocalAffineGenerator(),
        "local affine, separable": LocalAffineGenerator(separable=True),
        "local affine, separable, 4 levels of brightness": LocalAffineGenerator(separable=True, num_luma_bins=4),
        "local affine, the bundled form": LocalAffineGenerator(
            block_out_channels=(*HALF, 256), separable=True, num_luma_bins=4
        ),
    }
    photo = torch.rand(1, 3, side, side) * 2 - 1
    runs = {}
    for name, generator in generators.items():
        fast = CycleGANPipeline(copy.deepcopy(generator)).optimize().generator_a2b
        runs[name] = lambda network=generator: network(photo)
        runs[f"{name}, optimize()"] = lambda network=fast: network(photo.to(network.dtype))
        generator.eval()
    with torch.inference_mode():
        seconds = in_turn(runs, rounds)
    print(f"{side}², batch 1; {machine_line()}")
    forms = {}
    for name, values in seconds.items():
        count = sum(parameter.numel() for parameter in generators[name.removesuffix(", optimize()")].parameters())
        times, ratio = spread(values), spread(faster_than(seconds["ResNet-9"], values))
        forms[name] = {"parameters": count, "seconds": times, "faster": ratio}
        print(
            f"{name}: {count:,} parameters, {1000 * times['median']:.0f} ms, {ratio['median']:.2f}x "
            f"({ratio['least']:.2f} to {ratio['most']:.2f})"
        )
    keep(json, {"side": side, "forms": forms})


if __name__ == "__main__":
    tyro.cli(main)
