"""Weights to start from: a checkpoint or pipeline of ours, a Hub id, or official `.pth` files."""

import logging
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from cyclegan_hf.conversion import Kind, load_official_network
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from training.checkpointing import STATE_FOLDER
from training.objectives import Networks


# Ours, the official code's, kind: its G_A translates A to B, its D_A judges domain B.
OFFICIAL_NAMES: tuple[tuple[str, str, Kind], ...] = (
    ("generator_a2b", "G_A", "generator"),
    ("generator_b2a", "G_B", "generator"),
    ("discriminator_b", "D_A", "discriminator"),
    ("discriminator_a", "D_B", "discriminator"),
)

logger = logging.getLogger(__name__)


def load_weights(networks: Networks, source: str) -> None:
    """Load weights into the networks in place; optimisers, schedule and steps start anew.

    A pipeline gives the generators it has (the averaged ones, where EMA was on), a checkpoint of ours the
    discriminators too.

    Args:
        networks: The networks to fill.
        source: A folder or Hub id of ours, or a folder of official `*_net_G_A.pth`, `*_net_G_B.pth`, `*_net_D_*.pth`.

    Raises:
        ValueError: If there is nothing of ours or of the official code at `source`, or its shapes differ.
    """
    folder = Path(source)
    if folder.is_dir() and list(folder.glob("*_net_G_[AB].pth")):
        weights = {
            name: load_official_network(_one_file(folder, f"*_net_{official}.pth"), kind).state_dict
            for name, official, kind in OFFICIAL_NAMES
            if list(folder.glob(f"*_net_{official}.pth"))
        }
    else:
        pipeline = CycleGANPipeline.from_pretrained(source)
        weights = {
            name: network.state_dict()
            for name in ("generator_a2b", "generator_b2a")
            if (network := getattr(pipeline, name)) is not None
        }
        for name in ("discriminator_a", "discriminator_b"):
            file = folder / STATE_FOLDER / f"{name}.safetensors"
            if file.is_file():
                weights[name] = load_file(file)
    for name, state in weights.items():
        _load(getattr(networks, name), state, name, source)
    logger.info("Started from %s: %s.", source, ", ".join(weights))


def _one_file(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"`--warm-start {folder}`: expected one {pattern}, found {names}.")
    return files[0]


def _load(network: nn.Module, state: dict, name: str, source: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"`--warm-start {source}`: {name} does not fit this recipe's network: {first}") from error
