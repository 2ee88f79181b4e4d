"""A residual generator with attention over channels and positions, and an optional vector-quantised bottleneck."""

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.attention import ChannelAttention, SelfAttention2d, SpatialAttention, SqueezeExcitation
from cyclegan_hf.models.checks import check_least, check_widths
from cyclegan_hf.models.kernels.winograd import Conv3x3
from cyclegan_hf.models.layers import InstanceNorm2d, Pad2d
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin
from cyclegan_hf.models.vector_quantizer import VectorQuantizer


class AttentionResnetBlock(nn.Module):
    """Residual block whose residual is weighed by attention before it is added.

    Pad, 3×3, instance norm, ReLU, pad, 3×3, instance norm; then squeeze-and-excitation (Hu et al. 2018) and, where
    asked for, CBAM's weights of channels and positions (Woo et al. 2018). The channels' weights are taken from the
    features before the second norm: behind it, every mean is 0 and the weights would be the same for every picture.

    Args:
        channels: Channels in and out; shape `(B, channels, H, W)` is kept, `H, W > 3`.
        use_cbam: Weigh by CBAM too.
        reduction: Of the channel attentions' hidden layers.
    """

    def __init__(self, channels: int, use_cbam: bool, reduction: int = 16) -> None:
        super().__init__()
        self.pad = Pad2d(1)
        self.conv1 = Conv3x3(channels, channels)
        self.norm1 = InstanceNorm2d()
        self.conv2 = Conv3x3(channels, channels)
        self.norm2 = InstanceNorm2d()
        self.squeeze_excitation = SqueezeExcitation(channels, reduction)
        self.channel_attention = ChannelAttention(channels, reduction) if use_cbam else None
        self.spatial_attention = SpatialAttention() if use_cbam else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's weighed residual to `x`."""
        hidden = F.relu(self.norm1(self.conv1(self.pad(x))))
        hidden = self.conv2(self.pad(hidden))
        residual = self.norm2(hidden) * self.squeeze_excitation(hidden)
        if self.channel_attention is not None and self.spatial_attention is not None:
            residual = residual * self.channel_attention(hidden)
            residual = residual * self.spatial_attention(residual)
        return x + residual


class AttentionGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """ResNet generator with attention: the course report `face2cartoon_attention`, section 1.2.1 (with codes, 2.2.1).

    A 7×7 convolution, a strided 3×3 convolution per further entry of `block_out_channels`, residual blocks at the
    smallest resolution (squeeze-and-excitation in all, CBAM too in every second), self-attention over all positions,
    as many upsampling steps, a 7×7 convolution and tanh; instance norm, reflection padding. With `num_codes`, what
    comes out of the strided convolutions is replaced by the nearest codes before the residual blocks. Pictures come
    and go in [-1, 1]. With the defaults: 11,517,836 parameters; 512 codes add 131,072.

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out.
        block_out_channels: Channels after the first convolution and after each strided one; the last is a multiple of
            `reduction` and of 8.
        num_res_blocks: Residual blocks at the smallest resolution.
        reduction: How many times narrower the hidden layers of the channel attentions are.
        num_codes: Size of the codebook of the vector-quantised bottleneck, or `None` for no bottleneck.
        commitment_cost: Weight of the commitment loss within `quantization_loss` (van den Oord et al. 2017, eq. 3).
    """

    _supports_gradient_checkpointing = False
    resize_to_training_size = True  # self-attention compares as many positions as it was trained with

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256),
        num_res_blocks: int = 9,
        reduction: int = 16,
        num_codes: int | None = None,
        commitment_cost: float = 0.25,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        check_least(0, num_res_blocks=num_res_blocks)

        self.conv_in = nn.Sequential(Pad2d(3), nn.Conv2d(in_channels, widths[0], 7), InstanceNorm2d(), nn.ReLU())
        self.down_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), InstanceNorm2d(), nn.ReLU())
            for narrow, wide in pairwise(widths)
        )
        self.quantizer = None if num_codes is None else VectorQuantizer(num_codes, widths[-1], commitment_cost)
        self.mid_blocks = nn.ModuleList(
            AttentionResnetBlock(widths[-1], use_cbam=index % 2 == 1, reduction=reduction)
            for index in range(num_res_blocks)
        )
        self.attention = SelfAttention2d(widths[-1])
        self.up_blocks = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1), InstanceNorm2d(), nn.ReLU()
            )
            for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.conv_out = nn.Sequential(Pad2d(3), nn.Conv2d(widths[0], out_channels, 7))

    @property
    def size_multiple(self) -> int:
        """Heights and widths that are a multiple of this leave as they came."""
        return 2 ** len(self.down_blocks)

    @property
    def min_size(self) -> int:
        """The smallest height and width: spatial attention mirrors three positions, and needs four."""
        return 4 * self.size_multiple

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor, ...]:
        """Translate pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `GeneratorOutput` (or a plain tuple of its entries that are not `None`).

        Returns:
            Pictures of shape `(batch_size, out_channels, height, width)` in [-1, 1]. Heights and widths that are not
            a multiple of `size_multiple` leave rounded up to one. With a codebook, also `quantization_loss`, which
            training adds to its own, `code_perplexity` and `code_usage`.
        """
        hidden = self.conv_in(sample)  # (B, widths[0], H, W)
        for block in self.down_blocks:
            hidden = block(hidden)  # (B, widths[i], H/2^i, W/2^i)
        quantized = None
        if self.quantizer is not None:
            quantized = self.quantizer(hidden)
            hidden = quantized.hidden
        for block in self.mid_blocks:
            hidden = block(hidden)
        hidden = self.attention(hidden)
        for block in self.up_blocks:
            hidden = block(hidden)
        hidden = torch.tanh(self.conv_out(hidden))  # (B, out_channels, H, W)
        output = GeneratorOutput(sample=hidden)
        if quantized is not None:
            output = GeneratorOutput(
                sample=hidden,
                quantization_loss=quantized.loss,
                code_perplexity=quantized.perplexity,
                code_usage=quantized.usage,
            )
        return output if return_dict else output.to_tuple()
