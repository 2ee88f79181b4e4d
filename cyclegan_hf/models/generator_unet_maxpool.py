"""A U-Net generator with max-pooling and without norms."""

from itertools import pairwise
from typing import Literal

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.checks import check_least, check_multiples, check_widths
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class MaxPoolUnetGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """U-Net generator of the course report `human2anime_unet` (its section 2.1 and figure 1), after Ronneberger et al. 2015 ("U-Net", section 2).

    Each level has `layers_per_block` 3×3 convolutions with ReLU between them (none after the last, as in the report's
    figure). 2×2 max-pooling leads down, transposed 2×2 convolutions lead up, and each level's features are
    concatenated to what comes back to it. The last level has one convolution more. No norms. With the defaults:
    46,740,419 parameters, and 96² becomes 6×6 positions in the middle. The widths are Ronneberger's; the report names
    none.

    Nothing bounds the default output: it is in the mean/std space that the pipeline stores, like the input. The
    skip connections let a network learn to copy its input; the report's did.

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out.
        block_out_channels: Channels of each level, from the picture's size downwards, at least two.
        layers_per_block: 3×3 convolutions of a level, on each side.
        output_activation: `"none"` for mean/std space, or `"tanh"` for pictures in [-1, 1].
    """  # noqa: E501

    resize_to_training_size = True  # the innermost convolutions see the whole picture at the size it was trained at

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512, 1024),
        layers_per_block: int = 3,
        output_activation: Literal["none", "tanh"] = "none",
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels, least=2)
        check_least(1, in_channels=in_channels, out_channels=out_channels, layers_per_block=layers_per_block)
        if output_activation not in ("none", "tanh"):
            raise ValueError(f"`output_activation` must be 'none' or 'tanh', got {output_activation!r}.")

        self.conv_in = _convolutions(in_channels, widths[0], layers_per_block)
        self.down_blocks = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), *_convolutions(narrow, wide, layers_per_block))
            for narrow, wide in pairwise(widths)
        )
        upwards = list(reversed(list(pairwise(widths))))
        self.upsamplers = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, stride=2) for narrow, wide in upwards)
        self.up_blocks = nn.ModuleList(_convolutions(2 * narrow, narrow, layers_per_block) for narrow, _ in upwards)
        self.conv_out = nn.Sequential(nn.ReLU(), nn.Conv2d(widths[0], out_channels, 3, padding=1))

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be a multiple of this: 2 per pooling."""
        return 2 ** len(self.down_blocks)

    @property
    def min_size(self) -> int:
        """The smallest height and width: one position in the middle."""
        return self.size_multiple

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor]:
        """Translate pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in the space of the
                domain they come from: mean/std space, or [-1, 1].
            return_dict: Return a `GeneratorOutput` (or a plain tuple).

        Returns:
            Pictures of shape `(batch_size, out_channels, height, width)`: unbounded, in the other domain's mean/std
            space, or in [-1, 1] with `"tanh"`.

        Raises:
            ValueError: A height or width that is not a multiple of `size_multiple`.
        """
        check_multiples(sample, self.size_multiple)
        hidden = self.conv_in(sample)  # (B, widths[0], H, W)
        skips = []
        for block in self.down_blocks:
            skips.append(hidden)
            hidden = block(hidden)  # (B, widths[i], H/2^i, W/2^i)
        for upsampler, block in zip(self.upsamplers, self.up_blocks, strict=True):
            hidden = torch.cat([skips.pop(), upsampler(hidden)], dim=1)  # (B, 2 * widths[i], H/2^i, W/2^i), i falling
            hidden = block(hidden)  # (B, widths[i], H/2^i, W/2^i)
        hidden = self.conv_out(hidden)  # (B, out_channels, H, W)
        if self.config["output_activation"] == "tanh":
            hidden = torch.tanh(hidden)
        if not return_dict:
            return (hidden,)
        return GeneratorOutput(sample=hidden)


def _convolutions(in_channels: int, out_channels: int, number: int) -> nn.Sequential:
    """Build `number` 3×3 convolutions with ReLU between them."""
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 3, padding=1)]
    for _ in range(number - 1):
        layers += [nn.ReLU(), nn.Conv2d(out_channels, out_channels, 3, padding=1)]
    return nn.Sequential(*layers)
