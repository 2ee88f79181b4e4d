"""What augmenting costs: picture by picture in a loader, with Pillow, as training does, against kornia on the batch.

Processor time of one thread, in turns. A loader's work goes on beside the step and belongs to the picture, whatever
batch it is in; what is done on the batch is done by the training process, on a processor in the step's own time.

    python tests/benchmarks/bench_augment.py
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kornia.augmentation
import numpy as np
import torch
import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.image_processor import ImageProcessor  # noqa: E402
from cyclegan_hf.training.data.config import DataConfig  # noqa: E402
from cyclegan_hf.training.data.transforms import augment  # noqa: E402
from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


def main(batch_size: int = 16, rounds: int = 9) -> None:
    """Time both on pictures of 320², resized to 286² and cropped to 256².

    Args:
        batch_size: Pictures a batch.
        rounds: Measurements of each.
    """
    torch.set_num_threads(1)
    pictures = [make_picture("A", seed, 320) for seed in range(batch_size)]
    processor = ImageProcessor()
    plain = DataConfig(horizontal_flip=False)
    full = DataConfig(rotation=15, affine=0.1, resize_jitter=0.1, color_jitter=0.2, blur=1.0)
    on_batch = kornia.augmentation.AugmentationSequential(
        kornia.augmentation.RandomHorizontalFlip(p=0.5),
        kornia.augmentation.RandomAffine(
            15, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=(-6, 6), padding_mode="reflection", p=1.0
        ),
        kornia.augmentation.ColorJitter(0.2, 0.2, 0.2, 0.0, p=1.0),
        kornia.augmentation.RandomGaussianBlur((5, 5), (0.1, 1.0), p=1.0),
    )

    def loaded(config: DataConfig) -> torch.Tensor:
        arrays = [processor.to_array(augment(one, config, np.random.default_rng(n))) for n, one in enumerate(pictures)]
        return torch.stack([torch.from_numpy(array) for array in arrays])

    batch = loaded(plain) / 2 + 0.5
    jobs: dict[str, Callable[[], object]] = {
        "resize and crop": lambda: loaded(plain),
        "the same and all augmentations": lambda: loaded(full),
        "kornia on the batch, after the first": lambda: on_batch(batch),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(rounds + 1):  # the first warms up
        for name, job in jobs.items():
            start = time.process_time()
            job()
            if round_ > 0:
                times[name].append((time.process_time() - start) / batch_size * 1000)
    print(f"batch {batch_size}, kornia {kornia.__version__}; {machine_line()}")
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.2f} ms a picture ({min(values):.2f} to {max(values):.2f})")
    own = [full - plain for plain, full, _ in zip(*times.values(), strict=True)]
    ratios = [other / one for one, other in zip(own, times["kornia on the batch, after the first"], strict=True)]
    print(f"kornia takes {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of what Pillow does")


if __name__ == "__main__":
    tyro.cli(main)
