"""Lab colours against published values."""

import pytest
import torch

from cyclegan_hf.metrics.color import color_difference, mean_lab


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # sRGB primaries in CIE Lab, D65
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_primaries(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    picture = torch.tensor(rgb, dtype=torch.float32)[None, :, None, None].expand(1, 3, 5, 4)
    assert mean_lab(picture)[0].tolist() == pytest.approx(lab, abs=0.05)


def test_the_mean_is_over_pixels_and_grey_has_no_colour() -> None:
    half = torch.zeros(1, 1, 2, 4)
    half[..., 2:] = 1
    assert mean_lab(half)[0].tolist() == pytest.approx([50, 0, 0], abs=0.05)


def test_the_difference_is_a_distance() -> None:
    colors = torch.tensor([[50.0, 3, 4], [50, 0, 0]])
    assert color_difference(colors, torch.tensor([50.0, 0, 0])).tolist() == pytest.approx([5, 0])
