"""Local affine colour transforms: a coarse field of them, enlarged and applied to an image's own pixels.

After Gharbi et al. 2017, "Deep Bilateral Learning for Real-Time Image Enhancement".
"""

import torch
from torch.nn import functional as F

from cyclegan_hf.images.luma import LUMA_WEIGHTS


def field_channels(channels: int, num_luma_bins: int) -> int:
    """Return the channels of a field: for each bin an affine transform of `channels` colours."""
    return num_luma_bins * channels * (channels + 1)


def enlarge(field: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarge a field bilinearly: `(B, C, h, w)` becomes `(B, C, h · scale, w · scale)`.

    It is a transposed convolution with a tent. `F.interpolate` gives the same, but its gradient is 0 at some sizes
    when compiled (torch 2.13 on processors).
    """
    if scale == 1:
        return field
    batch, channels, height, width = field.shape
    tent = 1 - (torch.arange(2 * scale, dtype=field.dtype, device=field.device) - scale + 0.5).abs() / scale
    padded = F.pad(field.reshape(batch * channels, 1, height, width), (1, 1, 1, 1), mode="replicate")
    kernel = (tent[:, None] * tent)[None, None]
    fine = F.conv_transpose2d(padded, kernel, stride=scale, padding=3 * scale // 2)
    return fine.reshape(batch, channels, scale * height, scale * width)


def color_change(sample: torch.Tensor, field: torch.Tensor, num_luma_bins: int) -> torch.Tensor:
    """Return what a field of the image's own size adds to the image before the tanh.

    Args:
        sample: Images `(B, C, H, W)` in [-1, 1].
        field: `(B, bins · C · (C + 1), H, W)`: of each bin what the first input channel adds to each output channel,
            then the second, and so on, and last what is added everywhere.
        num_luma_bins: Levels of brightness. A pixel between two of them takes a share of both.

    Returns:
        `(B, C, H, W)`.
    """
    changes = [_affine(sample, part) for part in field.chunk(num_luma_bins, dim=1)]
    if num_luma_bins > 1:
        level = (_luma(sample) + 1) / 2 * (num_luma_bins - 1)
        changes = [change * (1 - (level - index).abs()).clamp(min=0) for index, change in enumerate(changes)]
    return sum(changes[1:], changes[0])


def _affine(sample: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    *factors, change = field.split(sample.shape[1], dim=1)
    for index, factor in enumerate(factors):
        change = change + factor * sample[:, index : index + 1]
    return change


def _luma(sample: torch.Tensor) -> torch.Tensor:
    """Return the brightness `(B, 1, H, W)` of images, in their range."""
    if sample.shape[1] != len(LUMA_WEIGHTS):
        return sample.mean(1, keepdim=True)
    red, green, blue = (weight * sample[:, index : index + 1] for index, weight in enumerate(LUMA_WEIGHTS))
    return red + green + blue
