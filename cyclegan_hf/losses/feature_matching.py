"""Feature matching on a discriminator's own features."""

from typing import Literal

import torch
from torch.nn import functional as F

from cyclegan_hf.losses.over_processes import mean_over_processes


FeatureStatistic = Literal["elementwise", "mean"]


def feature_matching_loss(
    on_fake: torch.Tensor, on_real: torch.Tensor, statistic: FeatureStatistic = "elementwise"
) -> torch.Tensor:
    """Return the L1 distance between features of translations and of unpaired real images of their domain.

    `"elementwise"` compares place by place (the course report `face2cartoon_attention`): with unpaired pictures it
    asks for what faces share, such as where they are, and also pulls towards a picture that has nothing to do with
    this one. `"mean"` compares what a channel is on average over batch and positions, so that only the two sets must
    agree (Salimans et al. 2016, section 3.1, with L1 for L2; over positions too, because batches are of one to three
    pictures here; over all processes).

    Args:
        on_fake (`torch.Tensor` of shape `(batch_size, channels, rows, columns)`): Features of translations.
        on_real (`torch.Tensor`): Features of real pictures, of the same shape (`"mean"`: of as many channels). They
            are a target: no gradient flows into them.
        statistic: What is compared.

    Returns:
        A scalar in fp32, at least 0.

    Raises:
        ValueError: If the shapes do not fit, or `statistic` is unknown.
    """
    on_fake, on_real = on_fake.float(), on_real.detach().float()
    match statistic:
        case "elementwise" if on_fake.shape == on_real.shape:
            return F.l1_loss(on_fake, on_real)
        case "mean" if on_fake.shape[1] == on_real.shape[1]:
            fake_mean, real_mean = mean_over_processes(torch.stack([on_fake.mean((0, 2, 3)), on_real.mean((0, 2, 3))]))
            return F.l1_loss(fake_mean, real_mean)
        case "elementwise" | "mean":
            raise ValueError(
                f"Features of one shape are expected (for 'mean', of as many channels), got {tuple(on_fake.shape)} "
                f"and {tuple(on_real.shape)}."
            )
    raise ValueError(f"`statistic` must be 'elementwise' or 'mean', got {statistic!r}.")
