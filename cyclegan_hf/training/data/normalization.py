"""The training pictures' own mean and standard deviation, for `data.normalization: dataset`."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from tqdm.auto import tqdm

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.rows import Picture, open_picture
from cyclegan_hf.training.data.sources import Pictures
from cyclegan_hf.training.data.transforms import plain


Statistics = dict[str, dict[str, list[float]]]
"""`mean` and `std` of domains `"a"` and `"b"`, one number a channel, of pixel values in [0, 1]."""


def dataset_statistics(pictures: Pictures, config: DataConfig, num_channels: tuple[int, int]) -> Statistics:
    """Mean and standard deviation of each domain's pixels, over its training pictures at their training size.

    Every picture counts the same, unaugmented; one that cannot be read is left to the streams, which count it. The
    sums are in float64 and in the pictures' order, so that the result is the same to the last bit each time.

    Args:
        pictures: The training pictures.
        config: Sizes.
        num_channels: Of domains A and B.

    Raises:
        ValueError: If a domain has no readable picture, or a channel has one value everywhere.
    """
    statistics = {}
    for domain, (key, files) in enumerate(pictures.items()):
        channels = num_channels[domain]
        processor = ImageProcessor(num_channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
        total, count = np.zeros((2, channels)), 0
        with (
            ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
            tqdm(
                desc=f"Mean and std of {key}",
                total=len(files),
                unit="picture",
                mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds: a log file needs no ten lines a second
            ) as bar,
        ):
            for moments in pool.map(partial(_moments, processor=processor, config=config, domain=domain), files):
                bar.update()
                if moments is not None:
                    total += moments
                    count += 1
        if count == 0:
            raise ValueError(f"`data.{key}` holds no picture that can be read ({len(files)} files).")
        mean, square = total / count
        std = np.sqrt(np.maximum(square - mean**2, 0))
        if std.min() < 1e-6:  # a constant channel's rounding leaves about 1e-8
            raise ValueError(
                f"`data.normalization: dataset` needs pictures that differ: a channel of `data.{key}` is "
                f"{mean[std.argmin()]:.3f} everywhere; `half` would do."
            )
        statistics[key] = {"mean": mean.tolist(), "std": std.tolist()}
    return statistics


def _moments(picture: Picture, processor: ImageProcessor, config: DataConfig, domain: int) -> np.ndarray | None:
    """Mean and mean square of each channel, `(2, channels)`; none where the picture cannot be read."""
    try:
        values = processor.to_array(plain(open_picture(picture, config.values), config, domain)).astype(np.float64)
    except ValueError:
        return None
    return np.stack([values.mean(axis=(1, 2)), (values**2).mean(axis=(1, 2))])
