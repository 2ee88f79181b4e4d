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
        ([0.8, 0.6], True, (0.04 + 0.16) / 2),  # probabilities, as `human2anime_unet` pools them
        ([-1.0, 1.0], True, (4 + 0) / 2),  # after a tanh (`mnist2svhn`): "real" is 1 ...
        ([-1.0, 1.0], False, (1 + 1) / 2),  # ... and "fake" is 0, the middle of the range
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


@pytest.mark.parametrize(("real", "expected"), [(True, -(3 - 1) / 2), (False, (3 - 1) / 2)])
def test_wasserstein_is_the_mean_score(real: bool, expected: float) -> None:
    assert adversarial_loss(torch.tensor([3.0, -1.0]), real, "wgan").item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("real", "for_generator", "expected"),
    [
        (True, False, (0 + 0.5 + 2) / 3),  # max(0, 1 - s) of 3, 0.5 and -1
        (False, False, (4 + 1.5 + 0) / 3),  # max(0, 1 + s)
        (True, True, -(3 + 0.5 - 1) / 3),  # no margin: a score beyond 1 still pays
    ],
)
def test_hinge(real: bool, for_generator: bool, expected: float) -> None:
    scores = torch.tensor([3.0, 0.5, -1.0])
    assert adversarial_loss(scores, real, "hinge", for_generator).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["lsgan", "vanilla", "wgan"])
def test_only_the_hinge_has_a_form_for_the_generator(kind: str) -> None:
    scores = torch.randn(5)
    assert adversarial_loss(scores, True, kind, for_generator=True) == adversarial_loss(scores, True, kind)


@pytest.mark.parametrize("kind", ["lsgan", "vanilla", "wgan", "hinge"])
def test_the_mean_is_over_every_score_and_in_full_precision(kind: str) -> None:
    scores = torch.randn(2, 1, 3, 5)
    whole = adversarial_loss(scores, True, kind)
    each = torch.stack([adversarial_loss(score, True, kind) for score in scores.flatten()])
    assert whole.shape == ()
    assert whole.item() == pytest.approx(each.mean().item(), rel=1e-5)
    half = adversarial_loss(scores.bfloat16(), True, kind)
    assert half.dtype == torch.float32
    assert half.item() == adversarial_loss(scores.bfloat16().float(), True, kind).item()


@pytest.mark.parametrize(
    ("kind", "gradient"),
    [
        ("lsgan", 2 * (0.25 - 1) / 4),
        ("vanilla", (1 / (1 + math.exp(-0.25)) - 1) / 4),
        ("wgan", -1 / 4),
        ("hinge", -1 / 4),  # 0.25 is inside the margin
    ],
)
def test_gradients_pull_scores_towards_the_target(kind: str, gradient: float) -> None:
    scores = torch.full((4,), 0.25, requires_grad=True)
    adversarial_loss(scores, True, kind).backward()
    assert scores.grad.tolist() == pytest.approx([gradient] * 4, rel=1e-6)


def test_beyond_the_margin_the_hinge_is_flat() -> None:
    scores = torch.tensor([1.5], requires_grad=True)
    adversarial_loss(scores, True, "hinge").backward()
    assert scores.grad.item() == 0


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`kind` must be 'lsgan', 'vanilla', 'wgan' or 'hinge', got 'gan'\."):
        adversarial_loss(torch.zeros(1), True, "gan")
