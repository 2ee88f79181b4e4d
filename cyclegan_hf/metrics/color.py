"""Colours in CIE Lab (D65, 2°), where distances are about as large as they look."""

import torch


def mean_lab(images: torch.Tensor) -> torch.Tensor:
    """Return the mean colour of images in Lab, with kornia.

    Args:
        images (`torch.Tensor` of shape `(batch_size, 3 or 1, height, width)`): sRGB or grey pictures in [0, 1].

    Returns:
        Tensor of shape `(batch_size, 3)`: L* in [0, 100], a* and b* in about [-128, 127].
    """
    from kornia.color import rgb_to_lab

    colours = images.float().expand(-1, 3, -1, -1) if images.shape[1] == 1 else images.float()
    return rgb_to_lab(colours).mean((2, 3))


def color_difference(colors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ΔE*ab (CIE 1976) of Lab colours; about 2.3 is just noticeable.

    Args:
        colors (`torch.Tensor` of shape `(..., 3)`): Lab colours.
        others (`torch.Tensor` of a shape that broadcasts with it): Those they are compared with.

    Returns:
        Tensor of the common shape without the last dimension, at least 0.
    """
    return (colors - others).norm(dim=-1)
