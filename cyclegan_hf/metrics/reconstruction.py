"""Pixel errors of reconstructions."""

import torch


MOST_DECIBELS = 100.0
"""What equal pictures get: their PSNR is infinite, and one of 8 bits ends at 96 where a single pixel is off by one."""


def l1_distance(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference per image; lower is better.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        others (`torch.Tensor` of the same shape): What is compared with them.

    Returns:
        Tensor of shape `(batch_size,)` in [0, 1].

    Raises:
        ValueError: If the shapes differ.
    """
    return _difference(images, others).abs().mean((1, 2, 3))


def psnr(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio per image in dB, at most `MOST_DECIBELS`; higher is better.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        others (`torch.Tensor` of the same shape): What is compared with them.

    Returns:
        Tensor of shape `(batch_size,)`.

    Raises:
        ValueError: If the shapes differ.
    """
    error = _difference(images, others).square().mean((1, 2, 3))
    return (-10 * error.log10()).clamp(max=MOST_DECIBELS)


def _difference(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    if images.shape != others.shape:
        raise ValueError(f"Expected pictures of one shape, got {tuple(images.shape)} and {tuple(others.shape)}.")
    return images.float() - others.float()
