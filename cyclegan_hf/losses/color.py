"""Colours that a translation should keep."""

import torch
from torch.nn import functional as F


def color_consistency_loss(images: torch.Tensor, translations: torch.Tensor, cell_size: int = 12) -> torch.Tensor:
    """Return the L1 distance between the mean colours of images and their translations, cell by cell.

    The low-pass form (the idea of Ignatov et al. 2017, "DSLR-Quality Photos on Mobile Devices", section 3.1, with a
    box for their Gaussian). Why not a soft histogram: it forgets where a colour is, so that an animal may swap colours
    with its background; a white background fills one bin and outweighs the animal; its gradient vanishes far from the
    target; and it holds pixels × bins in memory, where this is one pooling. What lies below a cell, texture and
    outlines, is the translation's to change.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [-1, 1], or in any value
            space that both share (a mean and standard deviation per domain is none).
        translations (`torch.Tensor` of the same shape): Their translations.
        cell_size: Height and width of a cell, in pixels: 12 makes 8×8 cells of 96². The last row and column of cells
            may be smaller.

    Returns:
        A scalar in fp32, in [0, 2] for pictures in [-1, 1]: the mean over batch, channels and cells.

    Raises:
        ValueError: If the shapes differ, or `cell_size` is below 1.
    """
    if images.shape != translations.shape:
        raise ValueError(
            f"Colours can be compared in one shape only, got {tuple(images.shape)} and {tuple(translations.shape)}."
        )
    if cell_size < 1:
        raise ValueError(f"`cell_size` must be at least 1, got {cell_size}.")
    # Linear, so the difference needs one pass.
    return F.avg_pool2d(translations.float() - images.float(), cell_size, ceil_mode=True).abs().mean()
