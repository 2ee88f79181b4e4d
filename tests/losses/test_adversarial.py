"""Adversarial losses on scores whose loss is known."""

import math

import pytest
import torch

from cyclegan_hf.losses.adversarial import adversarial_loss


@pytest.mark.parametrize(
    ("scores", "real", "expected"),
    [
        ([1.0, 1.0], True, 0.0),
        ([0.0, 0.0], False, 0.0),
        ([0.0, 3.0], True, (1 + 4) / 2),
        ([0.5, -1.0], False, (0.25 + 1) / 2),
    ],
)
def test_least_squares(scores: list[float], real: bool, expected: float) -> None:
    assert adversarial_loss(torch.tensor(scores), real, "lsgan").item() == pytest.approx(expected)
    assert adversarial_loss(torch.tensor(scores), real).item() == pytest.approx(expected)  # the paper's is the default


@pytest.mark.parametrize(
    ("scores", "real", "expected"),
    [
        ([0.0], True, math.log(2)),
        ([0.0], False, math.log(2)),
        ([2.0, -1.0], True, (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2),
        ([2.0, -1.0], False, (math.log1p(math.exp(2)) + math.log1p(math.exp(-1))) / 2),
        ([300.0], False, 300.0),  # exp(300) is beyond fp32
    ],
)
def test_cross_entropy_of_logits(scores: list[float], real: bool, expected: float) -> None:
    assert adversarial_loss(torch.tensor(scores), real, "vanilla").item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["lsgan", "vanilla"])
def test_the_mean_is_over_every_score_and_in_full_precision(kind: str) -> None:
    scores = torch.randn(2, 1, 3, 5)
    whole = adversarial_loss(scores, True, kind)
    each = torch.stack([adversarial_loss(score, True, kind) for score in scores.flatten()])
    assert whole.shape == ()
    assert whole.item() == pytest.approx(each.mean().item(), rel=1e-6)
    half = adversarial_loss(scores.bfloat16(), True, kind)
    assert half.dtype == torch.float32
    assert half.item() == adversarial_loss(scores.bfloat16().float(), True, kind).item()


@pytest.mark.parametrize(
    ("kind", "gradient"),
    [("lsgan", 2 * (0.25 - 1) / 4), ("vanilla", (1 / (1 + math.exp(-0.25)) - 1) / 4)],
)
def test_gradients_pull_scores_towards_the_target(kind: str, gradient: float) -> None:
    scores = torch.full((4,), 0.25, requires_grad=True)
    adversarial_loss(scores, True, kind).backward()
    assert scores.grad.tolist() == pytest.approx([gradient] * 4, rel=1e-6)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`kind` must be 'lsgan' or 'vanilla', got 'wgan'\."):
        adversarial_loss(torch.zeros(1), True, "wgan")
