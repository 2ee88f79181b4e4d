"""Sliced Wasserstein distance between two sets of pictures on a Laplacian pyramid (Karras et al. 2018, section 5)."""

import numpy as np
import torch
from torch.nn import functional as F


# Burt & Adelson 1983: the pyramid's binomial filter.
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
_DIRECTIONS_AT_ONCE = 32  # 1,000 pictures of 128 patches: 16 MB a set


def laplacian_pyramid(images: torch.Tensor, num_levels: int) -> list[torch.Tensor]:
    """Split images into band-pass levels, fine to coarse; the last is the low-pass rest.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures of any range.
        num_levels: Levels, at least 1.

    Returns:
        `num_levels` tensors; each has half the height and width of the one before (rounded up).
    """
    levels = []
    for _ in range(num_levels - 1):
        smaller = _blurred_half(images)
        larger = F.interpolate(smaller, images.shape[-2:], mode="bilinear", align_corners=False)
        levels.append(images - larger)
        images = smaller
    return [*levels, images]


def patch_descriptors(
    images: torch.Tensor,
    num_levels: int = 3,
    patch_size: int = 7,
    num_patches: int = 128,
    seed: int = 0,
    first: int = 0,
) -> list[torch.Tensor]:
    """Draw random patches of each pyramid level of each image.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        num_levels: Levels of the pyramid.
        patch_size: Height and width of a patch.
        num_patches: Patches a picture and level.
        seed: Seed of the patches' places.
        first: Number of the first picture in its set. A picture's places follow from its number, so that sets may come
            in batches of any size.

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
    # (B, levels, 2, num_patches): uniform shares of the places that there are, whatever a level's size
    shares = torch.stack([_shares(seed, first + index, num_levels, num_patches) for index in range(len(images))])
    picture = torch.arange(len(images))[:, None]
    descriptors = []
    for number, level in enumerate(laplacian_pyramid(images.float(), num_levels)):
        patches = level.unfold(2, patch_size, 1).unfold(3, patch_size, 1)  # (B, C, rows, columns, P, P)
        sides = torch.tensor(patches.shape[2:4])[:, None]
        rows, columns = (shares[:, number] * sides).long().unbind(1)
        descriptors.append(patches[picture, :, rows, columns].flatten(0, 1))
    return descriptors


def sliced_wasserstein(
    descriptors: torch.Tensor, target: torch.Tensor, num_projections: int = 512, seed: int = 0
) -> float:
    """Return the sliced Wasserstein-1 distance of two sets of patches; lower is better.

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
    ours, theirs = _normalized(descriptors, target), _normalized(target, target)
    quantiles = min(len(ours), len(theirs))
    total = 0.0
    for some in _directions(target[0].numel(), num_projections, seed).split(_DIRECTIONS_AT_ONCE):
        # NumPy sorts with vector instructions: up to ten times as fast as torch on a processor.
        mine, its = (torch.from_numpy(np.sort((some @ patches.T).numpy())) for patches in (ours, theirs))
        total += (_quantiles(mine, quantiles) - _quantiles(its, quantiles)).abs().sum(dtype=torch.float64).item()
    return 1000 * total / (num_projections * quantiles)


def resampled_sliced_wasserstein(
    descriptors: torch.Tensor, target: torch.Tensor, counts: torch.Tensor, num_projections: int = 32, seed: int = 0
) -> torch.Tensor:
    """Return the distance of resampled sets of images, for its spread: fewer directions, on a grid.

    The distance is also the area between both distribution functions, and a resample's function is the weighted mean
    of its pictures': one product of matrices serves all resamples.

    Args:
        descriptors (`torch.Tensor` of shape `(n, num_patches, channels, patch_size, patch_size)`): One set, picture by
            picture.
        target (`torch.Tensor` of shape `(m, channels, patch_size, patch_size)`): The set that normalises, which stays
            as it is.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample.
        num_projections: Random directions.
        seed: Seed of the directions.

    Returns:
        Tensor of shape `(resamples,)`.
    """
    shape = descriptors.shape[:2]
    ours, theirs = _normalized(descriptors.flatten(0, 1), target), _normalized(target, target)
    weights = counts.float() / counts.sum(1, keepdim=True)
    area = torch.zeros(len(counts), dtype=torch.float64)
    for direction in _directions(target[0].numel(), num_projections, seed):
        mine, its = (direction @ ours.T).unflatten(0, shape), direction @ theirs.T  # (n, num_patches) and (m',)
        grid = _grid(torch.cat([mine.flatten(), its]))
        difference = weights @ _shares_below(mine, grid) - _shares_below(its[None], grid)  # (resamples, points)
        area += torch.trapezoid(difference.abs(), grid)
    return (1000 * area / num_projections).float()


def _blurred_half(images: torch.Tensor) -> torch.Tensor:
    """Return every other pixel of the blurred images, starting with the first."""
    channels = images.shape[1]
    kernel = (_BINOMIAL[:, None] * _BINOMIAL).to(images).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=channels)


def _shares(seed: int, number: int, num_levels: int, num_patches: int) -> torch.Tensor:
    """Draw uniform numbers in [0, 1) for one image; the first patches keep theirs if more are drawn."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + number)
    return torch.rand(num_patches, num_levels, 2, generator=random, dtype=torch.float64).permute(1, 2, 0)


def _directions(dimensions: int, count: int, seed: int) -> torch.Tensor:
    """Draw random unit vectors, `(count, dimensions)`."""
    directions = torch.randn(dimensions, count, generator=torch.Generator().manual_seed(seed))
    return (directions / directions.norm(dim=0)).T


def _normalized(patches: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return patches as vectors, channels normalised by the target's mean and standard deviation."""
    mean, std = target.mean((0, 2, 3), keepdim=True), target.std((0, 2, 3), keepdim=True)
    return ((patches - mean) / std).flatten(1)


def _grid(values: torch.Tensor) -> torch.Tensor:
    """Return points to compare distributions of `values` at: dense where they are, evenly over the rest."""
    ordered = torch.from_numpy(np.sort(values.numpy()))
    return torch.cat([_quantiles(ordered[None], 192)[0], torch.linspace(ordered[0], ordered[-1], 64)]).sort().values


def _shares_below(values: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Evaluate the distribution functions of the rows of `(n, values)` on a grid, `(n, points)`."""
    cells = torch.bucketize(values, grid) + torch.arange(len(values))[:, None] * (len(grid) + 1)
    found = torch.bincount(cells.flatten(), minlength=len(values) * (len(grid) + 1)).unflatten(0, (len(values), -1))
    return (found.cumsum(1)[:, :-1] / values.shape[1]).float()


def _quantiles(ordered: torch.Tensor, count: int) -> torch.Tensor:
    """Interpolate `count` evenly spaced quantiles of each row of a sorted `(rows, n)` tensor."""
    length = ordered.shape[1]
    if count == length:
        return ordered
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count * length - 0.5
    low = places.floor().clamp(0, length - 1).long()
    high = (low + 1).clamp(max=length - 1)
    return ordered[:, low].lerp(ordered[:, high], (places - low).to(ordered))
