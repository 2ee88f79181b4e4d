"""Arguments as diffusers' users write them: dtypes by name, one device, sizes of files, unknown keywords."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

from cyclegan_hf.errors import nearest
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.pipelines.walk import Domain


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def as_dtype(dtype: torch.dtype | str | None, alias: torch.dtype | str | None = None) -> torch.dtype | None:
    """Return a floating-point dtype.

    Args:
        dtype: A dtype, its name such as `"float16"` or `"torch.float16"`, or `"auto"`; float32 where it is `None`.
        alias: The same under diffusers' older name, `torch_dtype`.

    Returns:
        The dtype; `None` for `"auto"`: what the files hold.

    Raises:
        ValueError: Both were given and differ, or it is no floating-point dtype.
    """
    if dtype is not None and alias is not None and as_dtype(dtype) != as_dtype(alias):
        raise ValueError(f"`dtype` and `torch_dtype` are one setting, got {dtype} and {alias}")
    value = dtype if dtype is not None else alias
    if value is None:
        return torch.float32
    if value == "auto":
        return None
    found = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(f'`dtype` must be "auto" or a floating-point dtype such as torch.float16, got {value!r}')
    return found


def as_device(device_map: Any) -> torch.device:
    """Return the one device that `device_map` names.

    Raises:
        ValueError: It names several, none, or one that this machine lacks.
    """
    try:
        device = torch.device(device_map)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f'`device_map` must be one device of this machine, such as "cpu" or "cuda", got {device_map!r} ({first})'
        ) from error
    return device


def check_shard_size(limit: int | str, networks: Iterable[torch.nn.Module | None]) -> None:
    """Refuse a limit on the size of a weight file that a network exceeds: each is written as one file.

    Args:
        limit: Bytes, or a text such as `"10GB"` or `"500MiB"`.
        networks: The networks that are to be saved.

    Raises:
        ValueError: A network is larger, or the limit is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?|)B?", str(limit).strip().upper())
    if match is None:
        raise ValueError(f'`max_shard_size` must be a number of bytes or a size such as "10GB", got {limit!r}')
    most = float(match[1]) * _UNITS[match[2]]
    for network in networks:
        size = sum(tensor.nbytes for tensor in network.state_dict().values()) if network is not None else 0
        if size > most:
            raise ValueError(
                f"weights are saved as one file a generator, {size:,} bytes here: leave out `max_shard_size={limit!r}`"
            )


def refuse_unknown(function: Callable[..., Any], given: Mapping[str, Any], also: Iterable[str] = ()) -> None:
    """Refuse keywords that a function does not take.

    Args:
        function: The function.
        given: The keywords that its signature did not name.
        also: More names that it takes.

    Raises:
        ValueError: One is unknown; the message names the one that may be meant, or those that there are.
    """
    parameters = inspect.signature(function).parameters.values()
    known = {parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD} | set(also)
    for name in given:
        if name not in known:
            raise ValueError(f"unknown keyword `{name}`{nearest(name, known - {'self'})}")


@contextlib.contextmanager
def evaluating(networks: list[ModelMixin]) -> Iterator[None]:
    """Switch dropout off and batch norms to stored statistics, also in the middle of a training run."""
    training = [network.training for network in networks]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for network, mode in zip(networks, training, strict=True):
            network.train(mode)


def processor_config(
    domain: Domain, processor: ImageProcessor | dict[str, Any] | None, channels: set[int]
) -> dict[str, Any]:
    """Return the JSON form of a domain's processor, checked against the generators' channels on that side."""
    if len(channels) != 1:
        raise ValueError(f"both generators must have the same channels in domain {domain}, got {sorted(channels)}")
    (num_channels,) = channels
    if processor is None:
        processor = ImageProcessor(num_channels=num_channels)
    elif not isinstance(processor, ImageProcessor):
        processor = ImageProcessor.from_config(processor)
    if processor.num_channels != num_channels:
        raise ValueError(
            f"`image_processor_{domain}` has {processor.num_channels} channels, but the generators have {num_channels}"
        )
    return processor.to_config()


def constructor_arguments(cls: type) -> list[str]:
    """Return the names of the arguments that a class is made with."""
    return [name for name in inspect.signature(cls).parameters if name != "self"]
