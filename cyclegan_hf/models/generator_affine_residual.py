"""A generator that changes an image's colours place by place and draws what is missing on top."""

from itertools import pairwise
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.affine_field import color_change, enlarge, field_channels
from cyclegan_hf.models.checks import check_least, check_multiples, check_widths
from cyclegan_hf.models.initialization import zero_
from cyclegan_hf.models.layers import Pad2d, PixelNorm2d, before_tanh
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class AffineResidualGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """A local affine field of colours plus a residual drawn at half resolution, both starting from zero.

    An encoder leads to a coarse map. From it, one convolution gives a field of affine colour transforms, one for each
    level of brightness (Gharbi et al. 2017, "Deep Bilateral Learning for Real-Time Image Enhancement"): it moves light
    and colour and keeps every line. A decoder with skip connections draws a residual at half the image's resolution:
    it adds the texture that no recolouring can give, such as grass where snow was. Both are added before the tanh, so
    an untrained generator returns its input (within 0.01).

    Blocks are depthwise and pointwise convolutions with a pixelwise norm (Liu et al. 2022, "A ConvNet for the 2020s",
    figure 4, with other norms and activations): a part of an image is translated as in the whole. With the defaults:
    1,286,451 parameters.

    Args:
        in_channels: Channels of the input images.
        out_channels: Channels of the output images; the same number.
        block_out_channels: Channels at a half, a quarter, … of the resolution.
        num_res_blocks: Residual blocks at the lowest resolution.
        num_luma_bins: Levels of brightness with colour transforms of their own.
        draw_residual: Draw the residual; without it only colours change.

    Raises:
        ValueError: For numbers of channels that differ, and values that are none of these.
    """

    _supports_gradient_checkpointing = False
    resize_to_training_size = False  # fully convolutional: any size

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (48, 96, 192),
        num_res_blocks: int = 6,
        num_luma_bins: int = 4,
        draw_residual: bool = True,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels, num_luma_bins=num_luma_bins)
        check_least(0, num_res_blocks=num_res_blocks)
        if in_channels != out_channels:
            raise ValueError(
                "AffineResidualGenerator changes an image's own colours: as many channels out as in, got "
                f"`in_channels` {in_channels} and `out_channels` {out_channels}."
            )
        self.conv_in = _conv(4 * in_channels, widths[0])
        self.down_blocks = nn.ModuleList(
            nn.Sequential(PixelNorm2d(), nn.LeakyReLU(0.2), _conv(narrow, wide, stride=2))
            for narrow, wide in pairwise(widths)
        )
        self.mid_blocks = nn.ModuleList(_Block(widths[-1], kernel_size=5) for _ in range(num_res_blocks))
        self.conv_field = _conv(widths[-1], field_channels(out_channels, num_luma_bins))
        rising = list(pairwise(reversed(widths))) if draw_residual else []
        self.up_blocks = nn.ModuleList(_UpBlock(wide, narrow) for wide, narrow in rising)
        self.conv_residual = (
            nn.Sequential(nn.LeakyReLU(0.2), _conv(widths[0], out_channels)) if draw_residual else None
        )
        self.start_as_identity()

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be multiples of this."""
        return 2 ** (1 + len(self.down_blocks))

    @property
    def min_size(self) -> int:
        """The smallest height and width: a reflection needs more pixels than it mirrors."""
        return 3 * self.size_multiple

    @property
    def receptive_radius(self) -> int:
        """Return an upper bound of how far an output pixel sees in each direction, in pixels."""
        levels = len(self.down_blocks)
        radius = 2 + 1  # `conv_in` at half the resolution, and the pixels of one of its places
        radius += sum(2 ** (level + 1) for level in range(levels))  # each strided convolution, at its input's places
        coarse = 2 ** (levels + 1)
        radius += coarse * (2 * len(self.mid_blocks))
        field = 2 * coarse  # its convolution and its neighbours
        # Upsampling a place and the 3×3 convolution of each block, then the last convolution and its neighbours.
        drawn = sum(2 ** (level + 1) * 2 for level in range(levels)) + 2 * 3
        return radius + max(field, drawn)

    def start_as_identity(self) -> None:
        """Set the field, the residual and each block's last convolution to 0: training starts from the identity."""
        ends: list[Any] = [block.project for block in (*self.mid_blocks, *(up.block for up in self.up_blocks))]
        ends.append(self.conv_field)
        if self.conv_residual is not None:
            ends.append(self.conv_residual)
        for layer in ends:
            zero_(layer)

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor]:
        """Translate images.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Images in [-1, 1], with
                heights and widths that are multiples of `size_multiple`.
            return_dict: Return a `GeneratorOutput` (or a plain tuple).

        Returns:
            Images of the same shape in [-1, 1].

        Raises:
            ValueError: For other heights and widths.
        """
        check_multiples(sample, self.size_multiple)
        hidden = self.conv_in(F.pixel_unshuffle(sample, 2))  # (B, widths[0], H/2, W/2)
        skips = []
        for block in self.down_blocks:
            skips.append(hidden)
            hidden = block(hidden)  # (B, widths[i], H/2^(i+1), W/2^(i+1))
        for block in self.mid_blocks:
            hidden = block(hidden)
        field = enlarge(self.conv_field(hidden), self.size_multiple)
        change = color_change(sample, field, self.config["num_luma_bins"])
        if self.conv_residual is not None:
            for block in self.up_blocks:
                hidden = block(hidden, skips.pop())
            change = change + enlarge(self.conv_residual(hidden), 2)
        image = torch.tanh(before_tanh(sample) + change)
        if not return_dict:
            return (image,)
        return GeneratorOutput(sample=image)


class _Block(nn.Module):
    """A residual block of a depthwise convolution, a pixelwise norm and two pointwise convolutions."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            Pad2d(kernel_size // 2), nn.Conv2d(channels, channels, kernel_size, groups=channels)
        )
        self.norm = PixelNorm2d()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.activation = nn.LeakyReLU(0.2)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(self.activation(self.expand(self.norm(self.depthwise(x)))))


class _UpBlock(nn.Module):
    """Double the resolution, add the encoder's map of that resolution, and a residual block."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(wide, narrow, 1)
        self.block = _Block(narrow, kernel_size=3)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.block(skip + F.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest"))


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(Pad2d(1), nn.Conv2d(in_channels, out_channels, 3, stride))
