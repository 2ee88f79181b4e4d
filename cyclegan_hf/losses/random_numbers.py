"""Random numbers for images on a device, drawn on the CPU."""

import torch


def uniform(*size: int, like: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
    """Draw uniform numbers in [0, 1) on the CPU, so that every device gets the same ones.

    They are copied from pinned memory. From ordinary memory, the copy would wait until a GPU has done all that it was
    given before.

    Args:
        *size: Shape of the result.
        like: A tensor on the device that the numbers are for.
        random: Source of the numbers, on the CPU; by default torch's own.

    Returns:
        A tensor of shape `size` in `like`'s dtype and on its device.
    """
    return to_device(torch.rand(*size, generator=random).to(like.dtype), like.device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device without waiting for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
