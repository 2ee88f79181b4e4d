"""From a configuration to networks."""

import copy
import inspect
from typing import Any

import torch
from torch import nn

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_feature import FeatureDiscriminator
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.generator_affine_residual import AffineResidualGenerator
from cyclegan_hf.models.generator_attention import AttentionGenerator
from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
from cyclegan_hf.models.initialization import initialize_weights
from cyclegan_hf.training.combinations import check_combinations
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.normalization import Statistics
from cyclegan_hf.training.objectives import Networks


GENERATORS = {
    "AffineResidualGenerator": AffineResidualGenerator,
    "AttentionGenerator": AttentionGenerator,
    "EncoderDecoderGenerator": EncoderDecoderGenerator,
    "LocalAffineGenerator": LocalAffineGenerator,
    "MaxPoolUnetGenerator": MaxPoolUnetGenerator,
    "ResnetGenerator": ResnetGenerator,
    "UnetGenerator": UnetGenerator,
}
DISCRIMINATORS = {
    "DualHeadDiscriminator": DualHeadDiscriminator,
    "FeatureDiscriminator": FeatureDiscriminator,
    "PatchDiscriminator": PatchDiscriminator,
    "PixelDiscriminator": PixelDiscriminator,
}


def build_networks(config: TrainConfig) -> Networks:
    """Build the four networks and initialise them.

    Raises:
        ValueError: For blocks that name no class of ours or arguments that it does not take, for sizes that the
            networks do not take or do not lead to one another, and for impossible combinations of settings.
    """
    forward = config.generator
    channels_a, channels_b = num_channels(config)
    for key, channels in (("in_channels", channels_a), ("out_channels", channels_b)):
        if channels not in (1, 3):
            raise ValueError(f"`generator.{key}` must be 1 or 3, for grey or colour pictures, got {channels}.")
        if key in config.generator_b2a:
            raise ValueError(f"`generator_b2a.{key}` is not to be set: it follows from `generator`'s channels.")
    backward = forward | {"in_channels": channels_b, "out_channels": channels_a} | config.generator_b2a
    networks = Networks(
        generator_a2b=_build(GENERATORS, forward, "generator"),
        generator_b2a=_build(GENERATORS, backward, "generator_b2a" if config.generator_b2a else "generator"),
        discriminator_a=_build(DISCRIMINATORS, config.discriminator | {"in_channels": channels_a}, "discriminator"),
        discriminator_b=_build(DISCRIMINATORS, config.discriminator | {"in_channels": channels_b}, "discriminator"),
    )
    check_combinations(config, networks)
    if config.init.type != "torch":
        for network in [*networks.generators, *networks.discriminators]:
            initialize_weights(network, config.init.type, config.init.gain)
    for network in networks.generators:
        if hasattr(network, "start_as_identity"):  # no detail has to be learnt again
            network.start_as_identity()
    _check_sizes(networks, config.data.image_sizes)
    if config.data.normalization == "dataset":
        _check_unbounded(networks)
    return networks


def num_channels(config: TrainConfig) -> tuple[int, int]:
    """Channels of the pictures of domains A and B."""
    return config.generator.get("in_channels", 3), config.generator.get("out_channels", 3)


def image_processors(
    config: TrainConfig, statistics: Statistics | None = None
) -> tuple[ImageProcessor, ImageProcessor]:
    """Build the image processors of domains A and B.

    Args:
        config: The configuration.
        statistics: The training pictures' mean and deviation, where they are the model space's; unset, it is [-1, 1].
    """
    sizes, channels = config.data.image_sizes, num_channels(config)
    spaces = [
        {key: tuple(values) for key, values in statistics[domain].items()} if statistics else {} for domain in "ab"
    ]
    processor_a, processor_b = (
        ImageProcessor(
            num_channels=channels[index],
            size=(sizes[index], sizes[index]),
            input_range=config.data.values,
            **spaces[index],
        )
        for index in (0, 1)
    )
    return processor_a, processor_b


def mixes_batch(networks: Networks) -> bool:
    """Whether a layer mixes the pictures of a batch, so that two passes may not be put into one."""
    return any(
        isinstance(layer, nn.BatchNorm2d)
        for network in [*networks.generators, *networks.discriminators]
        for layer in network.modules()
    )


def _build(classes: dict[str, Any], block: dict[str, Any], key: str) -> nn.Module:
    name = block.get("_class_name")
    if name not in classes:
        raise ValueError(f"`{key}._class_name` must be one of {', '.join(classes)}, got {name!r}.")
    arguments = {argument: value for argument, value in block.items() if not argument.startswith("_")}
    known = inspect.signature(classes[name].__init__).parameters
    unknown = [argument for argument in arguments if argument not in known]
    if unknown:
        raise ValueError(f"`{key}.{unknown[0]}` is no argument of {name}; it takes {', '.join(list(known)[1:])}.")
    _check_parameters(classes[name], arguments, key)
    try:
        return classes[name](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:  # only the class knows which values it takes
        raise ValueError(f"`{key}`: {name} cannot be built from {arguments}: {error}.") from error


MAX_PARAMETERS = 1_000_000_000
"""Of one network: 16 GB with its gradients and Adam's moments. The largest recipe's has 47 million."""
_MAX_LAYERS = 20_000


class _TooLargeError(Exception):
    """A network that is not worth counting to the end."""


def _check_parameters(network_class: Any, arguments: dict[str, Any], key: str) -> None:
    """Refuse a network that memory cannot hold, before it takes any: it is built without numbers, and counted."""
    layers = parameters = 0

    def count_layer(*_: Any) -> None:
        nonlocal layers
        layers += 1
        if layers > _MAX_LAYERS:
            raise _TooLargeError

    def count_parameter(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += 0 if parameter is None else parameter.numel()

    hooks = [
        nn.modules.module.register_module_module_registration_hook(count_layer),
        nn.modules.module.register_module_parameter_registration_hook(count_parameter),
    ]
    more = ""
    try:
        with torch.device("meta"):
            network_class(**arguments)
    except _TooLargeError:
        more = "more than "
    except Exception:  # what is wrong with the arguments is said when it is really built
        return
    finally:
        for hook in hooks:
            hook.remove()
    if more or parameters > MAX_PARAMETERS:
        raise ValueError(
            f"`{key}`: {network_class.__name__} with these arguments has {more}{parameters:,} parameters in "
            f"{more}{layers:,} layers, of at most {MAX_PARAMETERS:,} in {_MAX_LAYERS:,}."
        )


def _check_sizes(networks: Networks, sizes: tuple[int, int]) -> None:
    """Refuse training sizes that a network does not take, or that a generator turns into another than the domain's."""
    keys = ("`data.image_size`", "`data.image_size_b`" if sizes[0] != sizes[1] else "`data.image_size`")
    judges = (networks.discriminator_a, networks.discriminator_b)
    for key, size, generator, judge in zip(keys, sizes, networks.generators, judges, strict=True):
        if size < generator.min_size or size % generator.size_multiple:
            raise ValueError(
                f"{key} must be a multiple of {generator.size_multiple} and at least {generator.min_size} for "
                f"{type(generator).__name__}, got {size}."
            )
        if size < judge.min_size:
            raise ValueError(f"{key} must be at least {judge.min_size} for {type(judge).__name__}, got {size}.")
    for direction, generator, size, wanted in zip(
        ("A to B", "B to A"), networks.generators, sizes, reversed(sizes), strict=True
    ):
        if (got := _output_size(generator, size)) != wanted:
            raise ValueError(
                f"The generator from {direction} must turn {size}² into {wanted}² (`data.image_size`, "
                f"`data.image_size_b`), it makes {got}² of it: ResnetGenerator's `in_padding` and `out_padding` "
                "change the size, in `generator` and in `generator_b2a`."
            )


def _output_size(generator: nn.Module, size: int) -> int:
    """Return the output side of a generator for a square input, from its layers, without computing."""
    if "in_padding" not in generator.config:
        return size
    with torch.no_grad():
        shadow = copy.deepcopy(generator).to("meta")
        return shadow(torch.zeros(1, generator.config["in_channels"], size, size, device="meta")).sample.shape[-1]


def _check_unbounded(networks: Networks) -> None:
    """Refuse a tanh in front of mean/std space: it ends one deviation from the mean."""
    for generator in networks.generators:
        if generator.config.get("output_activation") != "none":
            raise ValueError(
                "`data.normalization: dataset` needs an output without bounds, and "
                f"{type(generator).__name__} ends in tanh: `generator._class_name: MaxPoolUnetGenerator` with "
                "`output_activation: none`, or `data.normalization: half`."
            )
