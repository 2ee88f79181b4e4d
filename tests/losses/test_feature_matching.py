"""Feature matching."""

import pytest
import torch

from cyclegan_hf.losses.feature_matching import feature_matching_loss


# Two pictures, two channels, 1×2 positions.
FAKE = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[5.0, -1.0]], [[2.0, 2.0]]]])
REAL = torch.tensor([[[[0.0, 4.0]], [[1.0, 1.0]]], [[[5.0, 1.0]], [[-1.0, 1.0]]]])


def test_elementwise() -> None:
    # |1 - 0| + |3 - 4| + |0 - 1| + |0 - 1| + |5 - 5| + |-1 - 1| + |2 + 1| + |2 - 1| = 10, over 8 elements.
    assert feature_matching_loss(FAKE, REAL).item() == pytest.approx(10 / 8)


def test_means() -> None:
    # First channel: (1 + 3 + 5 - 1) / 4 = 2 against (0 + 4 + 5 + 1) / 4 = 2.5; second: 1 against (1 + 1 - 1 + 1) / 4
    # = 0.5. The differences 0.5 and 0.5 have the mean 0.5.
    assert feature_matching_loss(FAKE, REAL, "mean").item() == pytest.approx(0.5)


def test_means_do_not_care_which_picture_or_place_a_feature_is_in() -> None:
    shuffled = REAL.flip(0).flip(-1)
    assert feature_matching_loss(FAKE, shuffled, "mean").item() == pytest.approx(0.5)
    assert feature_matching_loss(shuffled, REAL, "mean").item() == 0
    assert feature_matching_loss(shuffled, REAL).item() > 0
    more = torch.cat([REAL, REAL])
    assert feature_matching_loss(FAKE, more, "mean").item() == pytest.approx(0.5)


def test_the_real_side_is_a_target() -> None:
    fake, real = FAKE.clone().requires_grad_(), REAL.clone().requires_grad_()
    feature_matching_loss(fake, real).backward()
    assert real.grad is None
    assert fake.grad.flatten().tolist() == pytest.approx([x / 8 for x in (1, -1, -1, -1, 0, -1, 1, 1)])


def test_half_precision_features_are_compared_in_full() -> None:
    loss = feature_matching_loss(FAKE.bfloat16(), REAL.bfloat16())
    assert (loss.dtype, loss.item()) == (torch.float32, 1.25)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape are expected .*, got \(2, 2, 1, 2\) and \(1, 2, 1, 2\)"):
        feature_matching_loss(FAKE, REAL[:1])
    with pytest.raises(ValueError, match="as many channels"):
        feature_matching_loss(FAKE, REAL[:, :1], "mean")
    with pytest.raises(ValueError, match="`statistic` must be 'elementwise' or 'mean', got 'max'"):
        feature_matching_loss(FAKE, REAL, "max")
