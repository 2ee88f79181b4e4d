"""A 3×3 convolution with fewer multiplications, for processors: Winograd's minimal filtering, F(2×2, 3×3).

Four output pixels take 16 multiplications instead of 36. They are 16 matrix products over the channels; what is left,
sums of neighbouring pixels, a compiler fuses. The gradients are those of the same sums and products, with as few
multiplications. Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


_LEAST_CHANNELS = 128
"""With fewer, the sums take what the products save."""

Four = Sequence[torch.Tensor]
Tiles = tuple[int, int, int]
"""Pictures, and tiles of 2×2 output pixels from top to bottom and from left to right."""


def prefers_winograd() -> bool:
    """Return whether Winograd's algorithm is faster on this processor: one that multiplies bf16 with AVX-512.

    AMX multiplies several times as fast, so that the sums around the products weigh more; it was never measured there.
    The environment's `CYCLEGAN_WINOGRAD`, 0 or 1, decides otherwise.
    """
    if os.environ.get("CYCLEGAN_WINOGRAD") in ("0", "1"):
        return os.environ["CYCLEGAN_WINOGRAD"] == "1"
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` with a 3×3 kernel, stride 1 and no padding, which takes the faster way where there is one.

    That is in compiled code, in bf16, channels last, where `winograd` is on. The weights are those of `nn.Conv2d`, and
    so is the result, to rounding: four times the error of bf16's own convolution, 0.4 % of the values' size.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        bias: Whether it adds one.
    """

    winograd: bool = prefers_winograd()  # asked here: in compiled code the question would break the graph
    """Switch of the faster way, of all layers or of one. It is as the processor prefers."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve: `(B, in_channels, H, W)` to `(B, out_channels, H - 2, W - 2)`."""
        if not self._takes_winograd(x):
            return super().forward(x)
        y = winograd_conv3x3(x.bfloat16(), self.weight)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)

    def _takes_winograd(self, x: torch.Tensor) -> bool:
        compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
        if not (self.winograd and compiled and x.device.type == "cpu"):
            return False
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        wide = min(self.in_channels, self.out_channels) >= _LEAST_CHANNELS
        innermost = x.is_contiguous(memory_format=torch.channels_last)  # else the sums jump through memory
        return wide and innermost and dtype == torch.bfloat16


def winograd_conv3x3(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute `F.conv2d(x, weight)` of a 3×3 kernel by Winograd's algorithm.

    Args:
        x: `(B, C, H, W)`, padded already. The sums are in fp32, the products of values in its precision.
        weight: `(O, C, 3, 3)`.

    Returns:
        `(B, O, H - 2, W - 2)` in `x`'s precision, laid out channels last.
    """
    height, width = x.shape[2] - 2, x.shape[3] - 2
    if height % 2 or width % 2:  # zeros to whole tiles; what they lead to is cut off
        x = F.pad(x, (0, width % 2, 0, height % 2))
    return _convolve(x, weight)[:, :, :height, :width]


# An operator of its own, so that its many small sums are compiled once, and not for each layer in whose graph it is.
@torch.library.custom_op("cyclegan_hf::winograd", mutates_args=())
def _convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolve whole tiles: `(B, C, 2h + 2, 2w + 2)` and `(O, C, 3, 3)` to `(B, O, 2h, 2w)`."""
    with torch.no_grad():
        return _compiled(_forward)(x, weight)


@torch.library.custom_op("cyclegan_hf::winograd_backward", mutates_args=())
def _convolve_backward(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the images and of the weight."""
    with torch.no_grad():
        return _compiled(_backward)(grad, x, weight)


@_convolve.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    shape = x.shape[0], x.shape[2] - 2, x.shape[3] - 2, weight.shape[0]
    return x.new_empty(shape).permute(0, 3, 1, 2)


@_convolve_backward.register_fake
def _(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (pictures, channels, height, width), outputs = x.shape, len(weight)
    grad_x = x.new_empty(pictures, height, width, channels).permute(0, 3, 1, 2)
    return grad_x, weight.new_empty(outputs, 3, 3, channels).permute(0, 3, 1, 2)


def _keep(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _convolve_backward(grad, *ctx.saved_tensors)


_convolve.register_autograd(_gradients, setup_context=_keep)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)  # above its limit of shapes it computes uncompiled


def _forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute a matrix product for each of a tile's 16 sums."""
    kernel = _of_kernel(weight).to(x.dtype)
    return _to_output(torch.bmm(_of_input(x), kernel.transpose(1, 2)), _tiles(x))  # of (16, B·h·w, O)


def _backward(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply the transposes of the forward pass, which is linear, in reverse order."""
    products = _of_output(grad.to(x.dtype))  # (16, B·h·w, O)
    grad_x = torch.bmm(products, _of_kernel(weight).to(x.dtype))  # (16, B·h·w, C)
    grad_kernel = torch.bmm(products.transpose(1, 2), _of_input(x))  # (16, O, C)
    return _to_input(grad_x, _tiles(x)), _to_kernel(grad_kernel).to(weight.dtype)


def _tiles(x: torch.Tensor) -> Tiles:
    return x.shape[0], x.shape[2] // 2 - 1, x.shape[3] // 2 - 1


def _of_input(x: torch.Tensor) -> torch.Tensor:
    """Transform images `(B, C, 2h + 2, 2w + 2)` to `(16, B·h·w, C)`."""
    pixels = x.permute(0, 2, 3, 1).float()  # (B, H, W, C)
    height, width = x.shape[2] - 2, x.shape[3] - 2
    lines = _differences([pixels[:, first : first + height : 2] for first in range(4)])
    values = [_differences([line[:, :, first : first + width : 2] for first in range(4)]) for line in lines]
    return torch.stack([value.flatten(0, 2).to(x.dtype) for line in values for value in line])


def _differences(values: Four) -> Four:
    """Combine four pixels in a row, of which the next tile shares two."""
    a, b, c, d = values
    return a - c, b + c, c - b, b - d


def _to_input(grad: torch.Tensor, tiles: Tiles) -> torch.Tensor:
    """Apply the transpose of `_of_input`."""
    values = grad.unflatten(1, tiles).float().unbind()  # each (B, h, w, C)
    lines = [_scatter(values[first : first + 4], 2) for first in range(0, 16, 4)]
    return _scatter(lines, 1).to(grad.dtype).permute(0, 3, 1, 2)


def _scatter(values: Four, dim: int) -> torch.Tensor:
    """Apply the transpose of `_differences` and of taking every second pixel, along a dimension of `(B, H, W, C)`."""
    a, b, c, d = values
    after, before = ([0, 0] * (3 - dim) + ends for ends in ([0, 1], [1, 0]))  # one tile more at an end
    even = F.pad(a, after) + F.pad(b + c - a, before)
    odd = F.pad(b - c + d, after) - F.pad(d, before)
    return torch.stack([even, odd], dim + 1).flatten(dim, dim + 1)


def _of_kernel(weight: torch.Tensor) -> torch.Tensor:
    """Transform weights `(O, C, 3, 3)` to `(16, O, C)`, in fp32."""
    lines = _thirds(weight.float().unbind(2))  # each (O, C, 3)
    return torch.stack([value for line in lines for value in _thirds(line.unbind(2))])


def _thirds(values: Sequence[torch.Tensor]) -> Four:
    """Combine three weights in a row."""
    a, b, c = values
    return a, (a + b + c) / 2, (a - b + c) / 2, c


def _to_kernel(grad: torch.Tensor) -> torch.Tensor:
    """Apply the transpose of `_of_kernel`, laid out channels last."""
    values = grad.float().unbind()  # each (O, C)
    lines = [_to_thirds(values[first : first + 4]) for first in range(0, 16, 4)]  # each three of (O, C)
    columns = [_to_thirds(column) for column in zip(*lines, strict=True)]  # each of three rows
    pixels = [value for row in zip(*columns, strict=True) for value in row]
    return torch.stack(pixels, 1).unflatten(1, (3, 3)).permute(0, 3, 1, 2)


def _to_thirds(values: Four) -> Sequence[torch.Tensor]:
    a, b, c, d = values
    return a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d


def _to_output(products: torch.Tensor, tiles: Tiles) -> torch.Tensor:
    """Transform `(16, B·h·w, O)` to images `(B, O, 2h, 2w)`."""
    values = products.unflatten(1, tiles).float().unbind()  # each (B, h, w, O)
    lines = [_pair(values[first : first + 4]) for first in range(0, 16, 4)]
    columns = [_pair(column) for column in zip(*lines, strict=True)]  # of the left pixels, and of the right
    rows = [torch.stack(row, 3) for row in zip(*columns, strict=True)]  # each (B, h, w, 2, O)
    pixels = torch.stack(rows, 2).to(products.dtype)  # (B, h, 2, w, 2, O)
    return pixels.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def _pair(values: Four) -> Sequence[torch.Tensor]:
    a, b, c, d = values
    return a + b + c, b - c - d


def _of_output(grad: torch.Tensor) -> torch.Tensor:
    """Apply the transpose of `_to_output`: `(B, O, 2h, 2w)` to `(16, B·h·w, O)`."""
    pixels = grad.permute(0, 2, 3, 1).float()  # (B, H, W, O)
    lines = _of_pair(pixels[:, ::2], pixels[:, 1::2])
    values = [value for line in lines for value in _of_pair(line[:, :, ::2], line[:, :, 1::2])]
    return torch.stack([value.flatten(0, 2).to(grad.dtype) for value in values])


def _of_pair(first: torch.Tensor, second: torch.Tensor) -> Four:
    return first, first + second, first - second, -second
