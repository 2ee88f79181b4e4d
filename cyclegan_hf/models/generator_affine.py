"""A generator that changes a photo's colours place by place, and draws nothing."""

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.affine_field import color_change, enlarge, field_channels
from cyclegan_hf.models.checks import check_least, check_multiples, check_widths
from cyclegan_hf.models.initialization import zero_
from cyclegan_hf.models.layers import (
    ActivationType,
    NormType,
    Pad2d,
    PaddingMode,
    ResnetBlock,
    before_tanh,
    conv_bias,
    make_activation,
    make_norm,
)
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class LocalAffineGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """Local affine transforms of colour, an idea of Gharbi et al. 2017 ("Deep Bilateral Learning for Real-Time Image Enhancement").

    The encoder and the residual blocks of [`ResnetGenerator`]. Then, instead of a decoder, one convolution gives a field
    at the smallest resolution: for each place an affine transform of colours, `out_channels` × (`in_channels` + 1)
    numbers. The field is enlarged bilinearly and applied to the picture's own pixels, so that light, colour and
    contrast change freely from place to place while every line stays the photo's. Nothing finer than the field can be
    drawn: no checkerboard, no stipple, no specks. Nor new shapes: it is for seasons and weather, not for faces.

    With `num_luma_bins` a place has a transform for each of so many levels of brightness, and a pixel takes the mixture
    for its own: Gharbi's bilateral grid. White snow may then turn green between dark trees that stay dark.

    The transform gives a change, which is added before the tanh as with [`ResnetGenerator`]'s `learn_residual`: a field
    of zeros returns the input (within 0.01). With the defaults: 1,881,932 parameters.

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out; as many.
        block_out_channels: Channels after the first convolution and after each strided one.
        num_res_blocks: Residual blocks at the smallest resolution.
        norm_type: `"pixel"`, which looks at no other pixel, so that a part of a photo is translated as in the whole;
            `"instance"`, `"batch"` or `"none"`, with which training diverged.
        padding_mode: `"reflect"` or `"zero"`.
        activation_type: `"leaky_relu"`, with a slope of 0.2, or `"relu"`.
        separable: Depthwise and pointwise convolutions in the residual blocks (Chollet 2017): a ninth of their weights.
        num_luma_bins: Levels of brightness with transforms of their own.

    Raises:
        ValueError: For numbers of channels that differ, and values that are none of these.
    """  # noqa: E501

    _supports_gradient_checkpointing = False
    resize_to_training_size = False  # fully convolutional: any size

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (32, 64, 128),
        num_res_blocks: int = 6,
        norm_type: NormType = "pixel",
        padding_mode: PaddingMode = "reflect",
        activation_type: ActivationType = "leaky_relu",
        separable: bool = False,
        num_luma_bins: int = 1,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels, num_luma_bins=num_luma_bins)
        check_least(0, num_res_blocks=num_res_blocks)
        if in_channels != out_channels:
            raise ValueError(
                "LocalAffineGenerator changes a picture's own colours: as many channels out as in, got "
                f"`in_channels` {in_channels} and `out_channels` {out_channels}."
            )
        bias = conv_bias(norm_type)
        self.conv_in = nn.Sequential(
            Pad2d(3, padding_mode),
            nn.Conv2d(in_channels, widths[0], 7, bias=bias),
            make_norm(norm_type, widths[0]),
            make_activation(activation_type),
        )
        self.down_blocks = nn.ModuleList(
            nn.Sequential(
                Pad2d(1, padding_mode),  # zeros would tell where the upper edge is, and skies get a band along it
                nn.Conv2d(narrow, wide, 3, stride=2, bias=bias),
                make_norm(norm_type, wide),
                make_activation(activation_type),
            )
            for narrow, wide in pairwise(widths)
        )
        self.mid_blocks = nn.ModuleList(
            ResnetBlock(widths[-1], norm_type, padding_mode, activation_type=activation_type, separable=separable)
            for _ in range(num_res_blocks)
        )
        self.conv_out = nn.Sequential(
            Pad2d(1, padding_mode), nn.Conv2d(widths[-1], field_channels(out_channels, num_luma_bins), 3)
        )

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be multiples of this."""
        return 2 ** len(self.down_blocks)

    @property
    def min_size(self) -> int:
        """The smallest height and width: a reflection needs more pixels than it mirrors, a norm more than one."""
        return max(2 * self.size_multiple, 4)

    @property
    def receptive_radius(self) -> int | None:
        """How far an output pixel sees in each direction, in pixels (in evaluation mode); `None`: without limit.

        As [`ResnetGenerator`]'s, which says more.
        """
        if self.config["norm_type"] in ("instance", "instance_affine"):
            return None
        levels = len(self.down_blocks)
        coarse = 2 * len(self.mid_blocks) + 2  # the blocks, the last convolution, and the field's neighbours
        return 3 + sum(2**level for level in range(levels)) + coarse * 2**levels

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor]:
        """Translate pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1],
                with heights and widths that are multiples of `size_multiple`.
            return_dict: Return a `GeneratorOutput` (or a plain tuple).

        Returns:
            Pictures of the same shape in [-1, 1].

        Raises:
            ValueError: For other heights and widths.
        """
        check_multiples(sample, self.size_multiple)
        hidden = self.conv_in(sample)  # (B, widths[0], H, W)
        for block in self.down_blocks:
            hidden = block(hidden)  # (B, widths[i], H/2^i, W/2^i)
        for block in self.mid_blocks:
            hidden = block(hidden)
        field = self.conv_out(hidden)  # (B, bins · out_channels · (in_channels + 1), H/2^n, W/2^n)
        picture = self.transform(sample, self.enlarge(field))
        if not return_dict:
            return (picture,)
        return GeneratorOutput(sample=picture)

    def start_as_identity(self) -> None:
        """Set the last convolution to 0, so that training starts from the image as it is."""
        zero_(self.conv_out[1])

    def enlarge(self, field: torch.Tensor) -> torch.Tensor:
        """Enlarge a field to the image's size; see `affine_field.enlarge`."""
        return enlarge(field, self.size_multiple)

    def transform(self, sample: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        """Apply a field of the picture's own size to it.

        Args:
            sample: Pictures `(B, C, H, W)` in [-1, 1].
            field: `(B, bins · C · (C + 1), H, W)`: of each bin what the first channel in adds to each channel out, the
                second, and so on, and last what is added everywhere.

        Returns:
            Pictures `(B, C, H, W)` in [-1, 1].
        """
        return torch.tanh(before_tanh(sample) + color_change(sample, field, self.config["num_luma_bins"]))
