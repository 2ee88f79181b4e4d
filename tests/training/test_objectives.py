"""The two objectives, on networks that are a line each, y = gain * x + bias: every value is worked out by hand."""

import math

import pytest
import torch
from torch import nn

from tests.training.tiny import DISCRIMINATOR, GENERATOR, largest_difference
from training.builders import build_networks
from training.config import LossConfig, TrainConfig
from training.objectives import Networks, discriminator_objective, generator_objective


class Line(nn.Module):
    def __init__(self, gain: float, bias: float = 0.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        assert not return_dict
        return (self.gain * sample + self.bias,)


def lines() -> Networks:
    return Networks(
        generator_a2b=Line(0.5),
        generator_b2a=Line(1.0, 0.35),
        discriminator_a=Line(1.0),
        discriminator_b=Line(2.0),
    )


def grey(value: float) -> torch.Tensor:
    return torch.full((2, 3, 4, 4), value)


# With a = 0.4 and b = -0.6:
#   fake b = 0.5 * 0.4 = 0.2, back to 0.55; fake a = -0.6 + 0.35 = -0.25, back to -0.125
#   identity of a: 0.4 + 0.35 = 0.75; identity of b: 0.5 * -0.6 = -0.3
#   scores: D_b(0.2) = 0.4, D_a(-0.25) = -0.25
REAL_A, REAL_B = 0.4, -0.6
TERMS = {
    "gan_a2b": (0.4 - 1) ** 2,
    "gan_b2a": (-0.25 - 1) ** 2,
    "cycle_a": 0.15,
    "cycle_b": 0.475,
    "identity_a": 0.35,
    "identity_b": 0.3,
}


@pytest.mark.parametrize("together", [True, False])
def test_the_generators_terms_and_their_weights(together: bool) -> None:
    config = LossConfig(lambda_a=10, lambda_b=4, lambda_identity=0.5)
    objective = generator_objective(lines(), grey(REAL_A), grey(REAL_B), config, together)
    assert {name: term.item() for name, term in objective.terms.items()} == pytest.approx(TERMS, rel=1e-5)
    # 0.36 + 1.5625 + 10 * 0.15 + 4 * 0.475 + 0.5 * 10 * 0.35 + 0.5 * 4 * 0.3
    assert objective.loss.item() == pytest.approx(7.6725, rel=1e-5)
    assert torch.allclose(objective.fake_a, grey(-0.25))
    assert torch.allclose(objective.fake_b, grey(0.2))


def test_without_identity_its_terms_are_gone() -> None:
    objective = generator_objective(lines(), grey(REAL_A), grey(REAL_B), LossConfig(lambda_identity=0))
    assert set(objective.terms) == {"gan_a2b", "gan_b2a", "cycle_a", "cycle_b"}
    assert objective.loss.item() == pytest.approx(0.36 + 1.5625 + 10 * 0.15 + 10 * 0.475, rel=1e-5)


def test_without_identity_the_domains_may_differ_in_channels() -> None:
    config = TrainConfig(generator=GENERATOR | {"out_channels": 1}, discriminator=DISCRIMINATOR)
    config.losses.lambda_identity = 0
    objective = generator_objective(
        build_networks(config), torch.rand(1, 3, 32, 32), torch.rand(2, 1, 32, 32), config.losses
    )
    assert objective.fake_b.shape == (1, 1, 32, 32)
    assert objective.fake_a.shape == (2, 3, 32, 32)


def test_the_generators_vanilla_loss() -> None:
    config = LossConfig(adversarial="vanilla", lambda_a=0, lambda_b=0)
    objective = generator_objective(lines(), grey(REAL_A), grey(REAL_B), config)
    # -log sigmoid(s) = log(1 + exp(-s)) at the scores 0.4 and -0.25
    assert objective.terms["gan_a2b"].item() == pytest.approx(math.log1p(math.exp(-0.4)), rel=1e-5)
    assert objective.terms["gan_b2a"].item() == pytest.approx(math.log1p(math.exp(0.25)), rel=1e-5)
    assert objective.loss.item() == pytest.approx(math.log1p(math.exp(-0.4)) + math.log1p(math.exp(0.25)), rel=1e-5)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("adversarial", "expected"),
    [
        # scores 0.8 on the real pictures and 0.4 on the fakes; half of (0.8 - 1)^2 + 0.4^2
        ("lsgan", 0.5 * (0.04 + 0.16)),
        ("vanilla", 0.5 * (math.log1p(math.exp(-0.8)) + math.log1p(math.exp(0.4)))),
    ],
)
def test_the_discriminators_loss_is_halved(adversarial: str, expected: float, together: bool) -> None:
    config = LossConfig(adversarial=adversarial)
    loss = discriminator_objective(Line(2.0), grey(0.4), grey(0.2), config, together)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_generators_objective_teaches_both_generators_only() -> None:
    networks = lines()
    for discriminator in networks.discriminators:
        discriminator.requires_grad_(False)
    objective = generator_objective(networks, grey(REAL_A), grey(REAL_B), LossConfig())
    objective.loss.backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for g in networks.generators for p in g.parameters())
    assert all(p.grad is None for d in networks.discriminators for p in d.parameters())
    assert not objective.fake_a.requires_grad
    assert not objective.fake_b.requires_grad


def test_each_term_teaches_the_generators_it_is_about() -> None:
    networks = lines()
    terms = generator_objective(networks, grey(REAL_A), grey(REAL_B), LossConfig()).terms
    forward, backward = networks.generator_a2b.gain, networks.generator_b2a.gain
    taught = {
        name: tuple(
            gradient is not None
            for gradient in torch.autograd.grad(term, (forward, backward), retain_graph=True, allow_unused=True)
        )
        for name, term in terms.items()
    }
    assert taught == {
        "gan_a2b": (True, False),
        "gan_b2a": (False, True),
        "cycle_a": (True, True),
        "cycle_b": (True, True),
        "identity_a": (False, True),
        "identity_b": (True, False),
    }


def test_the_discriminators_objective_teaches_that_discriminator_only() -> None:
    networks = lines()
    objective = generator_objective(networks, grey(REAL_A), grey(REAL_B), LossConfig())
    discriminator_objective(networks.discriminator_b, grey(REAL_B), objective.fake_b, LossConfig()).backward()
    assert networks.discriminator_b.gain.grad is not None
    others = [networks.discriminator_a, *networks.generators]
    assert all(parameter.grad is None for network in others for parameter in network.parameters())


def tiny_networks() -> Networks:
    return build_networks(TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR))


def test_one_batch_gives_what_separate_passes_give() -> None:
    networks, config = tiny_networks(), LossConfig()
    real_a, real_b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    found = []
    for together in (True, False):
        objective = generator_objective(networks, real_a, real_b, config, together)
        judged = discriminator_objective(networks.discriminator_b, real_b, objective.fake_b, config, together)
        networks_parameters = [p for network in vars(networks).values() for p in network.parameters()]
        gradients = torch.autograd.grad(objective.loss + judged, networks_parameters)
        values = {"loss": objective.loss, "judged": judged, "fake_a": objective.fake_a, "fake_b": objective.fake_b}
        values |= objective.terms | {str(index): gradient for index, gradient in enumerate(gradients)}
        found.append({name: value.detach() for name, value in values.items()})
    assert largest_difference(*found) < 1e-5
