"""The PatchGAN discriminator: one verdict for each patch of the picture."""

from itertools import pairwise
from typing import Literal

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from cyclegan_hf.models.checks import check_least, check_widths
from cyclegan_hf.models.layers import (
    ActivationType,
    InstanceNorm2d,
    NormType,
    conv_bias,
    make_activation,
    make_norm,
)
from cyclegan_hf.models.outputs import DiscriminatorOutput
from cyclegan_hf.models.publishing import NetworkMixin


OutputActivation = Literal["none", "sigmoid", "tanh"]
Padding = int | Literal["same"]


class PatchDiscriminator(NetworkMixin, ModelMixin, ConfigMixin):
    """PatchGAN discriminator (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2.2).

    Blocks of a 4×4 convolution, a norm (not in the first) and an activation, then one convolution to `out_channels`.
    With the defaults: 2,764,737 parameters, patches of 70×70, 256² to 30×30 (Zhu et al. 2017, appendix 7.2).

    The course reports' discriminators are of the same form:

    - `selfie2anime`: `out_channels=3`. 256² to 3×30×30.
    - `mnist2svhn`: `last_stride=2, padding="same", norm_on_first=True, head_padding="same", output_activation="tanh"`.
      28² and 32² to 2×2.
    - `summer2winter_v1`: `norm_type="batch", activation_type="relu", last_stride=2, head_kernel_size=8,
      head_padding=0`. 128² to a single score.
    - `human2anime_unet`: `block_out_channels=(64, 128, 256), norm_type="none", activation_type="relu", last_stride=2,
      head_stride=2, output_activation="sigmoid", pool_output=True`. 96² to 6×6 patches of 46×46 (the report says
      70×70), and these to one probability.

    Args:
        in_channels: Channels of the pictures.
        out_channels: Channels of the verdict: 1, or 3 in some reports.
        block_out_channels: Channels after each block. Four blocks are the official code's `n_layers=3`.
        norm_type: `"instance"`, `"batch"` or `"none"`.
        output_activation: `"none"` for unbounded scores, `"sigmoid"` or `"tanh"`.
        activation_type: Of the blocks: `"leaky_relu"` (slope 0.2) or `"relu"`.
        norm_on_first: Normalise in the first block too.
        last_stride: Stride of the last block, 1 or 2. The blocks before it halve the picture.
        padding: Pixels of zeros around what each block convolves, or `"same"`: as many as make the output the input's
            size divided by the stride, rounded up; an odd one goes to the bottom and the right, as in TensorFlow.
        head_kernel_size: Height and width of the last convolution.
        head_stride: Stride of the last convolution.
        head_padding: Padding of the last convolution, as `padding`.
        pool_output: Return the mean of the patches' verdicts, after `output_activation`: one verdict a picture.
        spectral_norm: Divide the weight of every convolution by its largest singular value (Miyato et al. 2018,
            "Spectral Normalization for Generative Adversarial Networks"), which each forward pass in training brings
            closer by one power iteration.
    """  # noqa: E501

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512),
        norm_type: NormType = "instance",
        output_activation: OutputActivation = "none",
        activation_type: ActivationType = "leaky_relu",
        norm_on_first: bool = False,
        last_stride: int = 1,
        padding: Padding = 1,
        head_kernel_size: int = 4,
        head_stride: int = 1,
        head_padding: Padding = 1,
        pool_output: bool = False,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels, least=2)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        check_least(1, head_kernel_size=head_kernel_size, head_stride=head_stride)
        if output_activation not in ("none", "sigmoid", "tanh"):
            raise ValueError(f"`output_activation` must be 'none', 'sigmoid' or 'tanh', got {output_activation!r}.")
        if last_stride not in (1, 2):
            raise ValueError(f"`last_stride` must be 1 or 2, got {last_stride!r}.")
        for name, pixels in (("padding", padding), ("head_padding", head_padding)):
            if pixels != "same" and not (isinstance(pixels, int) and pixels >= 0):
                raise ValueError(f"`{name}` must be 0, a number of pixels or 'same', got {pixels!r}.")

        first_norm: NormType = norm_type if norm_on_first else "none"
        strides = [2] * (len(widths) - 2) + [last_stride]
        self.conv_in = _block(in_channels, widths[0], 2, padding, first_norm, activation_type)
        self.blocks = nn.ModuleList(
            _block(narrow, wide, stride, padding, norm_type, activation_type)
            for (narrow, wide), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.conv_out = _conv(widths[-1], out_channels, head_kernel_size, head_stride, head_padding)
        if spectral_norm:
            for layer in list(self.modules()):
                if isinstance(layer, nn.Conv2d):
                    parametrizations.spectral_norm(layer)

    @property
    def receptive_field(self) -> int:
        """Height and width, in pixels, of the patch that one score sees, before pooling."""
        field, stride = 1, 1
        for layer in self.modules():  # in the order of the forward pass
            if isinstance(layer, nn.Conv2d):
                field += (layer.kernel_size[0] - 1) * stride
                stride *= layer.stride[0]
        return field

    @property
    def min_size(self) -> int:
        """The smallest height and width: each norm must see 2×2 positions, and the last convolution must fit."""
        size = 1
        while not self._fits(size):
            size += 1
        return size

    def _fits(self, size: int) -> bool:
        for conv, norm, _ in (self.conv_in, *self.blocks):
            size = _size_after(conv, size)
            if size < (2 if isinstance(norm, InstanceNorm2d | nn.BatchNorm2d) else 1):
                return False
        return _size_after(self.conv_out, size) >= 1

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> DiscriminatorOutput | tuple[torch.Tensor]:
        """Judge pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `DiscriminatorOutput` (or a plain tuple).

        Returns:
            Scores of shape `(batch_size, out_channels, patch_rows, patch_columns)`, with `pool_output`
            `(batch_size, out_channels, 1, 1)`: unbounded, in [0, 1] with `"sigmoid"`, in [-1, 1] with `"tanh"`.
        """
        hidden = self.conv_in(sample)  # (B, widths[0], H/2, W/2)
        for block in self.blocks:
            hidden = block(hidden)
        prediction = self.conv_out(hidden)  # (B, out_channels, H/8 - 2, W/8 - 2) with the defaults
        match self.config["output_activation"]:
            case "sigmoid":
                prediction = torch.sigmoid(prediction)
            case "tanh":
                prediction = torch.tanh(prediction)
        if self.config["pool_output"]:
            prediction = F.adaptive_avg_pool2d(prediction, 1)
        if not return_dict:
            return (prediction,)
        return DiscriminatorOutput(prediction=prediction)


class _SameConv2d(nn.Conv2d):
    """A convolution whose output is the input's size divided by the stride, rounded up (TensorFlow's "SAME")."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[-2:])
        if rows % 2 or columns % 2:
            input = F.pad(input, (0, columns % 2, 0, rows % 2))
        return F.conv2d(input, self.weight, self.bias, self.stride, padding=(rows // 2, columns // 2))


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: Padding, bias: bool = True
) -> nn.Conv2d:
    if padding == "same":
        return _SameConv2d(in_channels, out_channels, kernel_size, stride, bias=bias)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)


def _block(
    in_channels: int,
    out_channels: int,
    stride: int,
    padding: Padding,
    norm_type: NormType,
    activation_type: ActivationType,
) -> nn.Sequential:
    return nn.Sequential(
        _conv(in_channels, out_channels, 4, stride, padding, bias=conv_bias(norm_type)),
        make_norm(norm_type, out_channels),
        make_activation(activation_type),
    )


def _size_after(conv: nn.Conv2d, size: int) -> int:
    """Return the height or width after a convolution; 0 or less if it doesn't fit."""
    if isinstance(conv, _SameConv2d):
        return -(-size // conv.stride[0])
    return (size + 2 * int(conv.padding[0]) - conv.kernel_size[0]) // conv.stride[0] + 1
