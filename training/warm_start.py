"""Weights to start from: a checkpoint or pipeline of ours, a Hub id, or official `.pth` files."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from cyclegan_hf.conversion_networks import OFFICIAL_NAMES, load_official_network, role_kind
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from training.builders import build_networks
from training.checkpointing import CONFIG_NAME, STATE_FOLDER
from training.config import TrainConfig
from training.folding import fold_instance_norm
from training.objectives import Networks


logger = logging.getLogger(__name__)


_DECODER = ("up_blocks.", "conv_out.")  # of a ResnetGenerator

Examples = Callable[[int, ImageProcessor], Iterable[torch.Tensor]]
"""Some training examples `(B, C, H, W)` of domain 0 (A) or 1 (B), in a processor's model space."""


def load_weights(networks: Networks, source: str, examples: Examples) -> None:
    """Load weights into the networks in place; optimisers, schedule and steps start anew.

    A pipeline gives the generators it has (the averaged ones, where EMA was on), a checkpoint of ours the
    discriminators too. What the source lacks starts afresh. Networks with instance norm become such without norm,
    where the recipe's have none: see `training/folding.py`. A `LocalAffineGenerator` takes what it shares with a
    `ResnetGenerator`, all but the decoder.

    Args:
        networks: The networks to fill.
        source: A folder or Hub id of ours, or a folder of official `*_net_G_A.pth`, `*_net_G_B.pth`, `*_net_D_*.pth`.
            Without those generators, `*_net_G.pth`, the official code's export of one direction, is taken for G_A.
        examples: What the statistics of norms that the recipe has not are measured on.

    Raises:
        ValueError: If there is nothing of ours or of the official code at `source`, or its shapes differ.
    """
    weights, processors = _read(source, networks)
    for name, found in weights.items():
        network = getattr(networks, name)
        if isinstance(found, nn.Module):
            if _is_to_be_folded(found, network):
                domain = 0 if name in ("generator_a2b", "discriminator_a") else 1  # what it looks at
                found = fold_instance_norm(found.float(), examples(domain, processors[domain]))
                logger.info("%s: instance norm folded into its convolutions.", name)
            elif isinstance(found, ResnetGenerator) and isinstance(network, LocalAffineGenerator):
                state = found.state_dict()
                shared = {key: tensor for key, tensor in state.items() if not key.startswith(_DECODER)}
                found = network.state_dict() | shared
                logger.info("%s: a ResnetGenerator's encoder and blocks; the last layer starts afresh.", name)
            else:
                found = found.state_dict()
        _load(network, found, name, source)
    logger.info("Started from %s: %s.", source, ", ".join(weights))
    for name in ("generator_a2b", "generator_b2a"):
        if name not in weights:
            logger.warning("%s has no weights for %s, which starts afresh.", source, name)


def _read(source: str, networks: Networks) -> tuple[dict[str, Any], tuple[ImageProcessor, ImageProcessor]]:
    """What the source has by role, networks or state dicts, and the processors of both domains' pictures."""
    folder = Path(source)
    if files := _official_files(folder):
        found: dict[str, Any] = {
            role: load_official_network(file, role_kind(role)).build() for role, file in files.items()
        }
        generator = next(network for role, network in found.items() if role_kind(role) == "generator")
        a, b = generator.config["in_channels"], generator.config["out_channels"]
        if "generator_a2b" not in found:
            a, b = b, a
        return found, (ImageProcessor(num_channels=a), ImageProcessor(num_channels=b))
    pipeline = CycleGANPipeline.from_pretrained(source)
    found = {
        name: network
        for name in ("generator_a2b", "generator_b2a")
        if (network := getattr(pipeline, name)) is not None
    }
    for name in ("discriminator_a", "discriminator_b"):
        file = folder / STATE_FOLDER / f"{name}.safetensors"
        if file.is_file():
            found[name] = load_file(file)
            if getattr(networks, name).config.get("norm_type") == "none":  # then it matters what norm it had
                trained = build_networks(TrainConfig.from_yaml(folder / STATE_FOLDER / CONFIG_NAME))
                _load(getattr(trained, name), found[name], name, source)
                found[name] = getattr(trained, name)
    return found, (pipeline.image_processor_a, pipeline.image_processor_b)


def _is_to_be_folded(source: nn.Module, target: nn.Module) -> bool:
    ours, theirs = target.config.get("norm_type"), source.config.get("norm_type")
    return type(source) is type(target) and (theirs, ours) == ("instance", "none")


def _official_files(folder: Path) -> dict[str, Path]:
    """The official code's files in a folder by our roles; none where there is no generator."""
    files = {}
    for role, name in OFFICIAL_NAMES.items():
        if file := _one_file(folder, f"*_net_{name}.pth"):
            files[role] = file
    if any(role_kind(role) == "generator" for role in files):
        return files
    if file := _one_file(folder, "*_net_G.pth"):  # beside G_A or G_B it would be a copy: the official test reads it
        return {"generator_a2b": file, **files}
    return {}


def _one_file(folder: Path, pattern: str) -> Path | None:
    """The only file of that pattern, if there is one."""
    files = sorted(folder.glob(pattern))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"`--warm-start {folder}`: expected one {pattern}, found {names}.")
    return files[0] if files else None


def _load(network: nn.Module, state: dict, name: str, source: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"`--warm-start {source}`: {name} does not fit this recipe's network: {first}") from error
