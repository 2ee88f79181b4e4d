"""Colour consistency."""

import pytest
import torch

from cyclegan_hf.losses.color import color_consistency_loss


def test_cells_are_compared_by_their_means() -> None:
    # Two cells of 2×2. Left: the mean of (1, 0, 0, 3) is 1 against 0; right: 0.5 against 1. (1 + 0.5) / 2.
    image = torch.tensor([[1.0, 0.0, 0.5, 0.5], [0.0, 3.0, 0.5, 0.5]]).view(1, 1, 2, 4)
    translation = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 2, 4)
    assert color_consistency_loss(image, translation, cell_size=2).item() == pytest.approx(0.75)


def test_what_lies_below_a_cell_is_free() -> None:
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(6, 6).expand(1, 3, 12, 12)
    assert color_consistency_loss(board, -board, cell_size=12).item() == 0
    assert color_consistency_loss(board, -board, cell_size=1).item() == 2  # the largest loss there is


def test_a_swap_of_colours_between_places_is_not() -> None:
    halves = torch.cat([torch.ones(1, 3, 24, 12), -torch.ones(1, 3, 24, 12)], dim=-1)
    assert color_consistency_loss(halves, halves.flip(-1)).item() == 2  # every histogram is the same


def test_smaller_cells_at_the_far_borders_have_means_of_their_own() -> None:
    # 5×5 in cells of 4: 4×4, 4×1, 1×4 and 1×1. All but the last are alike; its mean differs by 8: 8 / 4.
    translation = torch.zeros(1, 1, 5, 5)
    translation[..., 4, 4] = 8
    assert color_consistency_loss(torch.zeros(1, 1, 5, 5), translation, cell_size=4).item() == pytest.approx(2)


def test_the_gradient_is_the_same_however_far_the_colour() -> None:
    image = torch.zeros(1, 1, 4, 4)
    gradients = []
    for level in (0.1, 1.9):
        translation = torch.full((1, 1, 4, 4), level, requires_grad=True)
        color_consistency_loss(image, translation, cell_size=4).backward()
        gradients.append(translation.grad)
    assert torch.equal(*gradients)
    assert gradients[0].flatten().tolist() == [1 / 16] * 16


def test_half_precision_pictures_are_compared_in_full() -> None:
    image = torch.rand(1, 3, 24, 24).bfloat16()
    loss = color_consistency_loss(image, image.flip(-1))
    assert loss.dtype == torch.float32
    assert loss.item() == color_consistency_loss(image.float(), image.flip(-1).float()).item()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in one shape only, got \(1, 1, 8, 8\) and \(1, 3, 8, 8\)"):
        color_consistency_loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="`cell_size` must be at least 1, got 0"):
        color_consistency_loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), cell_size=0)
