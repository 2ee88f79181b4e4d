"""Relativistic average losses (Jolicoeur-Martineau 2018): is a real picture more real than the fakes are on average?

Also for a discriminator with a patch head and a global head, as in the course report `face2cartoon_attention`.
"""

import torch

from cyclegan_hf.losses.adversarial import AdversarialLoss, adversarial_loss
from cyclegan_hf.losses.over_processes import mean_over_processes


# The report's eq. 1.2: what the patch head's part weighs; the global head has the rest.
PATCH_SHARE = 0.7


def relativistic_loss(
    on_real: torch.Tensor, on_fake: torch.Tensor, kind: AdversarialLoss = "lsgan", for_generator: bool = False
) -> torch.Tensor:
    """Return the adversarial loss of scores minus the mean score of the other side.

    The discriminator wants `on_real - mean(on_fake)` to say "real" and `on_fake - mean(on_real)` to say "fake"; the
    generator wants the opposite of both (Jolicoeur-Martineau 2018, section 4, "Relativistic average GANs"). The means
    are over batch and positions, and over all processes; gradients flow through them. The targets of `"lsgan"` are 1
    and 0 as in the report (the paper's are 1 and -1).

    Args:
        on_real (`torch.Tensor` of any shape): Unbounded scores of real pictures.
        on_fake (`torch.Tensor` of any shape): Unbounded scores of translations into their domain.
        kind: The loss of the differences, with a discriminator's form on both sides.
        for_generator: Whether the generator is trained: the targets are swapped.

    Returns:
        A scalar in fp32: the average of the two sides.
    """
    on_real, on_fake = on_real.float(), on_fake.float()
    real_mean, fake_mean = mean_over_processes(torch.stack([on_real.mean(), on_fake.mean()]))
    real_side = adversarial_loss(on_real - fake_mean, not for_generator, kind)
    fake_side = adversarial_loss(on_fake - real_mean, for_generator, kind)
    return 0.5 * (real_side + fake_side)


def dual_head_relativistic_loss(
    on_real: tuple[torch.Tensor, torch.Tensor],
    on_fake: tuple[torch.Tensor, torch.Tensor],
    for_generator: bool = False,
    patch_share: float = PATCH_SHARE,
) -> torch.Tensor:
    """Return relativistic least squares on patches plus cross-entropy on whole images (the report's eq. 1.2).

    Args:
        on_real (pair of `torch.Tensor` of shapes `(batch_size, 1, patch_rows, patch_columns)` and `(batch_size, 1)`):
            Patch scores and global logits of real pictures, both unbounded.
        on_fake (a like pair): Those of translations into their domain.
        for_generator: Whether the generator is trained.
        patch_share: Weight of the patches, in [0, 1]; the global head has the rest.

    Returns:
        A scalar in fp32, at least 0.
    """
    patch = relativistic_loss(on_real[0], on_fake[0], "lsgan", for_generator)
    whole = relativistic_loss(on_real[1], on_fake[1], "vanilla", for_generator)
    return patch_share * patch + (1 - patch_share) * whole


def dual_head_score(patch: torch.Tensor, whole: torch.Tensor, patch_share: float = PATCH_SHARE) -> torch.Tensor:
    """Return one score per image from both heads, for `gradient_penalty`.

    Args:
        patch (`torch.Tensor` of shape `(batch_size, 1, patch_rows, patch_columns)`): Patch scores.
        whole (`torch.Tensor` of shape `(batch_size, 1)`): Global logits.
        patch_share: Weight of the mean patch score, in [0, 1]; the global logit has the rest.

    Returns:
        Tensor of shape `(batch_size,)`.
    """
    return patch_share * patch.flatten(1).mean(1) + (1 - patch_share) * whole.reshape(len(whole), -1).mean(1)
