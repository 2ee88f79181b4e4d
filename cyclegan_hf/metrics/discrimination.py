"""Accuracy of a discriminator."""

import torch


def score_accuracy(on_real: torch.Tensor, on_fake: torch.Tensor, adversarial: str) -> torch.Tensor:
    """Return the accuracy on real and fake images in equal parts; 0.5 is guessing.

    A picture is taken for real where its score is above the threshold: half-way between the targets of least squares
    (the course report `human2anime`'s 0.5 of a probability), 0 of a logit, and the mean of all scores where only their
    order says anything (Wasserstein, relativistic).

    Args:
        on_real (`torch.Tensor` of shape `(n,)`): One score a real picture.
        on_fake (`torch.Tensor` of shape `(m,)`): One score a translation.
        adversarial: The loss that the discriminator was trained with.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: If there is no such loss.
    """
    real, fake = on_real.float(), on_fake.float()
    match adversarial:
        case "lsgan":
            threshold = torch.full_like(real[0], 0.5)
        case "vanilla" | "hinge":
            threshold = torch.zeros_like(real[0])
        case "wgan" | "relativistic":
            threshold = (real.mean() + fake.mean()) / 2
        case _:
            raise ValueError(f"Expected an adversarial loss that is known, got {adversarial!r}.")
    return ((real > threshold).float().mean() + (fake <= threshold).float().mean()) / 2
