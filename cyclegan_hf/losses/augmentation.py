"""Augmentation that a discriminator's gradient passes through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch.nn import functional as F

from cyclegan_hf.losses.random_numbers import uniform


Policy = Literal["flip", "light", "color", "translation", "cutout"]


def augment_for_discriminator(
    images: torch.Tensor, policies: Sequence[Policy], random: torch.Generator | None = None
) -> torch.Tensor:
    """Change images at random before a discriminator sees them, each in its own way.

    Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training". A discriminator that sees few
    pictures learns them by heart; augmented ones it cannot. Real pictures and translations must both go through this,
    in the discriminator's step and in the generator's: then what the translations are taught is the real pictures'
    look, and not the augmentation's.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures, 0 being mid-grey.
        policies: What is done, in this order. `"flip"`: mirrored half of the time. `"light"`: brightness ± 0.1,
            contrast × 0.9 to 1.1, which leaves colours comparable. `"color"`: brightness ± 0.5, saturation × 0 to 2,
            contrast × 0.5 to 1.5.
            `"translation"`: shifted by up to an eighth of the height and of the width. `"cutout"`: a rectangle of half
            the height and width, anywhere, is grey. What comes in from outside is grey as well.
        random: Where the random numbers come from, on the CPU; by default torch's own.

    Returns:
        Pictures of the same shape. Colours may leave [-1, 1]: clipping would stop the gradient.

    Raises:
        ValueError: For a policy of another name.
    """
    for policy in policies:
        if policy not in _POLICIES:
            raise ValueError(f"A policy must be one of {', '.join(_POLICIES)}, got {policy!r}.")
        images = _POLICIES[policy](images, random)
    return images


def _flip(images: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
    mirrored = uniform(len(images), 1, 1, 1, like=images, random=random) < 0.5
    return torch.where(mirrored, images.flip(-1), images)


def _light(images: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
    brightness, contrast = uniform(2, len(images), 1, 1, 1, like=images, random=random)
    return (0.9 + 0.2 * contrast) * images + 0.2 * (brightness - 0.5)


def _color(images: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
    brightness, saturation, contrast = uniform(3, len(images), 1, 1, 1, like=images, random=random)
    images = images + brightness - 0.5
    grey = images.mean(dim=1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    return level + (contrast + 0.5) * (images - level)


def _translation(images: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
    height, width = images.shape[2:]
    rows, columns = (_integers(-(size // 8), size // 8, len(images), random) for size in (height, width))
    shifted = [F.pad(image, (x, -x, y, -y)) for image, x, y in zip(images, columns, rows, strict=True)]
    return torch.stack(shifted)


def _cutout(images: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
    height, width = images.shape[2:]
    # The centre is anywhere, so that a border is hidden as often as the middle.
    rows, columns = (_integers(0, size, len(images), random) for size in (height, width))
    kept = torch.ones_like(images[:, :1])
    for mask, y, x in zip(kept, rows, columns, strict=True):
        mask[:, max(0, y - height // 4) : y + height // 4, max(0, x - width // 4) : x + width // 4] = 0
    return images * kept


def _integers(least: int, most: int, count: int, random: torch.Generator | None) -> list[int]:
    numbers: list[int] = torch.randint(least, most + 1, (count,), generator=random).tolist()
    return numbers


_POLICIES: dict[str, Callable[[torch.Tensor, torch.Generator | None], torch.Tensor]] = {
    "flip": _flip,
    "light": _light,
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
