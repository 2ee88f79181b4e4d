"""Checks of arguments (a config file may hold anything) and of images, shared by all architectures."""

from collections.abc import Sequence

import torch


def check_least(least: int, **values: int) -> None:
    """Refuse what is no integer of at least `least`.

    Raises:
        ValueError: One line that names the argument.
    """
    for name, value in values.items():
        if not isinstance(value, int):
            raise ValueError(f"`{name}` must be an integer, got {value!r}.")
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def check_widths(block_out_channels: Sequence[int], least: int = 1) -> list[int]:
    """Check the widths of a network: at least `least` (1 or 2) of them, each positive; return them as a list.

    Raises:
        ValueError: Otherwise.
    """
    widths = list(block_out_channels)
    if len(widths) < least:
        number = "one width" if least == 1 else "two widths"
        raise ValueError(f"`block_out_channels` must name at least {number}, got {widths or 'an empty sequence'}.")
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"`block_out_channels` must be integers above 0, got {widths}.")
    return widths


def check_dropout(dropout_prob: float) -> None:
    """Refuse what is no probability of dropping a value, or drops them all.

    Raises:
        ValueError: Outside [0, 1).
    """
    if not (isinstance(dropout_prob, int | float) and 0 <= dropout_prob < 1):
        raise ValueError(f"`dropout_prob` must be in [0, 1), got {dropout_prob!r}.")


def check_multiples(sample: torch.Tensor, multiple: int, when: str = "") -> None:
    """Refuse pictures, `(B, C, H, W)`, whose height or width is not a multiple of `multiple`.

    Raises:
        ValueError: One line with both; `when` says under which setting.
    """
    height, width = sample.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"Height and width of `sample` must be multiples of {multiple}{when}, got {height}×{width}.")
