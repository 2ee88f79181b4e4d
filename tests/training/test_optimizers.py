"""Learning rates at named moments, and what the optimisers hold."""

import pytest
from torch import nn

from training.config import LrSchedulerConfig, OptimizerConfig
from training.optimizers import learning_rate_factor, make_optimizer


@pytest.mark.parametrize(
    ("kind", "epoch", "factor"),
    [
        ("linear", 1, 1.0),
        ("linear", 100, 1.0),
        ("linear", 101, 1 - 1 / 101),
        ("linear", 150, 1 - 50 / 101),
        ("linear", 200, 1 / 101),
        ("linear", 201, 0.0),
        ("linear", 300, 0.0),
        ("linear_epoch_start", 1, 1.0),
        ("linear_epoch_start", 99, 1.0),
        ("linear_epoch_start", 100, 1 - 1 / 101),
        ("linear_epoch_start", 200, 0.0),
        ("linear_epoch_start", 300, 0.0),
        ("constant", 1, 1.0),
        ("constant", 300, 1.0),
    ],
)
def test_the_published_schedules(kind: str, epoch: int, factor: float) -> None:
    config = LrSchedulerConfig(type=kind, constant=100, decay=100)
    assert learning_rate_factor(config, epoch, step=123456) == pytest.approx(factor, abs=1e-12)


def test_the_schedule_of_one_domain_counts_steps() -> None:
    config = LrSchedulerConfig(type="linear", unit="step", constant=10, decay=4)
    factors = [learning_rate_factor(config, epoch=999, step=step) for step in range(9, 17)]
    assert factors == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])


def test_no_decay_ends_at_once() -> None:
    config = LrSchedulerConfig(type="linear", constant=5, decay=0)
    assert [learning_rate_factor(config, epoch, 1) for epoch in (5, 6)] == [1, 0]


def test_one_optimiser_for_both_networks() -> None:
    networks = [nn.Linear(2, 3), nn.Linear(3, 2)]
    optimizer = make_optimizer(networks, OptimizerConfig(learning_rate=3e-4, adam_beta1=0.4, adam_beta2=0.9))
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for network in networks for p in network.parameters()]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3e-4, (0.4, 0.9), 1e-8, 0)
