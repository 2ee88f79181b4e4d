"""What discriminators say, and what follows from it for either side."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cyclegan_hf.losses.adversarial import adversarial_loss
from cyclegan_hf.losses.relativistic import dual_head_relativistic_loss, dual_head_score, relativistic_loss
from cyclegan_hf.metrics.discrimination import score_accuracy
from cyclegan_hf.training.config_groups import LossConfig


class Verdict(NamedTuple):
    """A discriminator's output.

    Attributes:
        patches (`torch.Tensor` of shape `(batch_size, channels, rows, columns)`): One score a patch.
        whole (`torch.Tensor` of shape `(batch_size, 1)`): One score a picture; `None` without a global head.
        features: What the heads stand on; `None` where the discriminator does not give it.
    """

    patches: torch.Tensor
    whole: torch.Tensor | None = None
    features: torch.Tensor | None = None

    def split(self, count: int) -> list[Verdict]:
        """Return the verdicts on each `count` images."""
        parts = [[None] * (len(self.patches) // count) if part is None else part.split(count) for part in self]
        return [Verdict(*one) for one in zip(*parts, strict=True)]


def judge(discriminator: nn.Module, pictures: torch.Tensor) -> Verdict:
    """Ask a discriminator about pictures in model space."""
    return Verdict(*discriminator(pictures, return_dict=False))


def judging_loss(on_real: Verdict, on_fake: Verdict, config: LossConfig) -> torch.Tensor:
    """Return the sum of a discriminator's losses on real and on fake images, before `discriminator_scale`."""
    if config.adversarial == "relativistic":
        return 2 * _relativistic(on_real, on_fake, config, for_generator=False)
    return _against(on_real, True, config) + _against(on_fake, False, config)


def fooling_loss(on_fake: Verdict, on_real: Verdict | None, config: LossConfig) -> torch.Tensor:
    """Return a generator's adversarial loss, which is low if its translations pass as real.

    Args:
        on_fake: The verdict on the translations.
        on_real: The verdict on real pictures; only the relativistic loss asks for it.
        config: Which loss.
    """
    if config.adversarial == "relativistic":
        if on_real is None:
            raise ValueError("The relativistic loss needs the verdict on real pictures, got none.")
        return _relativistic(on_real, on_fake, config, for_generator=True)
    return _against(on_fake, True, config, for_generator=True)


def score(verdict: Verdict, config: LossConfig) -> torch.Tensor:
    """One score a picture, of shape `(batch_size,)`: what the gradient penalty holds."""
    if verdict.whole is None:
        return verdict.patches.flatten(1).mean(1)
    return dual_head_score(verdict.patches, verdict.whole, config.patch_share)


@torch.no_grad()
def accuracy(on_real: Verdict, on_fake: Verdict, config: LossConfig) -> torch.Tensor:
    """Return a discriminator's accuracy on real and fake images in equal parts; 0.5 is guessing.

    See `cyclegan_hf.metrics.discrimination`.
    """
    return score_accuracy(score(on_real, config), score(on_fake, config), config.adversarial)


def _against(verdict: Verdict, real: bool, config: LossConfig, for_generator: bool = False) -> torch.Tensor:
    """Return the loss against one target, of both heads where there are two."""
    patches = adversarial_loss(verdict.patches, real, config.adversarial, for_generator)
    if verdict.whole is None:
        return patches
    whole = adversarial_loss(verdict.whole, real, config.adversarial, for_generator)
    return config.patch_share * patches + (1 - config.patch_share) * whole


def _relativistic(on_real: Verdict, on_fake: Verdict, config: LossConfig, for_generator: bool) -> torch.Tensor:
    if on_real.whole is None or on_fake.whole is None:
        return relativistic_loss(on_real.patches, on_fake.patches, for_generator=for_generator)
    return dual_head_relativistic_loss(
        (on_real.patches, on_real.whole), (on_fake.patches, on_fake.whole), for_generator, config.patch_share
    )
