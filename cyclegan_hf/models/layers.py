"""Blocks that several architectures share; their forms for `torch.compile` are in `kernels`."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.checks import check_dropout, check_least
from cyclegan_hf.models.kernels.fused import FusedInstanceNorm, FusedPixelNorm, FusedReflectionPad, traced_for_speed
from cyclegan_hf.models.kernels.winograd import Conv3x3


NormType = Literal["instance", "instance_affine", "batch", "pixel", "none"]
PaddingMode = Literal["reflect", "zero"]
UpsampleType = Literal["conv_transpose", "resize_conv"]
ActivationType = Literal["relu", "leaky_relu"]


def _contiguous(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """Return a gradient in the standard layout; second derivatives may have none."""
    return None if gradient is None else gradient.contiguous()


class InstanceNorm2d(nn.Module):
    """Instance normalisation without affine parameters and without running statistics.

    Ulyanov et al. 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization", eq. 1; the form the
    official CycleGAN code uses. Takes and returns `(B, C, H, W)` of any range; each channel of each picture leaves
    with mean 0 and variance 1. `H * W` must be above 1.

    Args:
        eps: Added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each channel of each picture."""
        if traced_for_speed():
            return FusedInstanceNorm.apply(x, self.eps)
        y = F.instance_norm(x, eps=self.eps)
        if y.requires_grad:
            # torch 2.13 on processors: of a single picture, its backward takes a channels-last gradient for a
            # contiguous one, and gives another.
            y.register_hook(_contiguous)
        return y

    def extra_repr(self) -> str:
        """Return the settings for `repr`."""
        return f"eps={self.eps}"


class AffineInstanceNorm2d(InstanceNorm2d):
    """Instance normalisation with a learnt scale and shift of each channel.

    Of one picture it is what a batch norm computes with batch statistics, its mode in training.

    Args:
        num_channels: Channels of the input.
        eps: Added to the variance.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(eps)
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each channel of each picture, then scale and shift it."""
        if torch.compiler.is_exporting():  # the weights stay those of the file: reshaped, they would be constants
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return self.scale(super().forward(x))

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift what is normalised already."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class PixelNorm2d(nn.Module):
    """Pixelwise feature normalisation (Karras et al. 2018, "Progressive Growing of GANs", section 4.2).

    Takes and returns `(B, C, H, W)` of any range: the channels of each pixel are divided by their root mean square.
    No statistic spans the picture. So a network cannot shift a whole channel by one extreme blot, as it learns to
    under instance norm (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 2), and a
    picture's part is translated as in the whole.

    Args:
        eps: Added to the mean square.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each pixel; statistics are in fp32."""
        if traced_for_speed():
            return FusedPixelNorm.apply(x, self.eps)
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + self.eps)).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings for `repr`."""
        return f"eps={self.eps}"


class Pad2d(nn.Module):
    """Padding by `padding` pixels on each side: reflection (the border pixel is not repeated) or zeros.

    Takes `(B, C, H, W)`, returns `(B, C, H + 2 * padding, W + 2 * padding)`. Reflection needs `H, W > padding`.

    Args:
        padding: Pixels added on each side.
        padding_mode: `"reflect"` or `"zero"`.
    """

    def __init__(self, padding: int, padding_mode: PaddingMode = "reflect") -> None:
        super().__init__()
        if padding_mode not in ("reflect", "zero"):
            raise ValueError(f"`padding_mode` must be 'reflect' or 'zero', got {padding_mode!r}.")
        check_least(0, padding=padding)
        self.padding = padding
        self.padding_mode = padding_mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad each side."""
        p = self.padding
        if p == 0:
            return x
        if self.padding_mode == "zero":
            return F.pad(x, (p, p, p, p))
        if traced_for_speed():
            return FusedReflectionPad.apply(FusedReflectionPad.apply(x, p, 2), p, 3)
        return F.pad(x, (p, p, p, p), mode="reflect")

    def extra_repr(self) -> str:
        """Return the settings for `repr`."""
        return f"{self.padding}, padding_mode={self.padding_mode}"


class Upsample2x(nn.Module):
    """Nearest-neighbour upsampling by two: `(B, C, H, W)` to `(B, C, 2H, 2W)`.

    Before a convolution it takes the place of a transposed convolution, whose uneven overlap draws a checkerboard
    (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts").
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat each value in a square of four."""
        if traced_for_speed():
            # The backward of these copies is a sum. That of `interpolate` is compiled to a scatter, several times
            # slower and, in bf16 with channels_last (torch 2.13, CPU), not a number.
            x = torch.stack([x, x], dim=3).flatten(2, 3)
            return torch.stack([x, x], dim=4).flatten(3, 4)
        return F.interpolate(x, scale_factor=2, mode="nearest")


def make_norm(norm_type: NormType, num_channels: int) -> nn.Module:
    """Build the normalisation layer of that name for `(B, num_channels, H, W)`."""
    match norm_type:
        case "instance":
            return InstanceNorm2d()
        case "instance_affine":
            return AffineInstanceNorm2d(num_channels)
        case "batch":
            return nn.BatchNorm2d(num_channels)
        case "pixel":
            return PixelNorm2d()
        case "none":
            return nn.Identity()
    raise ValueError(
        f"`norm_type` must be 'instance', 'instance_affine', 'batch', 'pixel' or 'none', got {norm_type!r}."
    )


def make_activation(activation_type: ActivationType) -> nn.Module:
    """Build the activation of that name: `"relu"`, or `"leaky_relu"` with the slope 0.2 of all discriminators here."""
    match activation_type:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(0.2)
    raise ValueError(f"`activation_type` must be 'relu' or 'leaky_relu', got {activation_type!r}.")


def conv_bias(norm_type: NormType) -> bool:
    """Return whether a convolution before that norm has a bias: a norm with a shift has its own."""
    return norm_type not in ("batch", "instance_affine")


class SeparableConv2d(nn.Module):
    """A 3×3 convolution in two: one per channel, and one over the channels of each pixel.

    Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions": about a ninth of the weights and of
    the arithmetic. Takes `(B, channels, H, W)`, returns `(B, channels, H - 2, W - 2)`: it does not pad.

    Args:
        channels: Channels in and out.
        bias: Whether the second convolution adds one.
    """

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return self.pointwise(self.depthwise(x))


class ResnetBlock(nn.Module):
    """Residual block: pad, 3×3, norm, activation, dropout, pad, 3×3, norm, added to the input.

    Johnson et al. 2016 (supplementary material), as the CycleGAN paper's appendix 7.2 takes it over: no activation
    after the sum. He et al. 2016 (figure 2) have one.

    Args:
        channels: Channels in and out; shape `(B, channels, H, W)` is kept.
        norm_type: `"instance"`, `"batch"` or `"none"`.
        padding_mode: `"reflect"` or `"zero"`.
        dropout_prob: Probability of dropping a value between the two convolutions, in [0, 1).
        activation_type: `"relu"` or `"leaky_relu"`.
        activation_after_add: Apply the activation to the sum too.
        separable: [`SeparableConv2d`] in place of both convolutions.
    """

    def __init__(
        self,
        channels: int,
        norm_type: NormType = "instance",
        padding_mode: PaddingMode = "reflect",
        dropout_prob: float = 0.0,
        activation_type: ActivationType = "relu",
        activation_after_add: bool = False,
        separable: bool = False,
    ) -> None:
        super().__init__()
        check_least(1, channels=channels)
        check_dropout(dropout_prob)
        bias = conv_bias(norm_type)

        def conv() -> nn.Module:
            return SeparableConv2d(channels, bias) if separable else Conv3x3(channels, channels, bias)

        self.activation = make_activation(activation_type)
        self.activation_after_add = activation_after_add
        self.pad = Pad2d(1, padding_mode)
        self.conv1 = conv()
        self.norm1 = make_norm(norm_type, channels)
        self.dropout = nn.Dropout(dropout_prob)
        self.conv2 = conv()
        self.norm2 = make_norm(norm_type, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's residual to `x`."""
        residual = self.activation(self.norm1(self.conv1(self.pad(x))))
        x = x + self.norm2(self.conv2(self.pad(self.dropout(residual))))
        return self.activation(x) if self.activation_after_add else x


def before_tanh(picture: torch.Tensor) -> torch.Tensor:
    """Invert tanh on 0.99 of its range (at the ends the inverse is infinite)."""
    picture = picture.clamp(-0.99, 0.99)
    return 0.5 * (torch.log1p(picture) - torch.log1p(-picture))
