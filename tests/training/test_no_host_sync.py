"""A training step never waits for the device: it reads no number back, and sends none from ordinary memory.

Tensors on torch's `meta` device have no values, so reading one is an error there, as it is a wait on a GPU.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cyclegan_hf.training.builders import build_networks, mixes_batch
from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.config_groups import EmaConfig
from cyclegan_hf.training.ema import EmaModel
from cyclegan_hf.training.epochs import RunningMeans
from cyclegan_hf.training.step import TrainingStep
from tests.training.tiny import DISCRIMINATOR, GENERATOR


META = torch.device("meta")


class Copies(TorchDispatchMode):
    """Note copies from the CPU to a device that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        copies = func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu" and result.device == META
        if copies and not kwargs.get("non_blocking"):
            self.waiting.append(str(func))
        return result


class OnMeta:
    """The part of accelerate that a step uses, without arithmetic of its own."""

    process_index, device = 0, META

    def prepare_optimizer(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        return optimizer

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
        return nn.utils.clip_grad_norm_(parameters, limit)


@pytest.fixture(autouse=True)
def autocast_on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Autocast knows no `meta` device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    yield


def steps_without_waiting(config: TrainConfig, count: int = 2) -> list[str]:
    """Take steps on the `meta` device; return the copies to it that wait."""
    networks = build_networks(config)
    for network in [*networks.generators, *networks.discriminators]:
        nn.Module.to(network.train(), META)
    update = TrainingStep(networks, networks, config, OnMeta(), not mixes_batch(networks))
    averages = [EmaModel(network, decay=0.9) for network in networks.generators]
    means = RunningMeans()
    channels = [network.config.in_channels for network in networks.generators]
    batch = {
        key: torch.empty(config.run.train_batch_size, count, size, size, device=META)
        for key, count, size in zip("ab", channels, config.data.image_sizes, strict=True)
    }
    with Copies() as copies:
        for number in range(1, count + 1):
            if number == 2:
                copies.waiting.clear()  # sums begin on the CPU, and go to the device once
            values = update(number, 1.0, lambda: batch)
            for average, network in zip(averages, networks.generators, strict=True):
                average.update_parameters(network)
            means.add(values)
    assert all(value.device == META for value in values.values())
    return copies.waiting


def small(config: TrainConfig) -> TrainConfig:
    """The recipe with fewer layers, channels and images: what waits does not depend on them."""
    for block in (config.generator, config.discriminator):
        if "block_out_channels" in block:
            block["block_out_channels"] = [max(4, width // 16) for width in block["block_out_channels"]]
        if "num_res_blocks" in block:
            block["num_res_blocks"] = 1
    config.run.image_pool_size, config.run.train_batch_size = 2, 2
    config.ema = EmaConfig(decay=0.9)
    return config


@pytest.mark.parametrize("recipe", ["few_images", "animal2pokemon_vq"])
def test_no_recipes_step_waits_for_the_device(recipe: str) -> None:
    assert steps_without_waiting(small(TrainConfig.from_yaml(recipe_path(recipe)))) == []


@pytest.mark.parametrize(
    "losses",
    [
        {"discriminator_augmentation": ["flip", "light", "color", "translation", "cutout"]},
        {"adversarial": "wgan", "lambda_penalty": 10.0},
        {"adaptive": "dwa", "lambda_source": 0.5, "lambda_edge": 1.0, "lambda_color": 1.0, "lambda_tv": 1.0},
    ],
    ids=["augmentation", "penalty", "terms"],
)
def test_no_loss_waits_for_the_device(losses: dict[str, Any]) -> None:
    config = TrainConfig(generator=dict(GENERATOR), discriminator=dict(DISCRIMINATOR))
    config.data.image_size, config.optimizer.max_grad_norm = 32, 1.0
    for name, value in losses.items():
        setattr(config.losses, name, value)
    assert steps_without_waiting(config) == []


def test_a_read_number_and_a_waiting_copy_are_noticed() -> None:
    with Copies() as copies:
        torch.rand(2).to(META)
        torch.rand(2).to(META, non_blocking=True)
    assert len(copies.waiting) == 1
    with pytest.raises(RuntimeError, match="meta"):
        torch.empty((), device=META).item()
