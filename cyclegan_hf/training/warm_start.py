"""Weights to start from: a checkpoint or pipeline of ours, a Hub id, or official `.pth` files."""

import logging
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from cyclegan_hf.official.networks import OFFICIAL_NAMES, load_official_network, role_kind
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.saved_format import CONFIG_NAME, DISCRIMINATORS, GENERATORS, STATE_FOLDER
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.objectives import Networks


logger = logging.getLogger(__name__)


def load_weights(networks: Networks, source: str) -> None:
    """Load weights into the networks in place; optimisers, schedule and steps start anew.

    A pipeline gives the generators it has (the averaged ones, where EMA was on), a checkpoint of ours the
    discriminators too. What the source lacks starts afresh.

    Args:
        networks: The networks to fill.
        source: A folder or Hub id of ours, or a folder of official `*_net_G_A.pth`, `*_net_G_B.pth`, `*_net_D_*.pth`.
            Without those generators, `*_net_G.pth`, the official code's export of one direction, is taken for G_A.

    Raises:
        ValueError: If there is nothing of ours or of the official code at `source`, or its shapes or norms differ.
    """
    weights = _read(source)
    for name, found in weights.items():
        network = getattr(networks, name)
        ours, theirs = network.config.get("norm_type"), found.config.get("norm_type")
        if type(found) is type(network) and ours != theirs:  # most norms hold no weights: the shapes would not tell
            raise ValueError(
                f"`--warm-start {source}`: {name} was trained with `norm_type: {theirs}`, the recipe has {ours!r}."
            )
        _load(network, found.state_dict(), name, source)
    logger.info("Started from %s: %s.", source, ", ".join(weights))
    for name in GENERATORS:
        if name not in weights:
            logger.warning("%s has no weights for %s, which starts afresh.", source, name)


def _read(source: str) -> dict[str, nn.Module]:
    """Return the networks that the source has, by role."""
    folder = Path(source)
    if files := _official_files(folder):
        return {role: load_official_network(file, role_kind(role)).build() for role, file in files.items()}
    pipeline = CycleGANPipeline.from_pretrained(source)
    found = {name: network for name in GENERATORS if (network := getattr(pipeline, name)) is not None}
    files = {name: folder / STATE_FOLDER / f"{name}.safetensors" for name in DISCRIMINATORS}
    if all(file.is_file() for file in files.values()):
        trained = build_networks(TrainConfig.from_yaml(folder / STATE_FOLDER / CONFIG_NAME))
        for name, file in files.items():
            found[name] = getattr(trained, name)
            _load(found[name], load_file(file), name, source)
    return found


def _official_files(folder: Path) -> dict[str, Path]:
    """Return the official code's files in a folder by our roles; none where there is no generator."""
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
    """Return the only file of that pattern, or the latest of several epochs (as `official=True`), if any."""
    files = sorted(folder.glob(pattern))
    latest = folder / pattern.replace("*", "latest")
    if len(files) > 1 and latest not in files:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"`--warm-start {folder}`: expected one {pattern} or a {latest.name}, found {names}.")
    return latest if latest in files else next(iter(files), None)


def _load(network: nn.Module, state: dict, name: str, source: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"`--warm-start {source}`: {name} does not fit this recipe's network: {first}") from error
