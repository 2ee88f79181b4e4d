"""Tinted whites, tinted greys and halos, on images with known pixels."""

import pytest
import torch

from cyclegan_hf.metrics.tints import tints


NEON = torch.tensor([254, 252, 99]) / 255


def flat(*color: float, size: int = 32) -> torch.Tensor:
    return torch.tensor(color)[:, None, None].expand(3, size, size).clone()[None]


def test_whites_that_turn_neon_are_tinted_and_those_that_turn_into_grass_are_not() -> None:
    snow = flat(0.99, 0.99, 0.99)
    after = snow.clone()
    after[..., :8, :] = NEON[:, None, None]  # a quarter
    after[..., 8:16, :] = torch.tensor([0.2, 0.4, 0.1])[:, None, None]  # grass
    found = tints(snow, after, snow)
    assert found["tinted_whites"] == pytest.approx(0.25)
    assert found["tinted_whites_chroma"] > 20 and found["tinted_whites_level"] == 0
    assert tints(snow, snow, snow)["tinted_whites"] == 0
    assert "tinted_greys" not in found  # there are none


def test_greys_may_be_coloured_as_far_as_real_images_call_for_it() -> None:
    rock = flat(0.5, 0.5, 0.5)
    mustard = flat(0.6, 0.5, 0.2)
    real = rock.clone()
    real[..., :16] = torch.tensor([0.6, 0.5, 0.2])[:, None, None]  # half of what is mid-grey elsewhere
    found = tints(rock, mustard, real)
    assert found["tinted_greys"] == 1 and found["tinted_greys_level"] == pytest.approx(0.5)


def test_halos_are_colours_along_edges() -> None:
    tree = flat(0.9, 0.9, 0.9, size=48)
    tree[..., 20:28] = 0.1
    rimmed = tree.clone()
    rimmed[..., 18:20] = rimmed[..., 28:30] = torch.tensor([0.9, 0.85, 0.4])[:, None, None]
    assert tints(tree, tree, tree)["halos"] < 0.5
    found = tints(tree, rimmed, tree)
    assert found["halos"] > 10 and found["halos_level"] < 0.5


def test_grey_images_have_no_tints() -> None:
    grey = torch.rand(2, 1, 32, 32)
    assert tints(grey, grey, grey) == {}
