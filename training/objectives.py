"""What generators and discriminators minimise (Zhu et al. 2017, section 3): the one place where weights are applied.

Everything here is a function of networks and pictures in [-1, 1]; nothing steps an optimiser or keeps a state.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.losses.adversarial import adversarial_loss
from training.config import LossConfig


@dataclass
class Networks:
    """The four networks. `discriminator_b` judges domain B."""

    generator_a2b: nn.Module
    generator_b2a: nn.Module
    discriminator_a: nn.Module
    discriminator_b: nn.Module

    @property
    def generators(self) -> list[nn.Module]:
        return [self.generator_a2b, self.generator_b2a]

    @property
    def discriminators(self) -> list[nn.Module]:
        return [self.discriminator_a, self.discriminator_b]


class GeneratorObjective(NamedTuple):
    """The generators' loss, its terms before weighting, and the translations, without gradient."""

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    fake_a: torch.Tensor
    fake_b: torch.Tensor


def generator_objective(
    networks: Networks, real_a: torch.Tensor, real_b: torch.Tensor, config: LossConfig, together: bool = True
) -> GeneratorObjective:
    """Adversarial, cycle and identity terms of both generators.

    Args:
        networks: The networks; the discriminators' parameters should not require gradients.
        real_a (`torch.Tensor` of shape `(batch_size, channels_a, height, width)`): Pictures of domain A in [-1, 1].
        real_b (`torch.Tensor` of shape `(batch_size, channels_b, height, width)`): Pictures of domain B in [-1, 1].
        config: Terms and weights.
        together: Put a translation and an identity through the generator as one batch. The mathematics is the same
            where no layer mixes the pictures of a batch (batch norm does), and it is faster.

    Returns:
        The weighted loss, the terms, and the fakes for the discriminators.
    """
    a2b, b2a = networks.generator_a2b, networks.generator_b2a
    identity = config.lambda_identity > 0
    if identity and together:
        fake_b, same_b = _translate(a2b, torch.cat([real_a, real_b])).split([len(real_a), len(real_b)])
        fake_a, same_a = _translate(b2a, torch.cat([real_b, real_a])).split([len(real_b), len(real_a)])
    else:
        fake_b, fake_a = _translate(a2b, real_a), _translate(b2a, real_b)

    terms = {
        "gan_a2b": adversarial_loss(_judge(networks.discriminator_b, fake_b), True, config.adversarial),
        "gan_b2a": adversarial_loss(_judge(networks.discriminator_a, fake_a), True, config.adversarial),
        "cycle_a": F.l1_loss(_translate(b2a, fake_b), real_a),
        "cycle_b": F.l1_loss(_translate(a2b, fake_a), real_b),
    }
    weights = {"gan_a2b": 1.0, "gan_b2a": 1.0, "cycle_a": config.lambda_a, "cycle_b": config.lambda_b}
    if identity:
        if not together:
            same_b, same_a = _translate(a2b, real_b), _translate(b2a, real_a)
        terms |= {"identity_a": F.l1_loss(same_a, real_a), "identity_b": F.l1_loss(same_b, real_b)}
        weights |= {
            "identity_a": config.lambda_identity * config.lambda_a,
            "identity_b": config.lambda_identity * config.lambda_b,
        }
    loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros((), device=real_a.device))
    return GeneratorObjective(loss, terms, fake_a.detach(), fake_b.detach())


def discriminator_objective(
    discriminator: nn.Module, real: torch.Tensor, fake: torch.Tensor, config: LossConfig, together: bool = True
) -> torch.Tensor:
    """Half the sum of a discriminator's losses on real and on fake pictures (Zhu et al. 2017, section 4: halved, so that it learns slower).

    Args:
        discriminator: The judge of one domain.
        real (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Its pictures in [-1, 1].
        fake (`torch.Tensor` of the same shape): Translations into its domain, from the pool, without gradient.
        config: The adversarial loss.
        together: Judge real and fake as one batch; see `generator_objective`.

    Returns:
        A scalar.
    """  # noqa: E501
    if together:
        on_real, on_fake = _judge(discriminator, torch.cat([real, fake])).split([len(real), len(fake)])
    else:
        on_real, on_fake = _judge(discriminator, real), _judge(discriminator, fake)
    return 0.5 * (
        adversarial_loss(on_real, True, config.adversarial) + adversarial_loss(on_fake, False, config.adversarial)
    )


def _translate(generator: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    # Back to fp32 where the forward ran in half precision: losses and pools are kept in full.
    return generator(pictures, return_dict=False)[0].float()


def _judge(discriminator: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return discriminator(pictures, return_dict=False)[0]
