"""8-bit integers for an OpenVINO graph: weights and activations, after what pictures do in it (NNCF)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan_hf.errors import install_command
from cyclegan_hf.evaluation.pictures import pictures_by_domain, spread
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.images.files import images_in
from cyclegan_hf.images.io import open_image


NUM_PICTURES = 64
MAX_SIDE = 512  # of a calibration picture: larger ones tell no more and take long
COMPARED = 4
MAX_MEAN_DIFFERENCE = 0.05  # in [-1, 1]: 6 of 255 levels, beyond which a picture has visibly other colours


def calibration_files(folder: Path, domain: str, domain_names: Mapping[str, str]) -> list[Path]:
    """Return the images to calibrate a generator with: such as it will translate.

    Args:
        folder: It holds `trainA` and `trainB`, or `A` and `B`, or the domains' names, or `testA` and `testB`; else all
            of its pictures serve both directions.
        domain: `"a"` or `"b"`, which the generator translates from.
        domain_names: The domains' names by letter.

    Returns:
        At most `NUM_PICTURES`, evenly spread by name.

    Raises:
        ValueError: There is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of pictures to calibrate with, found no such folder")
    found = pictures_by_domain(folder, ("train", "", "test"), dict(domain_names))
    if found and domain not in found:
        raise ValueError(
            f"{folder}: expected pictures of domain {domain.upper()} too, to calibrate its generator with"
        )
    return spread(found[domain] if found else images_in(folder), NUM_PICTURES)


def samples(files: list[Path], processor: ImageProcessor, size_multiple: int, min_size: int) -> Iterator[np.ndarray]:
    """Yield images as a generator takes them, `(1, C, H, W)` float32 in model space."""
    for file in files:
        image = open_image(file)
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        ((sample, _),) = processor.preprocess(image, size_multiple=size_multiple, min_size=min_size)
        yield sample


def quantize(model: Any, calibration: list[np.ndarray]) -> Any:
    """Quantise a graph's convolutions (Jacob et al. 2018: weights by channel, activations by their range).

    Norms, resampling and what else is sensitive stay in floating point.

    Args:
        model: An `openvino.Model` with one input.
        calibration: Inputs, of any sizes.

    Returns:
        The quantised `openvino.Model`.

    Raises:
        ImportError: NNCF is not installed.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)  # it tells of itself at length
    try:
        import nncf
    except ImportError as error:
        raise ImportError(f"8-bit export needs the extra `int8`: {install_command('int8')} ({error})") from error
    return nncf.quantize(
        model,
        nncf.Dataset(calibration),
        preset=nncf.QuantizationPreset.MIXED,  # ranges of activations need not be symmetric: after a ReLU they are not
        subset_size=len(calibration),
    )
