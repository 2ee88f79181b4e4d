"""Diversity of translations, to detect mode collapse."""

import torch
from torch.nn import functional as F


SIDE = 16
"""Pixels of the reduced pictures: what remains is composition and colour, no noise."""


def reduced(images: torch.Tensor) -> torch.Tensor:
    """Return images as vectors of their `SIDE` × `SIDE` means.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures of any range and size.

    Returns:
        Tensor of shape `(batch_size, channels * SIDE * SIDE)`.
    """
    return F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)


def mean_pair_distance(vectors: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean distance of two different images of a set: higher is more diverse, 0 is one repeated image.

    Args:
        vectors (`torch.Tensor` of shape `(n, dimensions)`): The set, at least 2 pictures.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample; by default each
            once. Copies of one picture are no pair.

    Returns:
        Root mean square differences of the coordinates, `(resamples,)`, or a scalar without `counts`.

    Raises:
        ValueError: If there are fewer than 2 pictures.
    """
    if len(vectors) < 2:
        raise ValueError(f"Diversity needs at least 2 pictures, got {len(vectors)}.")
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist") / vectors.shape[1] ** 0.5
    weights = torch.ones(1, len(vectors)) if counts is None else counts.float()
    pairs = weights.sum(1).square() - weights.square().sum(1)
    means = (weights @ distances * weights).sum(1) / pairs
    return means[0] if counts is None else means
