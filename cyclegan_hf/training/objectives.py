"""What generators and discriminators minimise (Zhu et al. 2017, section 3): the one place where weights are applied.

Everything here is a function of networks and pictures in model space; nothing steps an optimiser or keeps a state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.feature_networks import EfficientNetLite
from cyclegan_hf.losses.color import color_consistency_loss
from cyclegan_hf.losses.edge import edge_consistency_loss
from cyclegan_hf.losses.feature_matching import feature_matching_loss
from cyclegan_hf.losses.gradient_penalty import gradient_penalty
from cyclegan_hf.losses.paired import paired_loss
from cyclegan_hf.losses.total_variation import total_variation_loss
from cyclegan_hf.training.config_groups import LossConfig
from cyclegan_hf.training.discriminator_outputs import Verdict, accuracy, fooling_loss, judge, judging_loss, score


Augment = Callable[[torch.Tensor], torch.Tensor]
"""Pictures as a discriminator is shown them: the same shape."""


@dataclass
class Networks:
    """The four networks. `discriminator_b` judges domain B."""

    generator_a2b: nn.Module
    generator_b2a: nn.Module
    discriminator_a: nn.Module
    discriminator_b: nn.Module

    @property
    def generators(self) -> list[nn.Module]:
        """Return both generators, A to B first."""
        return [self.generator_a2b, self.generator_b2a]

    @property
    def discriminators(self) -> list[nn.Module]:
        """Return both discriminators, A's first."""
        return [self.discriminator_a, self.discriminator_b]

    def hold_discriminators(self, held: bool) -> None:
        """Keep gradients out of the discriminators' parameters, or let them in again."""
        for discriminator in self.discriminators:
            discriminator.requires_grad_(not held)


class Translations(NamedTuple):
    """What the generators make of a batch.

    Attributes:
        fake_a, fake_b (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Translations into A and B.
        same_a, same_b (the same shapes): Pictures through the generator for their own domain; `None` without an
            identity loss.
        codes: By direction, what each pass of a generator that quantises says of its codes.
    """

    fake_a: torch.Tensor
    fake_b: torch.Tensor
    same_a: torch.Tensor | None
    same_b: torch.Tensor | None
    codes: dict[str, list[Codes]]

    def detach(self) -> Translations:
        """Return the same without gradient."""
        codes = {
            key: [Codes(*(value.detach() for value in one)) for one in found] for key, found in self.codes.items()
        }
        return Translations(*(None if picture is None else picture.detach() for picture in self[:4]), codes)


class Codes(NamedTuple):
    """A vector-quantised bottleneck's loss, the perplexity of its codes and the share of them in use; scalars."""

    loss: torch.Tensor
    perplexity: torch.Tensor
    usage: torch.Tensor


class Aligned(NamedTuple):
    """A picture, its known translation, and the frozen network by which a translation is compared with it.

    Attributes:
        direction: `"a2b"` or `"b2a"`.
        source (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Pictures in [-1, 1].
        target (`torch.Tensor` of the same shape): Their translations.
        network: See `paired_loss`.
    """

    direction: str
    source: torch.Tensor
    target: torch.Tensor
    network: EfficientNetLite


class Objective(NamedTuple):
    """A loss, its terms before weighting, and what is only looked at; scalars."""

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    measures: dict[str, torch.Tensor]

    def detach(self) -> Objective:
        """Return the same without gradient."""
        terms = {name: value.detach() for name, value in self.terms.items()}
        return Objective(self.loss.detach(), terms, {name: value.detach() for name, value in self.measures.items()})


def translate(
    networks: Networks, real_a: torch.Tensor, real_b: torch.Tensor, config: LossConfig, together: bool = True
) -> Translations:
    """Translate both pictures, and put each through the generator for its own domain where there is an identity loss.

    Args:
        networks: The networks.
        real_a (`torch.Tensor` of shape `(batch_size, channels_a, height, width)`): Pictures of domain A.
        real_b (`torch.Tensor` of shape `(batch_size, channels_b, height, width)`): Pictures of domain B.
        config: Whether there is an identity loss.
        together: Put a translation and an identity through the generator as one batch. The mathematics is the same
            where no layer mixes the pictures of a batch (batch norm does), and it is faster.
    """
    a2b, b2a = networks.generator_a2b, networks.generator_b2a
    codes: dict[str, list[Codes]] = {"a2b": [], "b2a": []}
    if config.lambda_identity == 0:
        fake_b, fake_a = _generate(a2b, real_a, codes["a2b"]), _generate(b2a, real_b, codes["b2a"])
        return Translations(fake_a, fake_b, None, None, codes)
    if together:
        fake_b, same_b = _generate(a2b, torch.cat([real_a, real_b]), codes["a2b"]).split([len(real_a), len(real_b)])
        fake_a, same_a = _generate(b2a, torch.cat([real_b, real_a]), codes["b2a"]).split([len(real_b), len(real_a)])
    else:
        fake_b, fake_a = _generate(a2b, real_a, codes["a2b"]), _generate(b2a, real_b, codes["b2a"])
        same_b, same_a = _generate(a2b, real_b, codes["a2b"]), _generate(b2a, real_a, codes["b2a"])
    return Translations(fake_a, fake_b, same_a, same_b, codes)


def generator_objective(
    networks: Networks,
    translations: Translations,
    real_a: torch.Tensor,
    real_b: torch.Tensor,
    config: LossConfig,
    weights: dict[str, float],
    augment: Augment | None = None,
    aligned: Aligned | None = None,
) -> Objective:
    """Compute the loss of both generators.

    Args:
        networks: The networks; the discriminators' parameters should not require gradients.
        translations: What `translate` made of the same pictures.
        real_a (`torch.Tensor` of shape `(batch_size, channels_a, height, width)`): Pictures of domain A.
        real_b (`torch.Tensor` of shape `(batch_size, channels_b, height, width)`): Pictures of domain B.
        config: Which terms.
        weights: A weight for each term, from `term_weights`.
        augment: What a discriminator sees instead of a picture.
        aligned: A picture with a known translation.
    """
    shown = augment or _as_it_is
    terms, measures = {}, {}
    codes = {direction: list(found) for direction, found in translations.codes.items()}
    a2b, b2a = networks.generator_a2b, networks.generator_b2a
    for direction, back, way_back, discriminator, cycle, real, target, fake in (
        ("a2b", "b2a", b2a, networks.discriminator_b, "cycle_a", real_a, real_b, translations.fake_b),
        ("b2a", "a2b", a2b, networks.discriminator_a, "cycle_b", real_b, real_a, translations.fake_a),
    ):
        on_fake = judge(discriminator, shown(fake))
        on_target: Verdict | None = None
        if config.adversarial == "relativistic" or config.lambda_feature > 0:
            with torch.no_grad():
                on_target = judge(discriminator, shown(target))
        terms[f"gan_{direction}"] = fooling_loss(on_fake, on_target, config)
        terms[cycle] = F.l1_loss(_generate(way_back, fake, codes[back]), real)
        if config.lambda_feature > 0 and on_target is not None:
            terms[f"feature_{direction}"] = feature_matching_loss(
                on_fake.features, on_target.features, config.feature_matching
            )
        if config.lambda_edge > 0:
            terms[f"edge_{direction}"] = edge_consistency_loss(real, fake)
        if config.lambda_color > 0:
            terms[f"color_{direction}"] = color_consistency_loss(real, fake)
        if config.lambda_tv > 0:
            terms[f"tv_{direction}"] = total_variation_loss(fake)
    if translations.same_a is not None and translations.same_b is not None:
        terms["identity_a"] = F.l1_loss(translations.same_a, real_a)
        terms["identity_b"] = F.l1_loss(translations.same_b, real_b)
    for direction, found in codes.items():
        if found:  # of every pass: a codebook that some pass leaves without a gradient stops distributed training
            terms[f"quantization_{direction}"] = torch.stack([one.loss for one in found]).mean()
            measures[f"perplexity_{direction}"] = torch.stack([one.perplexity for one in found]).mean()
            measures[f"code_usage_{direction}"] = torch.stack([one.usage for one in found]).mean()
    if aligned is not None:
        generator = a2b if aligned.direction == "a2b" else b2a
        found = _generate(generator, aligned.source, [])
        terms[f"pairs_{aligned.direction}"] = paired_loss(found, aligned.target, aligned.network)
    loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros((), device=real_a.device))
    return Objective(loss, terms, measures)


def discriminator_objective(
    discriminator: nn.Module,
    real: torch.Tensor,
    fake: torch.Tensor,
    config: LossConfig,
    together: bool = True,
    raw: nn.Module | None = None,
    random: torch.Generator | None = None,
    source: torch.Tensor | None = None,
    augment: Augment | None = None,
) -> Objective:
    """Return a discriminator's loss on real and on fake images, by default half the sum (Zhu et al. 2017, section 4: halved, so that it learns slower).

    Args:
        discriminator: The judge of one domain.
        real (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Its pictures.
        fake (`torch.Tensor` of the same shape): Translations into its domain, from the pool, without gradient.
        config: Which terms, and their weights.
        together: Judge real and fake as one batch; see `translate`.
        raw: The discriminator without compilation, for the gradient penalty: compiled code has no second derivative.
        random: The penalty's random numbers.
        source (`torch.Tensor` of the same shape): Real pictures of the other domain, for `lambda_source`.
        augment: What it sees instead of a picture.
    """  # noqa: E501
    if augment is not None:
        real, fake, source = augment(real), augment(fake), None if source is None else augment(source)
    pictures = [real, fake] if source is None else [real, fake, source]
    if together:
        on_real, on_fake, *on_source = judge(discriminator, torch.cat(pictures)).split(len(real))
    else:
        on_real, on_fake, *on_source = [judge(discriminator, part) for part in pictures]
    terms = {}
    lesson = judging_loss(on_real, on_fake, config)
    for verdict in on_source:
        terms["source"] = judging_loss(on_real, verdict, config)
        lesson = (1 - config.lambda_source) * lesson + config.lambda_source * terms["source"]
    loss = config.discriminator_scale * lesson
    if config.lambda_penalty > 0:
        critic = raw if raw is not None else discriminator

        def scored(sample: torch.Tensor) -> torch.Tensor:
            # Past what accelerate puts around a prepared network's `forward`: autocast.
            return score(Verdict(*type(critic).forward(critic, sample, return_dict=False)), config)

        terms["penalty"] = gradient_penalty(scored, real, fake, random)
        loss = loss + config.lambda_penalty * terms["penalty"]
    return Objective(loss, terms, {"accuracy": accuracy(on_real, on_fake, config)})


def term_weights(config: LossConfig, step: int) -> dict[str, float]:
    """Return the weight of every term at a step, from 1, with warm-ups."""
    identity = _risen(step, config.identity_warmup_steps) * config.lambda_identity
    cycle = _risen(step, config.cycle_warmup_steps)
    weights = {
        "cycle_a": cycle * config.lambda_a,
        "cycle_b": cycle * config.lambda_b,
        "identity_a": identity * config.lambda_a,
        "identity_b": identity * config.lambda_b,
    }
    for direction in ("a2b", "b2a"):
        weights |= {
            f"gan_{direction}": config.lambda_gan,
            f"feature_{direction}": config.lambda_feature,
            f"edge_{direction}": config.lambda_edge,
            f"color_{direction}": config.lambda_color,
            f"tv_{direction}": config.lambda_tv,
            f"pairs_{direction}": config.lambda_pairs,
            f"quantization_{direction}": config.lambda_quantization,
        }
    return weights


def adaptive_terms(config: LossConfig) -> list[str]:
    """Return the terms whose weights `losses.adaptive` adapts: all of every step but the codebooks' own."""
    least = {name for name, weight in term_weights(config, step=10**9).items() if weight > 0}
    return sorted(name for name in least if not name.startswith(("quantization", "pairs")))


def _as_it_is(pictures: torch.Tensor) -> torch.Tensor:
    return pictures


def _risen(step: int, steps: int) -> float:
    """How far a weight that rises over `steps` steps has come."""
    return min(1.0, step / steps) if steps > 0 else 1.0


def _generate(generator: nn.Module, pictures: torch.Tensor, codes: list[Codes]) -> torch.Tensor:
    """Return a generator's images; append its codes to `codes` if it quantises."""
    sample, *quantised = generator(pictures, return_dict=False)
    if quantised:
        codes.append(Codes(*(value.float() for value in quantised)))
    # Back to fp32 where the forward ran in half precision: losses and pools are kept in full.
    return sample.float()
