"""Relativistic average losses, with every number worked out by hand."""

import math

import pytest
import torch

from cyclegan_hf.losses.adversarial import adversarial_loss
from cyclegan_hf.losses.relativistic import dual_head_relativistic_loss, dual_head_score, relativistic_loss


# Two pictures of 1×2 patches: means 1.5 and 0.5.
REAL = torch.tensor([2.0, 1.0, 0.0, 3.0]).view(2, 1, 1, 2)
FAKE = torch.tensor([1.0, 0.0, -1.0, 2.0]).view(2, 1, 1, 2)

# The discriminator: real - 0.5 = (1.5, 0.5, -0.5, 2.5) towards 1: (0.25 + 0.25 + 2.25 + 2.25) / 4 = 1.25;
# fake - 1.5 = (-0.5, -1.5, -2.5, 0.5) towards 0: (0.25 + 2.25 + 6.25 + 0.25) / 4 = 2.25; their average is 1.75.
DISCRIMINATOR = 1.75
# The generator: the first towards 0: (2.25 + 0.25 + 0.25 + 6.25) / 4 = 2.25; the second towards 1:
# (2.25 + 6.25 + 12.25 + 0.25) / 4 = 5.25; their average is 3.75.
GENERATOR = 3.75


@pytest.mark.parametrize(("for_generator", "expected"), [(False, DISCRIMINATOR), (True, GENERATOR)])
def test_least_squares(for_generator: bool, expected: float) -> None:
    assert relativistic_loss(REAL, FAKE, "lsgan", for_generator).item() == pytest.approx(expected, rel=1e-6)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# One logit a picture: 1 and 3 (mean 2) against -1 and 1 (mean 0).
# real - 0 = (1, 3) as "real": softplus(-1), softplus(-3); fake - 2 = (-3, -1) as "fake": softplus(-3), softplus(-1).
# The generator's are softplus(1) and softplus(3) on both sides.
@pytest.mark.parametrize(
    ("for_generator", "expected"),
    [(False, (softplus(-1) + softplus(-3)) / 2), (True, (softplus(1) + softplus(3)) / 2)],
)
def test_cross_entropy(for_generator: bool, expected: float) -> None:
    real, fake = torch.tensor([[1.0], [3.0]]), torch.tensor([[-1.0], [1.0]])
    assert relativistic_loss(real, fake, "vanilla", for_generator).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("for_generator", [False, True])
def test_both_heads(for_generator: bool) -> None:
    real, fake = torch.tensor([[1.0], [3.0]]), torch.tensor([[-1.0], [1.0]])
    sign = 1 if for_generator else -1
    patch = GENERATOR if for_generator else DISCRIMINATOR
    expected = 0.7 * patch + 0.3 * (softplus(sign) + softplus(3 * sign)) / 2
    assert dual_head_relativistic_loss((REAL, real), (FAKE, fake), for_generator).item() == pytest.approx(expected)
    only_patches = dual_head_relativistic_loss((REAL, real), (FAKE, fake), for_generator, patch_share=1.0)
    assert only_patches.item() == pytest.approx(patch)


@pytest.mark.parametrize("kind", ["lsgan", "vanilla"])
def test_a_discriminator_that_is_undecided_pays_what_every_score_alike_pays(kind: str) -> None:
    # All differences are 0: least squares (1 + 0) / 2, cross-entropy log 2, whatever the level of the scores.
    scores = torch.full((2, 1, 3, 3), 7.0)
    expected = {"lsgan": 0.5, "vanilla": math.log(2)}[kind]
    for for_generator in (False, True):
        assert relativistic_loss(scores, scores, kind, for_generator).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["lsgan", "vanilla", "hinge"])
def test_only_differences_count_and_the_generator_has_the_mirrored_game(kind: str) -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4).unbind()
    loss = relativistic_loss(real, fake, kind)
    assert relativistic_loss(real + 5, fake + 5, kind).item() == pytest.approx(loss.item(), rel=1e-4)
    assert relativistic_loss(fake, real, kind, for_generator=True).item() == pytest.approx(loss.item(), rel=1e-6)


def test_the_wasserstein_form_is_the_plain_one() -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4).unbind()
    plain = adversarial_loss(real, True, "wgan") + adversarial_loss(fake, False, "wgan")
    assert relativistic_loss(real, fake, "wgan").item() == pytest.approx(plain.item(), abs=1e-6)


def test_gradients_reach_both_sides_through_the_means_too() -> None:
    # One score each, r and f: the discriminator's loss is ((r - f - 1)² + (f - r)²) / 2, its gradient in r
    # (r - f - 1) + (r - f) = 2(r - f) - 1, and the opposite in f. At r - f = 2: 3 and -3. The generator's is
    # ((r - f)² + (f - r - 1)²) / 2: in f, 2(f - r) - 1 = -5.
    real, fake = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    assert [g.item() for g in torch.autograd.grad(relativistic_loss(real, fake), [real, fake])] == [3.0, -3.0]
    (gradient,) = torch.autograd.grad(relativistic_loss(real.detach(), fake, for_generator=True), fake)
    assert gradient.item() == -5.0


def test_half_precision_scores_are_judged_in_full() -> None:
    loss = relativistic_loss(REAL.bfloat16(), FAKE.bfloat16())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(DISCRIMINATOR)


def test_the_score_of_both_heads() -> None:
    # Means of the patches: 1.5 and 1.5; globals 10 and 20: 0.7·1.5 + 0.3·10 = 4.05 and 0.7·1.5 + 0.3·20 = 7.05.
    score = dual_head_score(REAL, torch.tensor([[10.0], [20.0]]))
    assert score.tolist() == pytest.approx([4.05, 7.05])
