"""A training run small enough for a test: networks of some thousand weights on pictures of 32x32."""

from pathlib import Path
from typing import Any

import torch
import yaml

from cyclegan_hf.training.config import TrainConfig
from tests.testing_utils import write_domains


GENERATOR = {"_class_name": "ResnetGenerator", "block_out_channels": [4, 8], "num_res_blocks": 1}
DISCRIMINATOR = {"_class_name": "PatchDiscriminator", "block_out_channels": [4, 8]}
DATA = {"image_size": 32, "load_size": [36, 36], "num_workers": 0}
EVALUATION = {"metric": "swd", "feature_network": "none", "split": "test"}  # three images are too few for KID
RUN = {
    "max_train_steps": 4,
    "fast": False,  # runs that a test ends early, or lets go on, are of one kind with short ones
    "num_threads": 1,
    "logging_steps": 1,
    "checkpointing_steps": 0,
    "validation_steps": 0,
    "num_validation_images": 2,
    "report_to": "none",
}


def write_recipe(path: Path, **groups: dict[str, Any]) -> Path:
    """Write a tiny recipe; `groups` go on top of the tiny settings, group by group."""
    recipe: dict[str, Any] = {
        "run": dict(RUN),
        "evaluation": dict(EVALUATION),
        "stages": {"metric": "swd"},
        "data": dict(DATA),
        "generator": dict(GENERATOR),
        "discriminator": dict(DISCRIMINATOR),
    }
    for name, group in groups.items():
        recipe[name] = recipe.get(name, {}) | group
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def tiny_config(folder: Path, **groups: dict[str, Any]) -> TrainConfig:
    """A tiny run in `folder`: its pictures in `folder/domains` (made here if need be), its output in `folder/run`."""
    domains = folder / "domains"
    if not domains.exists():
        write_domains(domains, count=3, size=40)
    places = {"a": str(domains / "trainA"), "b": str(domains / "trainB")}
    groups["data"] = places | groups.get("data", {})
    groups["run"] = {"output_dir": str(folder / "run")} | groups.get("run", {})
    return TrainConfig.from_yaml(write_recipe(folder / "tiny.yaml", **groups))


def weights(networks: Any) -> dict[str, torch.Tensor]:
    """A copy of every tensor of the four networks, by name."""
    return {
        f"{name}.{key}": tensor.detach().clone()
        for name, network in vars(networks).items()
        for key, tensor in network.state_dict().items()
    }


def identical(one: Any, other: Any) -> bool:
    """Whether two nested states are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    return one == other


def largest_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of any number in two sets of tensors of the same names."""
    assert ours.keys() == theirs.keys()
    return max((ours[key].double() - theirs[key].double()).abs().max().item() for key in ours)
