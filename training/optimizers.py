"""Optimisers, and the learning rate as a function of time."""

from collections.abc import Iterable

import torch
from torch import nn

from training.config import LrSchedulerConfig, OptimizerConfig


def make_optimizer(networks: Iterable[nn.Module], config: OptimizerConfig) -> torch.optim.Adam:
    """One Adam for the parameters of all `networks`."""
    return torch.optim.Adam(
        [parameter for network in networks for parameter in network.parameters()],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
    )


def learning_rate_factor(config: LrSchedulerConfig, epoch: int, step: int) -> float:
    """The share of the full rate at which one step trains.

    A function of time and of nothing else, so that a resumed run has nothing to restore.

    Args:
        config: The schedule.
        epoch: The epoch that the step belongs to, from 1.
        step: The step, from 1.

    Returns:
        A factor in [0, 1].
    """
    now = epoch if config.unit == "epoch" else step
    match config.type:
        case "constant":
            return 1.0
        case "linear":
            past = now - config.constant
        case "linear_epoch_start":
            past = now + 1 - config.constant
    return max(0.0, 1.0 - max(0, past) / (config.decay + 1))
