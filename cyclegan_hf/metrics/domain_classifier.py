"""Which of two domains a picture is taken for, by a small classifier of their real pictures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F


CELLS = 2
"""Cells a side in which mean and deviation are taken: skies are above."""
LEVELS = 4
"""Halvings of the picture at which textures are told by their strength."""
BINS = 4
"""Of each channel, in the joint histogram of the colours."""
RIDGE = 0.3
"""Penalty of the weights beside features of variance 1; by cross-validation on 431 photos of seasons."""
_FLOOR = 1e-3


def domain_features(images: torch.Tensor) -> torch.Tensor:
    """What the classifier sees of pictures.

    Means and standard deviations in `CELLS` × `CELLS` cells, strengths of the details at `LEVELS` scales, and the
    square roots of a joint histogram of the colours with `BINS` levels a channel.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].

    Returns:
        Tensor of shape `(batch_size, features)`: 88 + 12 of pictures with 3 channels.
    """
    images = images.float()
    mean = F.adaptive_avg_pool2d(images, CELLS)
    deviation = (F.adaptive_avg_pool2d(images.square(), CELLS) - mean.square()).clamp(min=0).sqrt()
    found = [mean.flatten(1), deviation.flatten(1)]
    coarse = images
    for _ in range(LEVELS):
        smaller = F.adaptive_avg_pool2d(coarse, (max(1, coarse.shape[2] // 2), max(1, coarse.shape[3] // 2)))
        found.append((coarse - F.interpolate(smaller, coarse.shape[-2:])).abs().mean((2, 3)))
        coarse = smaller
    steps = BINS ** torch.arange(images.shape[1], device=images.device)
    bins = ((images * BINS).long().clamp(0, BINS - 1) * steps[:, None, None]).sum(1).flatten(1)
    counts = torch.stack([one.bincount(minlength=BINS ** images.shape[1]) for one in bins])
    return torch.cat([*found, (counts / bins.shape[1]).sqrt()], dim=1)


class DomainClassifier(NamedTuple):
    """A linear classifier of two domains, a ridge regression on -1 and 1 (Hoerl and Kennard 1970).

    Attributes:
        mean: Of the features, which are standardised.
        scale: Their deviation.
        weights: Of the standardised features.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def fitted(cls, source: torch.Tensor, target: torch.Tensor) -> DomainClassifier:
        """Fit it to features of real pictures; either domain counts one half, however many pictures it has.

        Args:
            source (`torch.Tensor` of shape `(n, features)`): Of the domain whose score is -1.
            target (`torch.Tensor` of shape `(m, features)`): Of the domain whose score is 1.

        Raises:
            ValueError: If either has no picture.
        """
        if not (len(source) and len(target)):
            raise ValueError(f"Expected pictures of both domains, got {len(source)} and {len(target)}.")
        features = torch.cat([source, target]).double()
        share = torch.cat([torch.full((len(one),), 0.5 / len(one), dtype=torch.float64) for one in (source, target)])
        truth = torch.cat([-torch.ones(len(source)), torch.ones(len(target))]).double()
        mean = share @ features
        scale = (share @ (features - mean).square()).sqrt() + _FLOOR
        standard = (features - mean) / scale
        weighted = standard.mT * share
        penalty = RIDGE * torch.eye(features.shape[1], dtype=torch.float64)
        # No bias: by the halves the truth's mean is 0, as the features' are.
        weights = torch.linalg.solve(weighted @ standard + penalty, weighted @ truth)
        return cls(mean, scale, weights)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Scores `(n,)` of features `(n, features)`: above 0 is the target."""
        return (features.double() - self.mean) / self.scale @ self.weights
