"""The U-Net generator of pix2pix, which the official CycleGAN code offers as `unet_128` and `unet_256`."""

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.checks import check_dropout, check_least, check_multiples, check_widths
from cyclegan_hf.models.layers import NormType, conv_bias, make_norm
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class UnetGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """U-Net generator (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", appendix 6.1.1).

    Strided 4×4 convolutions down to one position per `size_multiple` pixels, as many transposed ones up, and each
    resolution's features concatenated to what comes back to it. Pictures come and go in [-1, 1]. With the defaults:
    54,409,603 parameters, the official `unet_256`; one 512 fewer is `unet_128`.

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out.
        block_out_channels: Channels after each strided convolution, at least two.
        norm_type: `"instance"`, `"instance_affine"`, `"batch"` or `"none"`.
        dropout_prob: Dropout in [0, 1) after those upsampling blocks that keep the width, but for the innermost: 0.5 in
            pix2pix, which takes it for its source of noise.
    """  # noqa: E501

    resize_to_training_size = True  # the innermost convolution sees the whole picture at the size it was trained at

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512, 512),
        norm_type: NormType = "instance",
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels, least=2)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        check_dropout(dropout_prob)
        bias = conv_bias(norm_type)
        innermost = len(widths) - 1

        self.conv_in = nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1, bias=bias)
        self.down_blocks = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(0.2),  # not in place: what comes in is also concatenated on the way back
                nn.Conv2d(widths[i - 1], widths[i], 4, stride=2, padding=1, bias=bias),
                # A single position has no variance: no norm there.
                nn.Identity() if i == innermost else make_norm(norm_type, widths[i]),
            )
            for i in range(1, len(widths))
        )
        self.up_blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.ConvTranspose2d(
                    widths[i] if i == innermost else 2 * widths[i],
                    widths[i - 1],
                    4,
                    stride=2,
                    padding=1,
                    bias=bias,
                ),
                make_norm(norm_type, widths[i - 1]),
                nn.Dropout(dropout_prob if i != innermost and widths[i] == widths[i - 1] else 0.0),
            )
            for i in range(innermost, 0, -1)
        )
        self.conv_out = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(2 * widths[0], out_channels, 4, stride=2, padding=1),
        )

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be a multiple of this: 2 per strided convolution."""
        return 2 ** (1 + len(self.down_blocks))

    @property
    def min_size(self) -> int:
        """The smallest height and width: one position in the middle."""
        return self.size_multiple

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
        skips = []
        for block in self.down_blocks:
            skips.append(hidden)
            hidden = block(hidden)  # (B, widths[i], H/2^(i+1), W/2^(i+1))
        for block in self.up_blocks:
            hidden = torch.cat([skips.pop(), block(hidden)], dim=1)  # (B, 2 * widths[i-1], H/2^i, W/2^i)
        hidden = torch.tanh(self.conv_out(hidden))  # (B, out_channels, H, W)
        if not return_dict:
            return (hidden,)
        return GeneratorOutput(sample=hidden)
