"""The two objectives, on networks that are a line each, y = gain * x + bias: every value is worked out by hand."""

import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import LossConfig
from cyclegan_hf.training.objectives import (
    Networks,
    Objective,
    Translations,
    adaptive_terms,
    discriminator_objective,
    generator_objective,
    term_weights,
    translate,
)
from cyclegan_hf.training.step import TrainingStep
from tests.training.tiny import DISCRIMINATOR, GENERATOR, largest_difference, tiny_config


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


def objectives_of(
    networks: Networks, real_a: torch.Tensor, real_b: torch.Tensor, config: LossConfig, together: bool = True
) -> tuple[Translations, Objective]:
    translations = translate(networks, real_a, real_b, config, together)
    weights = term_weights(config, step=1)
    return translations, generator_objective(networks, translations, real_a, real_b, config, weights)


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
    translations, objective = objectives_of(lines(), grey(REAL_A), grey(REAL_B), config, together)
    assert {name: term.item() for name, term in objective.terms.items()} == pytest.approx(TERMS, rel=1e-5)
    # 0.36 + 1.5625 + 10 * 0.15 + 4 * 0.475 + 0.5 * 10 * 0.35 + 0.5 * 4 * 0.3
    assert objective.loss.item() == pytest.approx(7.6725, rel=1e-5)
    assert torch.allclose(translations.fake_a, grey(-0.25))
    assert torch.allclose(translations.fake_b, grey(0.2))


def test_without_identity_its_terms_are_gone() -> None:
    _, objective = objectives_of(lines(), grey(REAL_A), grey(REAL_B), LossConfig(lambda_identity=0))
    assert set(objective.terms) == {"gan_a2b", "gan_b2a", "cycle_a", "cycle_b"}
    assert objective.loss.item() == pytest.approx(0.36 + 1.5625 + 10 * 0.15 + 10 * 0.475, rel=1e-5)


def test_without_identity_the_domains_may_differ_in_channels() -> None:
    config = TrainConfig(generator=GENERATOR | {"out_channels": 1}, discriminator=DISCRIMINATOR)
    config.losses.lambda_identity = 0
    translations, _ = objectives_of(
        build_networks(config), torch.rand(1, 3, 32, 32), torch.rand(2, 1, 32, 32), config.losses
    )
    assert translations.fake_b.shape == (1, 1, 32, 32)
    assert translations.fake_a.shape == (2, 3, 32, 32)


def test_the_generators_vanilla_loss() -> None:
    config = LossConfig(adversarial="vanilla", lambda_a=0, lambda_b=0)
    _, objective = objectives_of(lines(), grey(REAL_A), grey(REAL_B), config)
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
    loss = discriminator_objective(Line(2.0), grey(0.4), grey(0.2), config, together).loss
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("together", [True, False])
def test_the_other_domains_pictures_are_a_share_of_the_discriminators_lesson(together: bool) -> None:
    config = LossConfig(lambda_source=0.25)
    judged = discriminator_objective(Line(2.0), grey(0.4), grey(0.2), config, together, source=grey(0.3))
    # scores 0.8, 0.4 and 0.6: (0.8 - 1)^2 + 0.4^2 = 0.2 against fakes, (0.8 - 1)^2 + 0.6^2 = 0.4 against the source
    assert judged.terms["source"].item() == pytest.approx(0.4, rel=1e-5)
    assert judged.loss.item() == pytest.approx(0.5 * (0.75 * 0.2 + 0.25 * 0.4), rel=1e-5)
    assert judged.measures["accuracy"].item() == 1  # of real and fake: the source does not count


class Listing(Line):
    """Keeps the grey level of each picture that it gets."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        self.levels = sample[:, 0, 0, 0].tolist()
        return super().forward(sample, return_dict)


def test_each_discriminator_gets_the_other_domains_pictures(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, losses={"lambda_source": 0.5, "lambda_identity": 0.0})
    networks = Networks(Line(0.5), Line(-0.5), Listing(1.0), Listing(1.0))
    step = TrainingStep(networks, networks, config, Accelerator(cpu=True))
    step(1, 1.0, lambda: {"a": grey(REAL_A)[:1], "b": grey(REAL_B)[:1]})
    assert networks.discriminator_a.levels == pytest.approx([REAL_A, -0.5 * REAL_B, REAL_B], rel=1e-5)
    assert networks.discriminator_b.levels == pytest.approx([REAL_B, 0.5 * REAL_A, REAL_A], rel=1e-5)


def test_the_discriminators_see_augmented_pictures_of_every_kind() -> None:
    seen: list[float] = []

    def darker(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures[0, 0, 0, 0].item())
        return pictures - 0.1

    config = LossConfig(lambda_source=0.5)
    judged = discriminator_objective(Line(1.0), grey(0.4), grey(0.2), config, source=grey(0.3), augment=darker)
    same = discriminator_objective(Line(1.0), grey(0.3), grey(0.1), config, source=grey(0.2))
    assert judged.loss.item() == pytest.approx(same.loss.item(), rel=1e-5)
    assert seen == pytest.approx([0.4, 0.2, 0.3], rel=1e-5)

    seen.clear()
    networks, config = lines(), LossConfig(adversarial="relativistic")
    translations = translate(networks, grey(REAL_A), grey(REAL_B), config)
    weights = term_weights(config, step=1)
    judged = generator_objective(networks, translations, grey(REAL_A), grey(REAL_B), config, weights, darker)
    plain = generator_objective(networks, translations, grey(REAL_A), grey(REAL_B), config, weights)
    # What fools and what it is compared with; cycle and identity are of the pictures themselves.
    assert seen == pytest.approx([0.5 * REAL_A, REAL_B, REAL_B + 0.35, REAL_A], rel=1e-5)
    assert (
        judged.terms["cycle_a"] == plain.terms["cycle_a"] and judged.terms["identity_b"] == plain.terms["identity_b"]
    )


def test_a_step_augments_for_both_sides(tmp_path: Path) -> None:
    losses = {"lambda_identity": 0.0, "discriminator_augmentation": ["cutout"]}
    networks = Networks(Line(0.5), Line(-0.5), Listing(1.0), Listing(1.0))
    step = TrainingStep(networks, networks, tiny_config(tmp_path, losses=losses), Accelerator(cpu=True))
    white = torch.ones(8, 3, 4, 4)
    shown: list[list[float]] = []
    for discriminator in networks.discriminators:
        discriminator.register_forward_hook(lambda *_: shown.append([*map(float, _[1][0].mean(dim=(1, 2, 3)))]))
    step(1, 1.0, lambda: {"a": white, "b": white})
    assert len(shown) == 4  # each discriminator once with the generators' pictures and once with both
    assert all(len(set(map(abs, means))) > 1 for means in shown)  # cut differently: else all would be as bright


def test_the_generators_objective_teaches_both_generators_only() -> None:
    networks = lines()
    for discriminator in networks.discriminators:
        discriminator.requires_grad_(False)
    _, objective = objectives_of(networks, grey(REAL_A), grey(REAL_B), LossConfig())
    objective.loss.backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for g in networks.generators for p in g.parameters())
    assert all(p.grad is None for d in networks.discriminators for p in d.parameters())


def test_each_term_teaches_the_generators_it_is_about() -> None:
    networks = lines()
    terms = objectives_of(networks, grey(REAL_A), grey(REAL_B), LossConfig())[1].terms
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
    fake = translate(networks, grey(REAL_A), grey(REAL_B), LossConfig()).fake_b.detach()
    discriminator_objective(networks.discriminator_b, grey(REAL_B), fake, LossConfig()).loss.backward()
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
        translations, objective = objectives_of(networks, real_a, real_b, config, together)
        fake = translations.fake_b.detach()
        judged = discriminator_objective(networks.discriminator_b, real_b, fake, config, together).loss
        networks_parameters = [p for network in vars(networks).values() for p in network.parameters()]
        gradients = torch.autograd.grad(objective.loss + judged, networks_parameters)
        values = {
            "loss": objective.loss,
            "judged": judged,
            "fake_a": translations.fake_a,
            "fake_b": translations.fake_b,
        }
        values |= objective.terms | {str(index): gradient for index, gradient in enumerate(gradients)}
        found.append({name: value.detach() for name, value in values.items()})
    assert largest_difference(*found) < 1e-5


def test_warm_ups_raise_the_cycle_and_identity_weights_in_a_line() -> None:
    config = LossConfig(lambda_a=10, lambda_b=4, lambda_identity=0.5, cycle_warmup_steps=4, identity_warmup_steps=8)
    found = [term_weights(config, step) for step in (1, 4, 6, 8, 100)]
    assert [weights["cycle_a"] for weights in found] == [2.5, 10, 10, 10, 10]
    assert [weights["cycle_b"] for weights in found] == [1, 4, 4, 4, 4]
    # the share of `lambda_a` rises on its own: 1/8 of 0.5 * 10, then a half, 6/8 and all of it
    assert [weights["identity_a"] for weights in found] == [0.625, 2.5, 3.75, 5, 5]
    assert all(weights["gan_a2b"] == 1 for weights in found)


def test_the_terms_that_adapt_are_those_that_are_on() -> None:
    assert adaptive_terms(LossConfig(lambda_identity=0, lambda_edge=1)) == [
        *("cycle_a", "cycle_b", "edge_a2b", "edge_b2a", "gan_a2b", "gan_b2a")
    ]


class DualLine(Line):
    """A judge with two heads: the line as patches and features, its mean less 0.1 as the score of the whole."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor, ...]:
        (line,) = super().forward(sample, return_dict)
        return line, line.flatten(1).mean(1, keepdim=True) - 0.1, line


def dual() -> Networks:
    networks = lines()
    networks.discriminator_a, networks.discriminator_b = DualLine(1.0), DualLine(2.0)
    return networks


def test_two_heads_share_the_adversarial_loss() -> None:
    config = LossConfig(lambda_a=0, lambda_b=0, lambda_identity=0, patch_share=0.7)
    _, objective = objectives_of(dual(), grey(REAL_A), grey(REAL_B), config)
    # D_b of 0.2: patches 0.4, whole 0.3: 0.7 * 0.6^2 + 0.3 * 0.7^2
    assert objective.terms["gan_a2b"].item() == pytest.approx(0.7 * 0.36 + 0.3 * 0.49, rel=1e-5)


def test_the_relativistic_form_compares_with_the_other_sides_mean() -> None:
    config = LossConfig(adversarial="relativistic", patch_share=0.7, discriminator_scale=0.5)
    judged = discriminator_objective(DualLine(2.0), grey(0.4), grey(0.2), config)

    def entropy(logit: float, target: int) -> float:
        return math.log1p(math.exp(-logit if target else logit))

    # patches 0.8 and 0.4: (0.4 - 1)^2 and (-0.4)^2; wholes 0.7 and 0.3: logits 0.4 to "real" and -0.4 to "fake"
    patch, whole = (0.36 + 0.16) / 2, (entropy(0.4, 1) + entropy(-0.4, 0)) / 2
    assert judged.loss.item() == pytest.approx(0.7 * patch + 0.3 * whole, rel=1e-5)
    _, objective = objectives_of(dual(), grey(REAL_A), grey(REAL_B), config)
    # D_b: patches 0.4 of the fake and -1.2 of the real b, wholes 0.3 and -1.3: the generator swaps the targets
    patch, whole = ((1.6 - 1) ** 2 + 1.6**2) / 2, (entropy(1.6, 1) + entropy(-1.6, 0)) / 2
    assert objective.terms["gan_a2b"].item() == pytest.approx(0.7 * patch + 0.3 * whole, rel=1e-5)


def test_feature_edge_and_colour_terms() -> None:
    config = LossConfig(lambda_feature=5, lambda_color=2, lambda_edge=3, lambda_a=0, lambda_b=0, lambda_gan=0)
    _, objective = objectives_of(dual(), grey(REAL_A), grey(REAL_B), config)
    values = {name: term.item() for name, term in objective.terms.items()}
    # features of D_b: 2 * 0.2 of the fake, 2 * -0.6 of the real picture; of D_a: -0.25 and 0.4
    assert (values["feature_a2b"], values["feature_b2a"]) == pytest.approx((1.6, 0.65), rel=1e-5)
    assert (values["color_a2b"], values["color_b2a"]) == pytest.approx((0.2, 0.35), rel=1e-5)
    assert (values["edge_a2b"], values["edge_b2a"]) == pytest.approx((0, 0), abs=1e-6)
    assert objective.loss.item() == pytest.approx(5 * (1.6 + 0.65) + 2 * (0.2 + 0.35), rel=1e-5)


def test_the_total_variation_of_the_translations_is_a_term() -> None:
    stripes = grey(0.4)
    stripes[..., 1::2] = -0.4  # from column to column 0.8; through the generators, lines: 0.5 * 0.8 and 1 * 0.8
    _, objective = objectives_of(
        lines(), stripes, stripes, LossConfig(lambda_tv=3, lambda_gan=0, lambda_a=0, lambda_b=0)
    )
    assert objective.terms["tv_a2b"].item() == pytest.approx(0.4, rel=1e-5)
    assert objective.terms["tv_b2a"].item() == pytest.approx(0.8, rel=1e-5)
    assert objective.loss.item() == pytest.approx(3 * 1.2, rel=1e-5)


def test_the_penalty_is_the_slope_less_one_squared() -> None:
    # the score is the mean of 2 x over 48 values: a gradient of 2/48 each, so of length 2 / sqrt(48)
    config = LossConfig(lambda_penalty=10, discriminator_scale=0)
    judged = discriminator_objective(Line(2.0), grey(0.4), grey(0.2), config)
    assert judged.loss.item() == pytest.approx(10 * (2 / math.sqrt(48) - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("adversarial", "gain", "expected"),
    [
        ("lsgan", 2.0, 1.0),  # scores 0.8 and 0.4 lie on the right sides of 0.5
        ("lsgan", 1.0, 0.5),  # 0.4 and 0.2: both taken for fake
        ("vanilla", 1.0, 0.5),  # both above 0: both taken for real
        ("wgan", 1.0, 1.0),  # the real one has the higher score
        ("wgan", -1.0, 0.0),
    ],
)
def test_the_accuracy_of_a_discriminator(adversarial: str, gain: float, expected: float) -> None:
    config = LossConfig(adversarial=adversarial)
    judged = discriminator_objective(Line(gain), grey(0.4), grey(0.2), config)
    assert judged.measures["accuracy"].item() == expected


class CodeLine(Line):
    """A line that says of its codes: a loss of its gain, a perplexity and a usage."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor, ...]:
        return *super().forward(sample, return_dict), self.gain, self.gain.new_tensor(7.0), self.gain.new_tensor(0.5)


@pytest.mark.parametrize("together", [True, False])
def test_the_codes_of_every_pass_count(together: bool) -> None:
    networks = lines()
    networks.generator_a2b, networks.generator_b2a = CodeLine(0.5), CodeLine(1.0, 0.35)
    translations, objective = objectives_of(networks, grey(REAL_A), grey(REAL_B), LossConfig(), together)
    assert len(translations.codes["a2b"]) == (1 if together else 2)
    assert objective.terms["quantization_a2b"].item() == pytest.approx(0.5)
    assert objective.terms["quantization_b2a"].item() == pytest.approx(1.0)
    assert objective.measures["perplexity_b2a"].item() == 7
    assert objective.measures["code_usage_a2b"].item() == 0.5
    assert objective.loss.item() == pytest.approx(
        objectives_of(lines(), grey(REAL_A), grey(REAL_B), LossConfig())[1].loss.item() + 1.5
    )
