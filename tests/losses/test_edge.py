"""Edge consistency."""

import pytest
import torch
from torch.nn import functional as F

from cyclegan_hf.losses.edge import edge_consistency_loss


def test_against_a_convolution_with_sobels_kernels() -> None:
    images, translations = torch.rand(2, 2, 3, 9, 7).unbind()
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([kernel, kernel.T])[:, None]
    first, second = (
        F.conv2d(F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate"), kernels)
        for x in (images, translations)
    )
    expected = (first - second).abs().mean().item()
    assert edge_consistency_loss(images, translations).item() == pytest.approx(expected, rel=1e-5)


def test_against_kornia() -> None:
    filters = pytest.importorskip("kornia.filters", reason="kornia, of the extra `train`, is not installed")
    images, translations = torch.rand(2, 2, 3, 9, 7).unbind()
    expected = F.l1_loss(filters.spatial_gradient(images), filters.spatial_gradient(translations)).item()
    assert edge_consistency_loss(images, translations).item() == pytest.approx(expected, rel=1e-5)


def test_a_ramp_against_a_plain_picture() -> None:
    # 0, 1, 2, 3 along the columns: slopes 0.5, 1, 1, 0.5 (half at the replicated borders), of mean 0.75, and none
    # along the rows: (0.75 + 0) / 2.
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert edge_consistency_loss(ramp, torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0.375)
    assert edge_consistency_loss(ramp.mT, torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0.375)


def test_brightness_is_free_and_direction_is_not() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert edge_consistency_loss(image, image + 0.5).item() == pytest.approx(0, abs=1e-6)
    plain = edge_consistency_loss(image, torch.zeros_like(image)).item()
    assert edge_consistency_loss(image, -image).item() == pytest.approx(2 * plain, rel=1e-5)


def test_an_inverted_edge() -> None:
    # -1 -1 1 1 along the columns has the slopes 0, 1, 1, 0, inverted 0, -1, -1, 0: differences of mean 1, and none
    # along the rows.
    image = torch.tensor([-1.0, -1.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    assert edge_consistency_loss(image, -image).item() == pytest.approx(0.5)


def test_gradients_reach_the_translation_under_autocast_in_full_precision() -> None:
    image, translation = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = edge_consistency_loss(image, translation)
    assert (loss.dtype, loss.item()) == (torch.float32, edge_consistency_loss(image, translation).item())
    loss.backward()
    assert translation.grad.abs().max() > 0


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in one shape only, got \(1, 1, 8, 8\) and \(1, 3, 8, 8\)"):
        edge_consistency_loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))
