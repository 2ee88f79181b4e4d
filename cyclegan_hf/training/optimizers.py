"""Optimisers, and the learning rate as a function of time."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from cyclegan_hf.training.config_groups import LrSchedulerConfig, OptimizerConfig
from cyclegan_hf.training.objectives import Networks


def make_optimizers(
    networks: Networks, config: OptimizerConfig
) -> tuple[list[torch.optim.Adam], list[torch.optim.Adam]]:
    """Adam for the generators and for the discriminators: one each, or one a network.

    Returns:
        The generators' optimisers and the discriminators'.
    """
    discriminators = (
        discriminator_rate(config),
        _or(config.discriminator_adam_beta1, config.adam_beta1),
        _or(config.discriminator_adam_beta2, config.adam_beta2),
    )
    generators = (config.learning_rate, config.adam_beta1, config.adam_beta2)
    sides = []
    for group, (rate, beta1, beta2) in ((networks.generators, generators), (networks.discriminators, discriminators)):
        parts: list[list[nn.Module]] = [[network] for network in group] if config.separate else [group]
        sides.append([_adam(part, rate, (beta1, beta2), config.adam_epsilon) for part in parts])
    return sides[0], sides[1]


def discriminator_rate(config: OptimizerConfig) -> float:
    """Return the discriminators' full learning rate."""
    return _or(config.discriminator_learning_rate, config.learning_rate)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Let `optimizers` step at `rate` from now on."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a `state_dict` that may come from another device or memory layout."""
    groups = [
        saved | {"fused": group.get("fused")}
        for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict(state | {"param_groups": groups})
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if (
                value.shape == parameter.shape and value.stride() != parameter.stride()
            ):  # fused kernels need them equal
                moments[name] = torch.empty_like(parameter).copy_(value)


def learning_rate_factor(config: LrSchedulerConfig, epoch: int, step: int, full_rate: float) -> float:
    """Return the factor on the full learning rate of one step.

    A function of time and of nothing else, so that a resumed run has nothing to restore. A plateau's factor depends on
    the evaluations: `Plateau` gives it.

    Args:
        config: The schedule.
        epoch: The epoch that the step belongs to, from 1.
        step: The step, from 1.
        full_rate: The generators' rate, which `min_learning_rate` is a share of.

    Returns:
        A factor in [0, 1].
    """
    now = epoch if config.unit == "epoch" else step
    past = now - config.constant
    match config.type:
        case "constant" | "plateau":
            return 1.0
        case "linear":
            return _falling(past, config.decay)
        case "linear_epoch_start":
            return _falling(past + 1, config.decay)
        case "step":
            return config.gamma ** ((now - 1) // config.period)
        case "cosine":
            # The first step after the constant ones is at the full rate, the last one of the decay near the least.
            share = min(1.0, max(0, past - 1) / max(1, config.decay))
        case "cosine_restarts":
            share = _share_of_cycle(now - 1, config.period, config.period_factor)
    least = min(1.0, config.min_learning_rate / full_rate) if full_rate > 0 else 1.0
    return least + (1 - least) * (1 + math.cos(math.pi * share)) / 2


class Plateau:
    """Lowers the rate when a metric stops falling: torch's `ReduceLROnPlateau` on a factor of 1.

    Args:
        config: `gamma`, `patience` and `min_learning_rate`.
        full_rate: The generators' rate.
    """

    def __init__(self, config: LrSchedulerConfig, full_rate: float) -> None:
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, factor=config.gamma, patience=config.patience, min_lr=config.min_learning_rate / full_rate
        )

    @property
    def factor(self) -> float:
        """The share of the full rate, in (0, 1]."""
        return self._holder.param_groups[0]["lr"]

    def update(self, metric: float) -> None:
        """Take in an evaluation; lower is better."""
        self._scheduler.step(metric)

    def state_dict(self) -> dict:
        """Return the state that a resumed run needs."""
        state = self._scheduler.state_dict()
        kept = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {key: state[key] for key in kept} | {"factor": self.factor}

    def load_state_dict(self, state: dict) -> None:
        """Take over a `state_dict`."""
        self._holder.param_groups[0]["lr"] = state["factor"]
        self._scheduler.load_state_dict({key: value for key, value in state.items() if key != "factor"})


def _adam(networks: list[nn.Module], rate: float, betas: tuple[float, float], epsilon: float) -> torch.optim.Adam:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    # One kernel for all weights. It reads fp16's scale on the GPU too, so no step waits for the GPU's numbers.
    fused = True if all(parameter.is_cuda for parameter in parameters) else None
    return torch.optim.Adam(parameters, lr=rate, betas=betas, eps=epsilon, fused=fused)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _falling(past: int, decay: int) -> float:
    return max(0.0, 1.0 - max(0, past) / (decay + 1))


def _share_of_cycle(past: int, period: int, factor: int) -> float:
    while past >= period:
        past -= period
        period *= factor
    return past / period
