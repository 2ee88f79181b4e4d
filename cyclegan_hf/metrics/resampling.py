"""Bootstrap over pictures (Efron 1979): how far a figure would move with other pictures of the same kind."""

import numpy as np
import torch


def bootstrap_counts(num_pictures: int, resamples: int, seed: int = 0) -> torch.Tensor:
    """Count how often each image is in each resample, drawn with replacement.

    The same arguments give the same counts: figures of two models on the same pictures are then paired.

    Args:
        num_pictures: Pictures in the set, and in each resample.
        resamples: How many.
        seed: Seed of the draws.

    Returns:
        Integer tensor of shape `(resamples, num_pictures)`, whose rows sum to `num_pictures`.
    """
    random = np.random.default_rng([seed, num_pictures])
    equal = np.full(num_pictures, 1 / num_pictures)
    return torch.from_numpy(random.multinomial(num_pictures, equal, size=resamples))


def resampled_means(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the means of resampled values.

    Args:
        values (`torch.Tensor` of shape `(n,)`): One a picture; NaN where a picture has none.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample.

    Returns:
        Tensor of shape `(resamples,)`; NaN for a resample of pictures without a value.
    """
    known = ~values.isnan()
    weights = counts[:, known].double()
    return weights @ values[known].double() / weights.sum(1)


def central_interval(samples: torch.Tensor, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap's interval: the quantiles that leave half of the rest on either side.

    Args:
        samples (`torch.Tensor` of shape `(resamples,)`): A figure, or a difference of two, in each resample.
        share: How much of the resamples lies inside.
    """
    rest = (1 - share) / 2
    low, high = torch.quantile(samples.double(), torch.tensor([rest, 1 - rest], dtype=torch.float64)).tolist()
    return low, high


def two_sided_p(differences: torch.Tensor) -> float:
    """Return the two-sided p-value of a paired bootstrap: how rarely resamples reverse a difference.

    Args:
        differences (`torch.Tensor` of shape `(resamples,)`): Of a figure of two models in each resample.

    Returns:
        In (0, 1]; never 0, since a finite number of resamples proves nothing.

    Raises:
        ValueError: If there are none, or one is not finite.
    """
    if len(differences) == 0 or not differences.isfinite().all():
        raise ValueError(f"Expected finite differences, at least one, got {len(differences)}.")
    turned = min((differences >= 0).sum().item(), (differences <= 0).sum().item())
    return min(1.0, 2 * (turned + 1) / (len(differences) + 1))
