"""The official code's state dicts: which network one is, and the names of its tensors here.

Names and shapes alone tell the architecture (pytorch-CycleGAN-and-pix2pix, `models/networks.py`, from 2017 to 2025).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers.models.modeling_utils import ModelMixin

from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.layers import NormType, PaddingMode


Kind = Literal["generator", "discriminator"]
Tensors = Mapping[str, torch.Tensor]

_WRAPPER_PARTS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, kw_only=True)
class MappedNetwork:
    """One official network in this library's terms.

    Attributes:
        kind: `"generator"` or `"discriminator"`.
        model_class: Its class here.
        config: The arguments of that class.
        state_dict: Its weights under our names: float32, contiguous, not shared with the source.
        sources: The official name of each of our tensors that the source holds.
        filled: Our tensors that the source lacks, because the official network has no such value: zeros.
        dropped: Official tensors that are not used: statistics that instance norms of 2017 recorded, or of batch norms
            that use each picture's own.
    """

    kind: Kind
    model_class: type[ModelMixin]
    config: dict[str, Any]
    state_dict: dict[str, torch.Tensor]
    sources: dict[str, str]
    filled: tuple[str, ...]
    dropped: tuple[str, ...]

    def build(self) -> ModelMixin:
        """Build the model with these weights, in evaluation mode."""
        with torch.device("meta"):
            model = self.model_class(**self.config)
        model.load_state_dict(self.state_dict, assign=True)
        return model.eval()


@dataclass
class _Layout:
    """An architecture read from names and shapes.

    Attributes:
        convs: Pairs of (official prefix, our prefix).
        norms: The same.
        biased: Our prefixes of those convolutions that have a bias whatever the norm.
    """

    kind: Kind
    model_class: type[ModelMixin]
    config: dict[str, Any]
    convs: list[tuple[str, str]] = field(default_factory=list)
    norms: list[tuple[str, str]] = field(default_factory=list)
    biased: tuple[str, ...] = ()


def map_official_state_dict(
    state_dict: Tensors,
    *,
    padding_mode: PaddingMode = "reflect",
    dropout_prob: float | None = None,
    batch_statistics: bool = False,
) -> MappedNetwork:
    """Recognise an official network and give its tensors our names.

    Known are the ResNet and U-Net generators and the n-layer and pixel discriminators, of any depth and width, with
    instance, batch or no norm, with or without dropout, of any year, saved from `DataParallel` or not.

    Args:
        state_dict: Official names (`model.1.weight`, …) and tensors. It is left as it is.
        padding_mode: Padding of a ResNet, which names and shapes do not tell; the official default is `"reflect"`.
        dropout_prob: Dropout of a generator. `None` is the official 0.5 where a ResNet has dropout layers, and 0
            elsewhere (U-Net dropout leaves no trace in the names).
        batch_statistics: Make a generator's batch norms instance norms with the same scales and shifts: each picture
            then has its own statistics, as in the official code's `test.py` without `--eval`. The stored statistics
            are dropped.

    Returns:
        The network. Every tensor of `state_dict` is in `sources` or in `dropped`.

    Raises:
        ValueError: Not an official network; one line that names what it looks like or which tensors do not fit.
    """
    tensors = strip_wrappers(state_dict)
    _refuse_strangers(tensors)
    if "net.0.weight" in tensors:
        layout = _pixel_discriminator(tensors)
    elif "model.model.0.weight" in tensors:
        layout = _unet_generator(tensors, dropout_prob)
    elif "model.0.weight" in tensors:
        layout = _patch_discriminator(tensors)
    else:
        layout = _resnet_generator(tensors, padding_mode, dropout_prob)
    if batch_statistics and layout.kind == "generator" and layout.config["norm_type"] == "batch":
        layout.config["norm_type"] = "instance_affine"
    return _mapped(tensors, layout)


def strip_wrappers(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the same tensors under the names that they have without wrappers around the network.

    `torch.compile` puts `_orig_mod.` into names, at the front or before a part that was compiled; FSDP and activation
    checkpointing have prefixes of the same kind. `DataParallel`, `DistributedDataParallel` and `AveragedModel` put
    `module.` before every name. They may be nested in any order. The step counter of `AveragedModel` is left out.
    """
    stripped = {_WRAPPER_PARTS.sub("", name): tensor for name, tensor in tensors.items() if name != "n_averaged"}
    if len(stripped) < len(tensors) - ("n_averaged" in tensors):
        raise ValueError("two tensors have one name, apart from prefixes such as `_orig_mod.`; expected one network.")
    while stripped and all(name.startswith("module.") for name in stripped):
        stripped = {name.removeprefix("module."): tensor for name, tensor in stripped.items()}
    return stripped


def _refuse_strangers(tensors: Tensors) -> None:
    names = list(tensors)
    shown = ", ".join(repr(name)[:60] for name in names[:3]) or "none"
    if any(name.endswith(".filt") for name in names):
        raise ValueError(
            "a network of CUT with antialiased resampling (`filt` tensors), which CycleGAN's layout has no place for; "
            "expected an official CycleGAN network."
        )
    if any(name.startswith(("generators.", "discriminators.")) for name in names):
        raise ValueError(f"an mmagic checkpoint (names {shown}); expected an official CycleGAN network.")
    if any(name.startswith(("conv_in.", "down_blocks.")) for name in names):
        raise ValueError(f"already in the layout of diffusers (names {shown}); expected an official CycleGAN network.")
    if not any(name in tensors for name in ("net.0.weight", "model.model.0.weight", "model.0.weight")) and not (
        "model.1.weight" in tensors and any(".conv_block." in name for name in names)
    ):
        raise ValueError(f"not an official CycleGAN network: {len(names)} tensors with names such as {shown}.")


def _width(tensors: Tensors, conv: str, dim: int = 0) -> int:
    """Return the channels of a convolution's weight: out (dim 0) or in (1); transposed: in (0) or out (1)."""
    weight = tensors.get(f"{conv}.weight")
    if weight is None:
        raise ValueError(f"not an official CycleGAN network: `{conv}.weight` is missing.")
    if weight.ndim != 4 or 0 in weight.shape:
        shape = tuple(weight.shape)
        raise ValueError(f"not an official CycleGAN network: `{conv}.weight` has shape {shape}, expected a kernel's.")
    return weight.shape[dim]


def _norm_type(tensors: Tensors, conv: str) -> NormType:
    """Return the norm of a network; `conv` is a convolution before one."""
    if any(name.endswith(".running_var") and name[: -len("running_var")] + "weight" in tensors for name in tensors):
        return "batch"
    # The official code gives convolutions a bias before an instance norm only.
    return "instance" if f"{conv}.bias" in tensors else "none"


def _resnet_generator(tensors: Tensors, padding_mode: PaddingMode, dropout_prob: float | None) -> _Layout:
    positions = {int(match[1]) for name in tensors if (match := re.match(r"model\.(\d+)\.conv_block\.", name))}
    first, last = min(positions), max(positions)
    downs: list[str] = []
    while f"model.{4 + 3 * len(downs)}.weight" in tensors and 4 + 3 * len(downs) < first:
        downs.append(f"model.{4 + 3 * len(downs)}")
    if first != 4 + 3 * len(downs) or last - first + 1 != len(positions):
        raise ValueError(f"not an official CycleGAN network: residual blocks at `model.{first}` to `model.{last}`.")
    if f"model.{first}.conv_block.0.weight" in tensors:
        raise ValueError(
            "a ResNet whose residual blocks pad with zeros inside the convolutions, between reflected borders, which "
            "ResnetGenerator does not do; expected the official padding."
        )
    blocks = [f"model.{i}.conv_block" for i in range(first, last + 1)]
    ups = [f"model.{last + 1 + 3 * i}" for i in range(len(downs))]
    out = f"model.{last + 2 + 3 * len(downs)}"
    # Dropout moves the second convolution from 5 to 6, and its norm with it.
    has_dropout = f"{blocks[0]}.5.weight" not in tensors
    second = 6 if has_dropout else 5
    layout = _Layout(
        "generator",
        ResnetGenerator,
        {
            "in_channels": _width(tensors, "model.1", dim=1),
            "out_channels": _width(tensors, out),
            "block_out_channels": [_width(tensors, conv) for conv in ("model.1", *downs)],
            "num_res_blocks": len(blocks),
            "norm_type": _norm_type(tensors, "model.1"),
            "dropout_prob": (0.5 if has_dropout else 0.0) if dropout_prob is None else dropout_prob,
            "padding_mode": padding_mode,
        },
    )
    layout.convs += [("model.1", "conv_in.1")]
    layout.norms += [("model.2", "conv_in.2")]
    for i, conv in enumerate(downs):
        layout.convs += [(conv, f"down_blocks.{i}.0")]
        layout.norms += [(_after(conv), f"down_blocks.{i}.1")]
    for i, block in enumerate(blocks):
        layout.convs += [(f"{block}.1", f"mid_blocks.{i}.conv1")]
        layout.convs += [(f"{block}.{second}", f"mid_blocks.{i}.conv2")]
        layout.norms += [(f"{block}.2", f"mid_blocks.{i}.norm1")]
        layout.norms += [(f"{block}.{second + 1}", f"mid_blocks.{i}.norm2")]
    for i, conv in enumerate(ups):
        layout.convs += [(conv, f"up_blocks.{i}.0")]
        layout.norms += [(_after(conv), f"up_blocks.{i}.1")]
    layout.convs += [(out, "conv_out.1")]
    layout.biased = ("conv_out.1",)
    return layout


def _unet_generator(tensors: Tensors, dropout_prob: float | None) -> _Layout:
    levels = ["model.model.1.model"]  # each lies inside the one before; the outermost has its own form
    while f"{levels[-1]}.5.weight" in tensors:
        levels.append(f"{levels[-1]}.3.model")
    innermost = len(levels) - 1
    layout = _Layout(
        "generator",
        UnetGenerator,
        {
            "in_channels": _width(tensors, "model.model.0", dim=1),
            "out_channels": _width(tensors, "model.model.3", dim=1),
            "block_out_channels": [_width(tensors, "model.model.0"), *(_width(tensors, f"{p}.1") for p in levels)],
            "norm_type": _norm_type(tensors, "model.model.0"),
            "dropout_prob": dropout_prob or 0.0,
        },
    )
    layout.convs += [("model.model.0", "conv_in"), ("model.model.3", "conv_out.1")]
    layout.biased = ("conv_out.1",)
    for i, level in enumerate(levels):
        up_block = f"up_blocks.{innermost - i}"
        layout.convs += [(f"{level}.1", f"down_blocks.{i}.1")]
        if i == innermost:
            layout.convs += [(f"{level}.3", f"{up_block}.1")]
            layout.norms += [(f"{level}.4", f"{up_block}.2")]
        else:
            layout.convs += [(f"{level}.5", f"{up_block}.1")]
            layout.norms += [(f"{level}.2", f"down_blocks.{i}.2"), (f"{level}.6", f"{up_block}.2")]
    return layout


def _patch_discriminator(tensors: Tensors) -> _Layout:
    positions = sorted(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"model\.\d+\.weight", name))
    convs = [f"model.{i}" for i in positions if tensors[f"model.{i}.weight"].ndim == 4]
    if len(convs) < 3:
        raise ValueError(
            f"not an official CycleGAN network: {len(convs)} convolutions, expected at least 3 in a PatchGAN."
        )
    *blocks, out = convs[1:]
    layout = _Layout(
        "discriminator",
        PatchDiscriminator,
        {
            "in_channels": _width(tensors, convs[0], dim=1),
            "out_channels": _width(tensors, out),
            "block_out_channels": [_width(tensors, conv) for conv in convs[:-1]],
            "norm_type": _norm_type(tensors, blocks[0]),
        },
    )
    layout.convs += [(convs[0], "conv_in.0"), (out, "conv_out")]
    layout.biased = ("conv_in.0", "conv_out")
    for i, conv in enumerate(blocks):
        layout.convs += [(conv, f"blocks.{i}.0")]
        layout.norms += [(_after(conv), f"blocks.{i}.1")]
    return layout


def _pixel_discriminator(tensors: Tensors) -> _Layout:
    return _Layout(
        "discriminator",
        PixelDiscriminator,
        {
            "in_channels": _width(tensors, "net.0", dim=1),
            "out_channels": _width(tensors, "net.5"),
            "block_out_channels": [_width(tensors, "net.0"), _width(tensors, "net.2")],
            "norm_type": _norm_type(tensors, "net.2"),
        },
        convs=[("net.0", "conv_in.0"), ("net.2", "block.0"), ("net.5", "conv_out")],
        norms=[("net.3", "block.1")],
        biased=("conv_in.0",),
    )


def _after(conv: str) -> str:
    """Return the position of the norm after a convolution."""
    parent, _, index = conv.rpartition(".")
    return f"{parent}.{int(index) + 1}"


def _mapped(tensors: Tensors, layout: _Layout) -> MappedNetwork:
    """Give every tensor its place in our model, or refuse: names and shapes must fit to the last one."""
    with torch.device("meta"):
        expected = layout.model_class(**layout.config).state_dict()
    norm_type = layout.config["norm_type"]
    official_prefix = {ours: theirs for theirs, ours in layout.convs + layout.norms}
    sources, filled, missing = {}, [], []
    for name, placeholder in expected.items():
        prefix, _, attribute = name.rpartition(".")
        source = f"{official_prefix[prefix]}.{attribute}"
        if attribute == "bias" and norm_type == "none" and prefix not in layout.biased:
            filled.append(name)  # the official code gives such a convolution none: zero is the same
        elif source in tensors:
            tensor = tensors[source]
            if tensor.shape != placeholder.shape:
                raise ValueError(
                    f"not an official CycleGAN network: `{source}` has shape {tuple(tensor.shape)}, "
                    f"expected {tuple(placeholder.shape)} in a {layout.model_class.__name__}."
                )
            if tensor.is_floating_point() != placeholder.is_floating_point():
                raise ValueError(f"`{source}` holds {tensor.dtype}, expected {placeholder.dtype}.")
            sources[name] = source
        elif attribute == "num_batches_tracked":
            filled.append(name)  # PyTorch before 0.4.1 did not count
        else:
            missing.append(source)
    dropped: list[str] = []
    if norm_type in ("instance", "instance_affine"):
        unused = (f"{theirs}.{statistic}" for theirs, _ in layout.norms for statistic in _STATISTICS)
        dropped += [name for name in unused if name in tensors]
    left_over = sorted(tensors.keys() - sources.values() - set(dropped))
    for what, names in (("missing", missing), ("left over", left_over)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"not an official CycleGAN network: as a {layout.model_class.__name__}, "
                f"{names[0]!r}{more} would be {what}."
            )
    state_dict = {
        name: tensors[sources[name]].to(placeholder.dtype, memory_format=torch.contiguous_format, copy=True)
        if name in sources
        else torch.zeros(placeholder.shape, dtype=placeholder.dtype)
        for name, placeholder in expected.items()
    }
    for name, tensor in state_dict.items():
        if not tensor.isfinite().all():
            raise ValueError(f"`{sources[name]}` holds NaN or infinity, expected finite weights.")
    return MappedNetwork(
        kind=layout.kind,
        model_class=layout.model_class,
        config=layout.config,
        state_dict=state_dict,
        sources=sources,
        filled=tuple(filled),
        dropped=tuple(dropped),
    )
