"""Limits for building a network: its settings come from a file, and a few digits there can take all memory."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


class TooManyParametersError(ValueError):
    """A network that is larger than its limit."""


@contextlib.contextmanager
def limited_parameters(max_tensors: float, max_values: float) -> Iterator[None]:
    """Stop this thread from building more parameters than allowed within this block.

    Each layer registers its parameters as it is made, so that a network of a billion layers ends after the first ones.

    Args:
        max_tensors: Parameters, in tensors.
        max_values: Their values, all together.

    Raises:
        TooManyParametersError: There are more.
    """
    thread, tensors, values = threading.get_ident(), 0, 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, values
        if parameter is None or threading.get_ident() != thread:
            return
        tensors, values = tensors + 1, values + parameter.numel()
        if tensors > max_tensors or values > max_values:
            raise TooManyParametersError(f"{tensors:,} tensors of {values:,} values, and that is not all")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def check_against_weights(
    model_class: type[nn.Module], config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Compare a network's settings with what its weight file holds, without memory for either.

    Args:
        model_class: The network's class.
        config: Its arguments.
        shapes: The file's tensors, by name.

    Raises:
        ValueError: The settings ask for more than the file holds.
        RuntimeError: Tensors are missing, left over or of another shape, as `load_state_dict` says it.
    """
    with torch.device("meta"):
        weights = {name: torch.empty(tuple(shape)) for name, shape in shapes.items()}
        values = sum(tensor.numel() for tensor in weights.values())
        try:
            with limited_parameters(2 * len(weights) + 100, 10 * values + 1_000_000):  # a small difference is named
                model = model_class(**config)
        except TooManyParametersError as error:
            raise ValueError(
                f"config.json asks for {error}; the weight file holds {len(weights):,} tensors of {values:,} values: "
                "one of the two is damaged or belongs to another model"
            ) from None
        model.load_state_dict(weights)


def read_shapes(weights: Path) -> dict[str, list[int]]:
    """Read the names and shapes of a safetensors file from its header, which is checked against the file's size.

    Raises:
        safetensors.SafetensorError: The file is damaged.
    """
    with safe_open(weights, "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, no mapping
