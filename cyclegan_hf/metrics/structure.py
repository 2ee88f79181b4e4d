"""Structure that a translation keeps."""

import torch
from torch.nn import functional as F

from cyclegan_hf.metrics.artifacts import luma


SSIM_WINDOW = 11
"""Pixels of SSIM's Gaussian window, whose deviation is 1.5: the paper's."""

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def edge_agreement(images: torch.Tensor, translations: torch.Tensor) -> torch.Tensor:
    """Return the correlation of the edges of images and their translations; 1 is best.

    Pearson's correlation, picture by picture, of the greyscale Sobel magnitudes averaged over 4×4 pixels.

    Args:
        images (`torch.Tensor` of shape `(batch_size, 3 or 1, height, width)`): Pictures in [0, 1].
        translations (`torch.Tensor` of the same shape): Their translations.

    Returns:
        Tensor of shape `(batch_size,)` in [-1, 1]; 0 for a picture without edges.

    Raises:
        ValueError: If the shapes differ, or the pictures are below 8×8 pixels: too few blocks to correlate.
    """
    if images.shape != translations.shape:
        raise ValueError(
            f"Expected pictures and translations of one shape, got {tuple(images.shape)} and "
            f"{tuple(translations.shape)}."
        )
    if min(images.shape[-2:]) < 8:
        raise ValueError(f"Pictures must be at least 8 pixels high and wide, got {tuple(images.shape[-2:])}.")
    ours, theirs = (F.avg_pool2d(sobel_magnitude(x.float()), 4).flatten(1) for x in (images, translations))
    return F.cosine_similarity(ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True), dim=1)


def structural_similarity(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return SSIM (Wang et al. 2004), with kornia; 1 is equal, higher is better.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        others (`torch.Tensor` of the same shape): What is compared with them.

    Returns:
        Tensor of shape `(batch_size,)` in [-1, 1]: the mean over channels and pixels; borders are mirrored.

    Raises:
        ValueError: If the shapes differ, or the pictures are not larger than half of the window.
    """
    from kornia.metrics import ssim

    if images.shape != others.shape:
        raise ValueError(f"Expected pictures of one shape, got {tuple(images.shape)} and {tuple(others.shape)}.")
    if min(images.shape[-2:]) <= SSIM_WINDOW // 2:
        raise ValueError(f"Pictures must be at least {SSIM_WINDOW // 2 + 1} pixels, got {tuple(images.shape[-2:])}.")
    return ssim(images.float(), others.float(), SSIM_WINDOW, eps=0.0).mean((1, 2, 3))


def sobel_magnitude(images: torch.Tensor) -> torch.Tensor:
    """Return the length of the luma's gradient: `(B, 3 or 1, H, W)` to `(B, 1, H, W)`."""
    grey = luma(images)
    kernels = torch.stack([_SOBEL, _SOBEL.T])[:, None].to(images)
    return F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels).square().sum(1, keepdim=True).sqrt()
