"""Instance norm, pixel norm and reflection padding for `torch.compile`.

The stock kernels leave the fast path of `channels_last` tensors. A compiler sees these as plain arithmetic and slices
instead, which it fuses and differentiates in the layout they came in. They give the stock kernels' results. The switch
is [`traced_for_speed`].
"""

from typing import Any

import torch


def traced_for_speed() -> bool:
    """Return whether `torch.compile` traces the code (an exporter wants the standard operators)."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


class FusedInstanceNorm(torch.autograd.Function):
    """Instance norm with its gradient in closed form: three passes over the picture, where autograd's takes more.

    Statistics are in fp32: bf16 has 8 bits of mantissa, too few to add up thousands of pixels.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        """(x - mean) / sqrt(var + eps), over the pixels."""
        wide = x.float()
        var, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        scale = torch.rsqrt(var + eps)
        y = ((wide - mean) * scale).to(x.dtype)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Ioffe & Szegedy 2015, section 3, for one picture: the gradient without its mean and its share along y."""
        y, scale = ctx.saved_tensors
        wide, grad = y.float(), gradients[0].float()
        along = wide * (grad * wide).mean(dim=(2, 3), keepdim=True)
        return ((grad - grad.mean(dim=(2, 3), keepdim=True) - along) * scale).to(y.dtype), None


class FusedPixelNorm(torch.autograd.Function):
    """Pixel norm with its gradient in closed form; statistics are in fp32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        """Divide by sqrt(mean of x² + eps), over the channels."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + eps)
        y = (wide * scale).to(x.dtype)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient without its share along y, which a change of length cannot move."""
        y, scale = ctx.saved_tensors
        wide, grad = y.float(), gradients[0].float()
        along = wide * (grad * wide).mean(dim=1, keepdim=True)
        return ((grad - along) * scale).to(y.dtype), None


class FusedReflectionPad(torch.autograd.Function):
    """Reflection along one dimension, as pieces put together, and its gradient in the same form.

    Autograd's gradient of the pieces adds up padded slices. Compiled (torch 2.13, CPU, bf16), that gives NaN next to
    some norms.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, padding: int, dim: int) -> torch.Tensor:
        """Return the first and the last `padding` values but one, mirrored, around `x`."""
        ctx.padding, ctx.dim = padding, dim
        size = x.shape[dim]
        before, after = x.narrow(dim, 1, padding), x.narrow(dim, size - 1 - padding, padding)
        return torch.cat([before.flip(dim), x, after.flip(dim)], dim)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Each value's own gradient, and what its mirror image got."""
        grad, padding, dim = gradients[0], ctx.padding, ctx.dim
        size = grad.shape[dim] - 2 * padding
        inner = grad.narrow(dim, padding, size)
        before, after = grad.narrow(dim, 0, padding).flip(dim), grad.narrow(dim, padding + size, padding).flip(dim)
        edge = torch.zeros_like(inner.narrow(dim, 0, 1))
        rest = torch.zeros_like(inner.narrow(dim, 0, size - 1 - padding))
        return inner + torch.cat([edge, before, rest], dim) + torch.cat([rest, after, edge], dim), None, None
