"""Pixel errors and SSIM against their definitions."""

import math

import numpy as np
import pytest
import torch

from cyclegan_hf.metrics.reconstruction import MOST_DECIBELS, l1_distance, psnr
from cyclegan_hf.metrics.structure import structural_similarity


def test_l1_and_psnr_by_hand() -> None:
    images = torch.zeros(2, 3, 4, 4)
    others = images.clone()
    others[1] += 0.1
    assert l1_distance(images, others).tolist() == pytest.approx([0, 0.1])
    assert psnr(images, others).tolist() == pytest.approx([MOST_DECIBELS, 20])  # 10 log10(1 / 0.01)


def test_psnr_against_numpy() -> None:
    images, others = torch.rand(2, 3, 3, 20, 30).unbind()
    expected = [
        -10 * math.log10(np.mean((one - other) ** 2))
        for one, other in zip(images.double().numpy(), others.double().numpy(), strict=True)
    ]
    assert psnr(images, others).tolist() == pytest.approx(expected, abs=1e-4)


def numpy_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, for a `(H, W)` picture in [0, 1]; borders are mirrored."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def smooth(picture: np.ndarray) -> np.ndarray:
        padded = np.pad(picture, 5, mode="reflect")
        return np.array(
            [
                [(padded[y : y + 11, x : x + 11] * window).sum() for x in range(picture.shape[1])]
                for y in range(picture.shape[0])
            ]
        )

    mean, its = smooth(one), smooth(other)
    variance, its_variance = smooth(one**2) - mean**2, smooth(other**2) - its**2
    shared = smooth(one * other) - mean * its
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean * its + c1) * (2 * shared + c2)
    return float((top / ((mean**2 + its**2 + c1) * (variance + its_variance + c2))).mean())


def test_ssim_against_numpy() -> None:
    images, others = torch.rand(2, 2, 1, 14, 17).unbind()
    others = 0.6 * images + 0.4 * others
    expected = [
        numpy_ssim(one[0], other[0])
        for one, other in zip(images.double().numpy(), others.double().numpy(), strict=True)
    ]
    assert structural_similarity(images, others).tolist() == pytest.approx(expected, abs=1e-4)
    assert structural_similarity(images, images).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("measure", [l1_distance, psnr, structural_similarity])
def test_other_shapes_are_refused(measure) -> None:
    with pytest.raises(ValueError, match="of one shape, got"):
        measure(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 20))
