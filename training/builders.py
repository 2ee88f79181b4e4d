"""From a configuration to networks."""

import inspect
from typing import Any

from torch import nn

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.models.generator_attention import AttentionGenerator
from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
from cyclegan_hf.models.initialization import initialize_weights
from training.combinations import check_combinations
from training.config import TrainConfig
from training.objectives import Networks


GENERATORS = {
    "AttentionGenerator": AttentionGenerator,
    "EncoderDecoderGenerator": EncoderDecoderGenerator,
    "MaxPoolUnetGenerator": MaxPoolUnetGenerator,
    "ResnetGenerator": ResnetGenerator,
    "UnetGenerator": UnetGenerator,
}
DISCRIMINATORS = {
    "DualHeadDiscriminator": DualHeadDiscriminator,
    "PatchDiscriminator": PatchDiscriminator,
    "PixelDiscriminator": PixelDiscriminator,
}


def build_networks(config: TrainConfig) -> Networks:
    """The four networks, initialised.

    Raises:
        ValueError: For blocks that name no class of ours or arguments that it does not take, for an identity loss
            between domains of different channels, and for scores that the adversarial loss does not take.
    """
    forward = config.generator
    channels_a, channels_b = forward.get("in_channels", 3), forward.get("out_channels", 3)
    for key, channels in (("in_channels", channels_a), ("out_channels", channels_b)):
        if channels not in (1, 3):
            raise ValueError(f"`generator.{key}` must be 1 or 3, for grey or colour pictures, got {channels}.")
    backward = forward | {"in_channels": channels_b, "out_channels": channels_a}
    networks = Networks(
        generator_a2b=_build(GENERATORS, forward, "generator"),
        generator_b2a=_build(GENERATORS, backward, "generator"),
        discriminator_a=_build(DISCRIMINATORS, config.discriminator | {"in_channels": channels_a}, "discriminator"),
        discriminator_b=_build(DISCRIMINATORS, config.discriminator | {"in_channels": channels_b}, "discriminator"),
    )
    check_combinations(config, networks)
    for network in [*networks.generators, *networks.discriminators]:
        initialize_weights(network, config.init.type, config.init.gain)
    for network in networks.generators:
        if network.config.get("learn_residual"):  # starts as the identity: no detail has to be learnt again
            nn.init.zeros_(network.conv_out[1].weight)
    _check_size(networks, config.data.image_size)
    return networks


def image_processors(config: TrainConfig) -> tuple[ImageProcessor, ImageProcessor]:
    """The processors of domains A and B."""
    size = (config.data.image_size, config.data.image_size)
    channels_a, channels_b = config.generator.get("in_channels", 3), config.generator.get("out_channels", 3)
    return ImageProcessor(num_channels=channels_a, size=size), ImageProcessor(num_channels=channels_b, size=size)


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
    try:
        return classes[name](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:  # only the class knows which values it takes
        raise ValueError(f"`{key}`: {name} cannot be built from {arguments}: {error}.") from error


def _check_size(networks: Networks, size: int) -> None:
    for network in networks.generators:
        if size < network.min_size or size % network.size_multiple:
            raise ValueError(
                f"`data.image_size` must be a multiple of {network.size_multiple} and at least {network.min_size} for "
                f"{type(network).__name__}, got {size}."
            )
    for network in networks.discriminators:
        if size < network.min_size:
            raise ValueError(
                f"`data.image_size` must be at least {network.min_size} for {type(network).__name__}, got {size}."
            )
