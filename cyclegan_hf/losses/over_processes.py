"""Means over the whole batch of a step that several processes share."""

from typing import Any

import torch
from torch import distributed
from torch.autograd.function import once_differentiable


def processes() -> tuple[int, int]:
    """Return rank and world size of this process; (0, 1) outside of distributed training."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes, with gradients.

    Where every process has as many pictures, the mean of their means is the mean over the whole batch. Each process's
    loss depends on every process's part of it, so the gradient that comes back to a part is gathered too. Distributed
    training averages the processes' gradients: the result is that of one process with the whole batch.

    Every process must call this as often and in the same order. Where gradients are off, as for validation losses,
    which one process computes for all, it is on its own.

    Args:
        value (`torch.Tensor` of any shape, the same on each process): This process's mean.

    Returns:
        Tensor of the same shape; on a single process `value` itself.
    """
    return _Mean.apply(value) if processes()[1] > 1 and torch.is_grad_enabled() else value


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return _mean(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _mean(gradient)


def _mean(value: torch.Tensor) -> torch.Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
