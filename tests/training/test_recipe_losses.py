"""What each recipe minimises, worked out by hand on networks that are a line each."""

import math

import pytest
import torch
from torch import nn

from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.objectives import (
    Networks,
    discriminator_objective,
    generator_objective,
    term_weights,
    translate,
)


# Grey pictures of 2×2 pixels, a = -0.1 and b = 0.9; A → B adds 0.3, B → A takes 0.1 off:
#   fake b = 0.2, back 0.1, so cycle_a 0.2; fake a = 0.8, back 1.1, so cycle_b 0.2
#   b through A → B 1.2, so identity_b 0.3; a through B → A -0.2, so identity_a 0.1
# A discriminator's patch score is a picture's mean, its score of the whole twice that, its features the picture.
REAL_A, REAL_B, FAKE_A, FAKE_B = -0.1, 0.9, 0.8, 0.2


class Shift(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        return (sample + self.by,)


class Mean(nn.Module):
    def __init__(self, heads: bool) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor, ...]:
        mean = sample.mean((1, 2, 3), keepdim=True)
        return (mean, 2 * mean.flatten(1), sample) if self.heads else (mean,)


def grey(value: float) -> torch.Tensor:
    return torch.full((2, 1, 2, 2), value)


def softplus(x: float) -> float:
    """Cross-entropy of a logit of -x against "real", or of x against "fake"."""
    return math.log1p(math.exp(x))


# Least squares of D_b, on b and fake b: (0.9 - 1)² + 0.2² = 0.05. The generators': (0.2 - 1)² + (0.8 - 1)² = 0.68.
# Relativistic, D_b: patches 0.7 apart, both sides' mean ((0.7 - 1)² + 0.7²) / 2 = 0.29; whole pictures 1.4 apart. The
# generators', with targets swapped: (0.7² + (0.7 + 1)²) / 2 = 1.69 and 1.4 apart for A → B; patches -0.1 - 0.8 = -0.9
# apart, (0.9² + (0.9 - 1)²) / 2 = 0.41, and -1.8 for B → A.
# The penalty: 0.7·mean + 0.3·2·mean = 1.3·mean, whose slope is 1.3/4 at each of 4 pixels, 0.65 in all: 0.35².
RELATIVISTIC_D = 0.7 * 0.29 + 0.3 * softplus(-1.4)
RELATIVISTIC_G = 0.7 * (1.69 + 0.41) + 0.3 * (softplus(1.4) + softplus(-1.8))


@pytest.mark.parametrize(
    ("name", "discriminator", "generators"),
    [
        ("summer2winter", 0.5 * 0.05, 0.68 + 10 * 0.4 + 5 * 0.4),
        ("summer2winter_v2", 0.5 * 0.05, 0.68 + 10 * 0.4),
        ("summer2winter_v1", 0.5 * 0.05, 0.68 + 10 * 0.4),
        ("human2anime_unet", 0.05, 2 * 0.68 + 10 * 0.4),  # μ = 2; MSE(real, 1) + MSE(fake, 0), not halved
        ("mnist2svhn", 0.5 * 0.05, 0.68 + 10 * 0.4),
        ("selfie2anime", 0.5 * 0.05, 0.68 + 10 * 0.4),
        # Features: |0.2 - 0.9| and |0.8 + 0.1| from the real target's.
        (
            "face2cartoon_attention",
            RELATIVISTIC_D + 10 * 0.35**2,
            RELATIVISTIC_G + 10 * 0.4 + 5 * 0.4 + 5 * (0.7 + 0.9),
        ),
        # No edge has moved; the colours have, by 0.3 and 0.1.
        ("animal2pokemon_vq", 0.5 * 0.05, 0.68 + 10 * 0.4 + 5 * 0.4 + 1 * 0.4),
    ],
)
def test_losses_by_hand(name: str, discriminator: float, generators: float) -> None:
    config = TrainConfig.from_yaml(recipe_path(name)).losses
    judge = Mean(heads=name == "face2cartoon_attention")
    networks = Networks(Shift(0.3), Shift(-0.1), judge, judge)
    made = translate(networks, grey(REAL_A), grey(REAL_B), config)
    assert made.fake_b[0, 0, 0, 0].item() == pytest.approx(FAKE_B)
    assert made.fake_a[0, 0, 0, 0].item() == pytest.approx(FAKE_A)
    weights = term_weights(config, step=1)
    objective = generator_objective(networks, made, grey(REAL_A), grey(REAL_B), config, weights)
    assert objective.loss.item() == pytest.approx(generators, rel=1e-5)
    judged = discriminator_objective(judge, grey(REAL_B), grey(FAKE_B), config)
    assert judged.loss.item() == pytest.approx(discriminator, rel=1e-5)
