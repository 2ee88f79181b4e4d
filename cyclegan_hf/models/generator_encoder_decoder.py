"""A small generator for 128² pictures: strided encoder, residual blocks, strided decoder."""

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.checks import check_least, check_multiples, check_widths
from cyclegan_hf.models.layers import (
    ActivationType,
    NormType,
    ResnetBlock,
    conv_bias,
    make_activation,
    make_norm,
)
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class EncoderDecoderGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """Encoder–decoder generator of the course report `summer2winter_v1` (its "CycleGAN implementation V1").

    The encoder halves the picture at each 4×4 convolution, the residual blocks work on what is left, and transposed
    4×4 convolutions bring it back; tanh. Pictures come and go in [-1, 1]. With the defaults: 4,860,099 parameters, and
    128² becomes 16×16 positions of 256 channels in the middle.

    The report gives sizes in and out of the three parts, the three blocks and their two batch norms. Kernels, widths,
    the norms of encoder and decoder and tanh are chosen here, as in DCGAN (Radford et al. 2016, section 3): a norm
    everywhere but on the first and the last convolution.

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out.
        block_out_channels: Channels after each strided convolution.
        num_res_blocks: Residual blocks at the smallest resolution.
        norm_type: `"batch"` (report), `"instance"` or `"none"`.
        activation_type: `"relu"` (report) or `"leaky_relu"`.
    """

    _supports_gradient_checkpointing = False
    resize_to_training_size = False  # fully convolutional: any size

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256),
        num_res_blocks: int = 3,
        norm_type: NormType = "batch",
        activation_type: ActivationType = "relu",
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        check_least(0, num_res_blocks=num_res_blocks)
        bias = conv_bias(norm_type)

        self.conv_in = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1),
            make_activation(activation_type),
        )
        self.down_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=bias),
                make_norm(norm_type, wide),
                make_activation(activation_type),
            )
            for narrow, wide in pairwise(widths)
        )
        self.mid_blocks = nn.ModuleList(
            ResnetBlock(widths[-1], norm_type, padding_mode="zero", activation_type=activation_type)
            for _ in range(num_res_blocks)
        )
        self.up_blocks = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=bias),
                make_norm(norm_type, narrow),
                make_activation(activation_type),
            )
            for narrow, wide in reversed(list(pairwise(widths)))
        )
        self.conv_out = nn.ConvTranspose2d(widths[0], out_channels, 4, stride=2, padding=1)

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be a multiple of this: 2 per strided convolution."""
        return 2 ** (1 + len(self.down_blocks))

    @property
    def min_size(self) -> int:
        """The smallest height and width: a norm must see more than one position."""
        return 2 * self.size_multiple

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor]:
        """Translate pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `GeneratorOutput` (or a plain tuple).

        Returns:
            Pictures of shape `(batch_size, out_channels, height, width)` in [-1, 1].

        Raises:
            ValueError: A height or width that is not a multiple of `size_multiple`.
        """
        check_multiples(sample, self.size_multiple)
        hidden = self.conv_in(sample)  # (B, widths[0], H/2, W/2)
        for block in self.down_blocks:
            hidden = block(hidden)  # (B, widths[i], H/2^(i+1), W/2^(i+1))
        for block in self.mid_blocks:
            hidden = block(hidden)
        for block in self.up_blocks:
            hidden = block(hidden)
        hidden = torch.tanh(self.conv_out(hidden))  # (B, out_channels, H, W)
        if not return_dict:
            return (hidden,)
        return GeneratorOutput(sample=hidden)
