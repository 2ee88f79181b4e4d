"""The 1×1 discriminator of pix2pix: one verdict for each pixel."""

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.checks import check_least, check_widths
from cyclegan_hf.models.layers import NormType, conv_bias, make_norm
from cyclegan_hf.models.outputs import DiscriminatorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class PixelDiscriminator(NetworkMixin, ModelMixin, ConfigMixin):
    """PixelGAN discriminator (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 4.4).

    1×1 convolutions only: it judges colours, not shapes (the norm alone sees more than a pixel). With the defaults:
    8,705 parameters. Its scores are unbounded.

    Args:
        in_channels: Channels of the pictures.
        out_channels: Channels of the verdict.
        block_out_channels: Channels after the first and after the second convolution.
        norm_type: `"instance"`, `"batch"` or `"none"`, on the second convolution.
    """  # noqa: E501

    receptive_field = 1

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        block_out_channels: tuple[int, int] = (64, 128),
        norm_type: NormType = "instance",
    ) -> None:
        super().__init__()
        if len(block_out_channels) != 2:
            raise ValueError(f"`block_out_channels` must name two widths, got {list(block_out_channels)}.")
        narrow, wide = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        bias = conv_bias(norm_type)
        self.conv_in = nn.Sequential(nn.Conv2d(in_channels, narrow, 1), nn.LeakyReLU(0.2))
        self.block = nn.Sequential(
            nn.Conv2d(narrow, wide, 1, bias=bias),
            make_norm(norm_type, wide),
            nn.LeakyReLU(0.2),
        )
        self.conv_out = nn.Conv2d(wide, out_channels, 1, bias=bias)  # the official code's last one has none with batch

    @property
    def min_size(self) -> int:
        """The smallest height and width: the norm must see more than one position."""
        return 2

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> DiscriminatorOutput | tuple[torch.Tensor]:
        """Judge pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `DiscriminatorOutput` (or a plain tuple).

        Returns:
            Unbounded scores of shape `(batch_size, out_channels, height, width)`.
        """
        prediction = self.conv_out(self.block(self.conv_in(sample)))
        if not return_dict:
            return (prediction,)
        return DiscriminatorOutput(prediction=prediction)
