"""Sliced Wasserstein distance between two sets of pictures on a Laplacian pyramid (Karras et al. 2018, section 5)."""

from collections.abc import Iterable

import torch
from torch.nn import functional as F


# Burt & Adelson 1983: the pyramid's binomial filter.
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def laplacian_pyramid(images: torch.Tensor, num_levels: int) -> list[torch.Tensor]:
    """Band-pass levels of pictures, fine to coarse; the last is the low-pass rest.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures of any range.
        num_levels: Levels, at least 1.

    Returns:
        `num_levels` tensors; each has half the height and width of the one before (rounded up).
    """
    levels = []
    for _ in range(num_levels - 1):
        smaller = _blur(images)[..., ::2, ::2]
        larger = F.interpolate(smaller, images.shape[-2:], mode="bilinear", align_corners=False)
        levels.append(images - larger)
        images = smaller
    return [*levels, images]


def patch_descriptors(
    images: torch.Tensor, num_levels: int = 3, patch_size: int = 7, num_patches: int = 128, seed: int = 0
) -> list[torch.Tensor]:
    """Random patches of each pyramid level of each picture.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        num_levels: Levels of the pyramid.
        patch_size: Height and width of a patch.
        num_patches: Patches a picture and level.
        seed: Seed of the patches' places.

    Returns:
        For each level a tensor of shape `(batch_size * num_patches, channels, patch_size, patch_size)`.

    Raises:
        ValueError: If the pictures are too small for a patch at the coarsest level.
    """
    smallest = (patch_size - 1) * 2 ** (num_levels - 1) + 1
    if min(images.shape[-2:]) < smallest:
        raise ValueError(
            f"Pictures must be at least {smallest} pixels high and wide for {num_levels} levels, got "
            f"{tuple(images.shape[-2:])}."
        )
    random = torch.Generator().manual_seed(seed)
    descriptors = []
    for level in laplacian_pyramid(images.float(), num_levels):
        height, width = level.shape[-2:]
        patches = level.unfold(2, patch_size, 1).unfold(3, patch_size, 1)  # (B, C, rows, columns, P, P)
        rows = torch.randint(height - patch_size + 1, (len(level), num_patches), generator=random)
        columns = torch.randint(width - patch_size + 1, (len(level), num_patches), generator=random)
        picture = torch.arange(len(level))[:, None]
        descriptors.append(patches[picture, :, rows, columns].flatten(0, 1))
    return descriptors


def sliced_wasserstein(
    descriptors: torch.Tensor, target: torch.Tensor, num_projections: int = 512, seed: int = 0
) -> float:
    """Sliced Wasserstein-1 distance of two sets of patches; lower is better.

    Channels are first normalised with the target's mean and standard deviation. Sets of different sizes are compared
    at the quantiles of the smaller one.

    Args:
        descriptors (`torch.Tensor` of shape `(n, channels, patch_size, patch_size)`): One set.
        target (`torch.Tensor` of shape `(m, channels, patch_size, patch_size)`): The set that normalises.
        num_projections: Random directions.
        seed: Seed of the directions.

    Returns:
        The mean absolute difference of quantiles, times 1000.
    """
    mean = target.mean((0, 2, 3), keepdim=True)
    std = target.std((0, 2, 3), keepdim=True)
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(target[0].numel(), num_projections, generator=random)
    directions /= directions.norm(dim=0)
    ours = (((descriptors - mean) / std).flatten(1) @ directions).sort(0).values  # (n, num_projections)
    theirs = (((target - mean) / std).flatten(1) @ directions).sort(0).values
    quantiles = min(len(ours), len(theirs))
    return 1000 * (_quantiles(ours, quantiles) - _quantiles(theirs, quantiles)).abs().mean().item()


def sliced_wasserstein_pyramid(
    images: Iterable[torch.Tensor], targets: Iterable[torch.Tensor], num_levels: int = 3, seed: int = 0
) -> list[float]:
    """The distance at each pyramid level, fine to coarse, between two sets of pictures.

    Args:
        images: Batches of shape `(batch_size, channels, height, width)` in [0, 1].
        targets: Batches of the pictures to compare with, likewise.
        num_levels: Levels of the pyramid.
        seed: Seed of patches and directions.

    Returns:
        One distance a level; their mean is the usual single figure.
    """
    ours, theirs = (
        [
            torch.cat(level)
            for level in zip(
                *(patch_descriptors(batch, num_levels, seed=seed + index) for index, batch in enumerate(batches)),
                strict=True,
            )
        ]
        for batches in (images, targets)
    )
    return [sliced_wasserstein(mine, target, seed=seed) for mine, target in zip(ours, theirs, strict=True)]


def _blur(images: torch.Tensor) -> torch.Tensor:
    channels = images.shape[1]
    kernel = (_BINOMIAL[:, None] * _BINOMIAL).to(images).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _quantiles(ordered: torch.Tensor, count: int) -> torch.Tensor:
    """`count` evenly spaced quantiles of each column of a sorted `(n, columns)` tensor, interpolated."""
    if count == len(ordered):
        return ordered
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count * len(ordered) - 0.5
    low = places.floor().clamp(0, len(ordered) - 1).long()
    high = (low + 1).clamp(max=len(ordered) - 1)
    return ordered[low].lerp(ordered[high], (places - low)[:, None].to(ordered))
