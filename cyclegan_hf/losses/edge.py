"""Edges that a translation should keep."""

import torch
from torch.nn import functional as F


def edge_consistency_loss(images: torch.Tensor, translations: torch.Tensor) -> torch.Tensor:
    """Return the L1 distance between the Sobel gradients of images and their translations, per channel.

    The gradients are differences per pixel, along columns and rows, with replicated borders. Direction and sign
    count: an edge that turns from dark-bright to bright-dark is not kept.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [-1, 1], or in any value
            space that both share (a mean and standard deviation per domain is none).
        translations (`torch.Tensor` of the same shape): Their translations.

    Returns:
        A scalar in fp32, in [0, 2] for pictures in [-1, 1]: the mean over batch, channels, both gradients and
        positions.

    Raises:
        ValueError: If the shapes differ.
    """
    if images.shape != translations.shape:
        raise ValueError(
            f"Edges can be compared in one shape only, got {tuple(images.shape)} and {tuple(translations.shape)}."
        )
    # Sobel is linear, so the difference needs one pass; in slices, as a convolution of one channel to two with its
    # gradient takes three to five times as long on a processor (and autocast would round it).
    change = F.pad(translations.float() - images.float(), (1, 1, 1, 1), mode="replicate")
    smooth_rows = change[..., :-2, :] + 2 * change[..., 1:-1, :] + change[..., 2:, :]
    smooth_columns = change[..., :-2] + 2 * change[..., 1:-1] + change[..., 2:]
    across = smooth_rows[..., 2:] - smooth_rows[..., :-2]
    down = smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :]
    return (across.abs().mean() + down.abs().mean()) / 16  # 8: the kernel's sum per pixel of slope; 2 gradients
