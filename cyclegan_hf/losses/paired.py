"""The distance of a translation from a known target, for aligned pairs."""

import torch
from torch.nn import functional as F

from cyclegan_hf.feature_networks import EfficientNetLite


FEATURE_WEIGHT = 0.5


def paired_loss(translation: torch.Tensor, target: torch.Tensor, network: EfficientNetLite) -> torch.Tensor:
    """Return the distance of a translation from its target: of the pixels, and of a frozen network's features.

    Features (Johnson et al. 2016, "Perceptual Losses", section 3.2) ask for texture where a distance of pixels alone
    is smallest for a blur. Each level's distance is divided by the mean size of the target's features.

    Args:
        translation (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Images in [-1, 1].
        target (`torch.Tensor` of the same shape): What they should be.
        network: The frozen network, of whose `levels` the finer three are compared.

    Returns:
        A scalar: the mean absolute difference of the pixels, plus `FEATURE_WEIGHT` times that of the features.
    """
    with torch.no_grad():
        wanted = network.levels((target + 1) / 2)[:3]
    found = network.levels((translation + 1) / 2)[:3]
    features = [F.l1_loss(one, other) / other.abs().mean() for one, other in zip(found, wanted, strict=True)]
    return F.l1_loss(translation, target) + FEATURE_WEIGHT * torch.stack(features).mean()
