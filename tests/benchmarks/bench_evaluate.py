"""What each figure of an evaluation costs, and how much memory an evaluation takes however many pictures there are.

Times are of pictures made here, one measure after the other in one process. Each is also a multiple of the bundled
generator's time for the same pictures: trust these ratios on a busy machine. Seconds of processor time tell what a
quiet machine would take. Memory is the peak of fresh processes that run the whole command's measuring, with a tiny
generator, on few and on many pictures.

    python tests/benchmarks/bench_evaluate.py
    python tests/benchmarks/bench_evaluate.py --pictures 200 --no-memory
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf import CycleGANPipeline  # noqa: E402
from cyclegan_hf.evaluation.describe import SetSettings  # noqa: E402
from cyclegan_hf.evaluation.evaluator import Evaluator  # noqa: E402
from cyclegan_hf.evaluation.results import Settings  # noqa: E402
from cyclegan_hf.feature_networks import EfficientNetLite  # noqa: E402
from cyclegan_hf.metrics.color import mean_lab  # noqa: E402
from cyclegan_hf.metrics.dino import DinoStructure  # noqa: E402
from cyclegan_hf.metrics.diversity import mean_pair_distance, reduced  # noqa: E402
from cyclegan_hf.metrics.domain_classifier import DomainClassifier  # noqa: E402
from cyclegan_hf.metrics.image_features import ImageFeatures  # noqa: E402
from cyclegan_hf.metrics.inception import (  # noqa: E402
    fid,
    inception_score,
    inception_with,
    kid,
    kid_subset_size,
)
from cyclegan_hf.metrics.inception_network import InceptionV3  # noqa: E402
from cyclegan_hf.metrics.inception_resampling import resampled_fid  # noqa: E402
from cyclegan_hf.metrics.lpips import Lpips  # noqa: E402
from cyclegan_hf.metrics.resampling import bootstrap_counts  # noqa: E402
from cyclegan_hf.metrics.sliced_wasserstein import (  # noqa: E402
    patch_descriptors,
    resampled_sliced_wasserstein,
    sliced_wasserstein,
)
from cyclegan_hf.metrics.structure import edge_agreement, structural_similarity  # noqa: E402
from cyclegan_hf.metrics.tints import tints  # noqa: E402
from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.evaluation.tiny import pictures_in, pipeline  # noqa: E402
from tests.testing_utils import make_picture, write_domains  # noqa: E402


BATCH = 4
RESAMPLES = 500


def main(pictures: int = 1000, side: int = 256, memory: bool = True, few: int = 250) -> None:
    """Time figures and measure memory.

    Args:
        pictures: In each of two sets.
        side: Their height and width.
        memory: Also measure memory, in processes of their own.
        few: Pictures of the smaller set whose memory is compared.
    """
    print(f"{pictures} + {pictures} pictures of {side}²; {machine_line()}")
    with torch.no_grad():
        measure_times(pictures, side)
    if memory:
        with tempfile.TemporaryDirectory() as folder:
            for count in (few, pictures):
                write_domains(Path(folder) / str(count), count=count, size=side)
                print(f"peak memory with {count} + {count} pictures: {peak_memory(Path(folder) / str(count)):,.0f} MB")


def measure_times(count: int, side: int) -> None:
    """Print a table: seconds for all pictures, and as multiples of a generator's."""
    batch = torch.stack(
        [
            torch.frombuffer(bytearray(make_picture("A", seed, side).tobytes()), dtype=torch.uint8)
            for seed in range(BATCH)
        ]
    )
    images = batch.view(BATCH, side, side, 3).permute(0, 3, 1, 2).float() / 255
    others = (images + 0.05 * torch.randn(images.shape)).clamp(0, 1)
    pipe = CycleGANPipeline.from_pretrained()
    batches = max(1, count // BATCH)

    def per_picture(act: Callable[[], object]) -> "Cost":
        """Of all pictures, from some batches."""
        act()
        rounds = min(batches, 5)
        return once(lambda: [act() for _ in range(rounds)]) * (batches / rounds)

    rows = {"the bundled generator": per_picture(lambda: pipe.generator_a2b(2 * images - 1))}
    rows |= measure_swd(images, batches)
    counts = bootstrap_counts(BATCH * batches, RESAMPLES)
    rows["SSIM"] = per_picture(lambda: structural_similarity(images, others))
    rows["edge agreement"] = per_picture(lambda: edge_agreement(images, others))
    rows["mean colours in Lab"] = per_picture(lambda: mean_lab(images))
    small = torch.rand(BATCH * batches, reduced(images).shape[1])
    rows["diversity"] = per_picture(lambda: reduced(images)) + once(lambda: mean_pair_distance(small))
    described = ImageFeatures(EfficientNetLite(1.1, 1.2))
    rows["EfficientNet-Lite2's features"] = per_picture(lambda: described(images))
    probed = torch.rand(2 * BATCH * batches, 1280)
    rows["taken for the target"] = once(lambda: DomainClassifier.fitted(probed, probed + 0.1)(probed))
    rows["tints and halos of 16"] = once(lambda: tints(images[:16], others[:16], images))
    inception = inception_with(InceptionV3().state_dict())
    rows["Inception's features"] = per_picture(lambda: inception(images))
    features, target = torch.randn(2, BATCH * batches, 2048).unbind()
    rows["FID"] = once(lambda: fid(features, target))
    rows[f"FID, {RESAMPLES} resamples"] = once(lambda: resampled_fid(features, target, counts))
    rows["KID"] = once(lambda: kid(features, target, subset_size=kid_subset_size(len(features), len(target))))
    rows["IS"] = once(lambda: inception_score(torch.randn(BATCH * batches, 1008)))
    lpips, dino = random_lpips(), random_vit()
    rows["LPIPS"] = per_picture(lambda: lpips(images, others))
    rows["DINO structure, ViT-S/8"] = per_picture(lambda: dino(images, others))
    print(f"{'':<28}{'seconds':>9}{'processor':>11}   × the generator")
    for name, cost in rows.items():
        print(
            f"{name:<28}{cost.seconds:>9.1f}{cost.processor:>11.1f}   "
            f"{cost.processor / rows['the bundled generator'].processor:.2f}"
        )


def measure_swd(images: torch.Tensor, batches: int) -> "dict[str, Cost]":
    """What the sliced Wasserstein distance of `batches` batches of these pictures costs, part by part."""
    found: list[list[torch.Tensor]] = []

    def describe() -> None:
        found.extend(patch_descriptors(images, first=len(images) * number) for number in range(batches))

    rows = {"SWD, patches of one set": once(describe)}
    levels = [torch.cat(level) for level in zip(*found, strict=True)]
    found.clear()
    moved = [level + 0.1 * torch.randn(level.shape) for level in levels]
    rows["SWD, distance"] = once(lambda: [sliced_wasserstein(*pair) for pair in zip(levels, moved, strict=True)])
    rows["SWD of both sets, in all"] = rows["SWD, patches of one set"] * 2 + rows["SWD, distance"]
    count = len(images) * batches
    counts = bootstrap_counts(count, RESAMPLES)

    def resample() -> None:
        for ours, theirs in zip(levels, moved, strict=True):
            resampled_sliced_wasserstein(ours.unflatten(0, (count, -1)), theirs, counts)

    return rows | {f"SWD, {RESAMPLES} resamples": once(resample)}


class Cost(NamedTuple):
    """Seconds of the clock, and of all cores together."""

    seconds: float
    processor: float

    def __mul__(self, factor: float) -> "Cost":
        return Cost(self.seconds * factor, self.processor * factor)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.processor + other.processor)


def once(act: Callable[[], object]) -> Cost:
    """What calling it costs."""
    start, used = time.perf_counter(), time.process_time()
    act()
    return Cost(time.perf_counter() - start, time.process_time() - used)


def random_lpips() -> Lpips:
    """LPIPS with random weights, which cost the same."""
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    weights = {}
    for number, (outputs, inputs, kernel) in shapes.items():
        weights[f"features.{number}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * 0.02
        weights[f"features.{number}.bias"] = torch.zeros(outputs)
    return Lpips(weights)


def random_vit(width: int = 384, depth: int = 12, patch: int = 8) -> DinoStructure:
    """A transformer with random weights."""
    weights = {
        "cls_token": torch.randn(1, 1, width),
        "pos_embed": torch.randn(1, (224 // patch) ** 2 + 1, width),
        "patch_embed.proj.weight": torch.randn(width, 3, patch, patch) * 0.02,
        "patch_embed.proj.bias": torch.zeros(width),
    }
    parts = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    parts |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    for number in range(depth):
        for name, shape in parts.items():
            weights[f"blocks.{number}.{name}.weight"] = torch.randn(shape) * 0.05
            weights[f"blocks.{number}.{name}.bias"] = torch.zeros(shape[0])
    return DinoStructure(weights)


def peak_memory(folder: Path) -> float:
    """MB that a process takes to measure both directions; a child of its own, so that the peak is its alone."""
    code = f"from tests.benchmarks.bench_evaluate import evaluate_all; evaluate_all({str(folder)!r})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def evaluate_all(folder: str) -> None:
    """Measure the pictures of a folder, and print this process's peak in MB."""
    inputs = pictures_in(Path(folder))
    settings = Settings(sets=SetSettings(resamples=RESAMPLES))
    Evaluator(inputs, settings)(pipeline())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    tyro.cli(main)
