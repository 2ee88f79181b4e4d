"""A linear probe on features that classifies images by domain."""

from __future__ import annotations

from typing import NamedTuple

import torch


RIDGE = 0.02
"""Factor of the squared weights beside the mean logistic loss, for features of variance 1."""
_ITERATIONS = 30
_FLOOR = 1e-3


class DomainClassifier(NamedTuple):
    """A linear classifier of two domains: logistic regression with a ridge penalty, on standardised features.

    Attributes:
        mean: Of the features, `(features,)`.
        scale: Their standard deviation, `(features,)`.
        weights: Of the standardised features, `(features,)`.
        bias: Scalar.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fitted(cls, source: torch.Tensor, target: torch.Tensor) -> DomainClassifier:
        """Fit it to features of real images; either domain counts one half, however many images it has.

        Args:
            source (`torch.Tensor` of shape `(n, features)`): Of the domain whose score is below 0.
            target (`torch.Tensor` of shape `(m, features)`): Of the domain whose score is above 0.

        Raises:
            ValueError: If either has no image.
        """
        if not (len(source) and len(target)):
            raise ValueError(f"Expected images of both domains, got {len(source)} and {len(target)}.")
        features = torch.cat([source, target]).double()
        share = torch.cat([torch.full((len(one),), 0.5 / len(one), dtype=torch.float64) for one in (source, target)])
        truth = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).double()
        mean = share @ features
        scale = (share @ (features - mean).square()).sqrt() + _FLOOR
        standard = torch.cat([(features - mean) / scale, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
        penalty = torch.full((standard.shape[1],), 2 * RIDGE, dtype=torch.float64)
        penalty[-1] = 1e-9  # the bias is free
        weights = torch.zeros(standard.shape[1], dtype=torch.float64)
        for _ in range(_ITERATIONS):  # Newton's method; it converges in about six steps
            chance = torch.sigmoid(standard @ weights)
            gradient = standard.mT @ (share * (chance - truth)) + penalty * weights
            curvature = (standard.mT * (share * chance * (1 - chance))) @ standard + penalty.diag()
            step = torch.linalg.solve(curvature, gradient)
            weights = weights - step
            if step.abs().max() < 1e-6:
                break
        return cls(mean, scale, weights[:-1], weights[-1])

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores `(n,)` of features `(n, features)`: above 0 is the target."""
        return (features.double() - self.mean) / self.scale @ self.weights + self.bias
