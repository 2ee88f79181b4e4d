"""Learning rates at named moments, and what the optimisers hold."""

import math

import pytest
import torch
from torch import nn

from cyclegan_hf.training.config_groups import LrSchedulerConfig, OptimizerConfig
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.optimizers import Plateau, learning_rate_factor, load_optimizer_state, make_optimizers


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
    assert learning_rate_factor(config, epoch, step=123456, full_rate=2e-4) == pytest.approx(factor, abs=1e-12)


def test_the_schedule_of_one_domain_counts_steps() -> None:
    config = LrSchedulerConfig(type="linear", unit="step", constant=10, decay=4)
    factors = [learning_rate_factor(config, epoch=999, step=step, full_rate=2e-4) for step in range(9, 17)]
    assert factors == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])


def test_no_decay_ends_at_once() -> None:
    config = LrSchedulerConfig(type="linear", constant=5, decay=0)
    assert [learning_rate_factor(config, epoch, 1, 2e-4) for epoch in (5, 6)] == [1, 0]


@pytest.mark.parametrize(
    ("settings", "epoch", "factor"),
    [
        # a tenth every 30 epochs: 1 up to epoch 30, then 0.1, from epoch 61 on 0.01
        ({"type": "step", "period": 30, "gamma": 0.1}, 30, 1.0),
        ({"type": "step", "period": 30, "gamma": 0.1}, 31, 0.1),
        ({"type": "step", "period": 30, "gamma": 0.1}, 61, 0.01),
        # 10 constant epochs, then half a cosine of 20: half-way down after 10 of them
        ({"type": "cosine", "constant": 10, "decay": 20}, 11, 1.0),
        ({"type": "cosine", "constant": 10, "decay": 20}, 21, 0.5),
        ({"type": "cosine", "constant": 10, "decay": 20}, 31, 0.0),
        ({"type": "cosine", "constant": 10, "decay": 20}, 99, 0.0),
        # the course report `face2cartoon_attention`: 2e-4 to 1e-5, a share of 0.05, restarts after 10, 30, 70 epochs
        *(
            ({"type": "cosine_restarts", "period": 10, "period_factor": 2, "min_learning_rate": 1e-5}, epoch, factor)
            for epoch, factor in [
                *((1, 1.0), (11, 1.0), (31, 1.0), (71, 1.0)),
                (6, 0.525),  # half-way down the first half cosine: (1 + 0.05) / 2
                (21, 0.525),
                (51, 0.525),
                (10, 0.05 + 0.95 * (1 + math.cos(0.9 * math.pi)) / 2),
            ]
        ),
    ],
)
def test_the_other_schedules(settings: dict, epoch: int, factor: float) -> None:
    found = learning_rate_factor(LrSchedulerConfig(**settings), epoch, step=123456, full_rate=2e-4)
    assert found == pytest.approx(factor, abs=1e-12)


def test_warm_restarts_are_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2e-4)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2, eta_min=1e-5)
    config = LrSchedulerConfig(type="cosine_restarts", period=10, period_factor=2, min_learning_rate=1e-5)
    for epoch in range(1, 100):
        assert learning_rate_factor(config, epoch, 1, 2e-4) * 2e-4 == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_a_plateau_lowers_the_rate_and_goes_on_after_a_resume() -> None:
    config = LrSchedulerConfig(type="plateau", gamma=0.5, patience=1, min_learning_rate=0.3e-4)
    plateau, factors = Plateau(config, full_rate=1e-4), []
    for metric in (5.0, 4.0, 4.5, 4.5, 4.5, 4.5, 4.5, 4.5):
        plateau.update(metric)
        factors.append(plateau.factor)
        again = Plateau(config, full_rate=1e-4)
        again.load_state_dict(plateau.state_dict())
        plateau = again
    # 4.0 is the best; the second evaluation above it halves the rate, and so on, not below 0.3 of it
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3])


def networks() -> Networks:
    return Networks(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1), nn.Linear(3, 1))


def test_one_optimiser_for_the_generators_and_one_for_the_discriminators() -> None:
    four = networks()
    config = OptimizerConfig(
        learning_rate=3e-4, adam_beta1=0.4, adam_beta2=0.9, discriminator_learning_rate=0, discriminator_adam_beta2=0.8
    )
    (generators,), (discriminators,) = make_optimizers(four, config)
    for optimizer, group_of, rate, betas in (
        (generators, four.generators, 3e-4, (0.4, 0.9)),
        (discriminators, four.discriminators, 0, (0.4, 0.8)),
    ):
        (group,) = optimizer.param_groups
        assert [id(p) for p in group["params"]] == [id(p) for network in group_of for p in network.parameters()]
        assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (rate, betas, 1e-8, 0)


def test_an_optimiser_for_each_network() -> None:
    four = networks()
    generators, discriminators = make_optimizers(four, OptimizerConfig(separate=True))
    for optimizer, network in zip([*generators, *discriminators], vars(four).values(), strict=True):
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in network.parameters()]


def test_a_state_of_another_layout_and_kernel_is_taken_over() -> None:
    """As of a run that began on a GPU with channels innermost: the fused kernel wants one layout of all."""
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    network(torch.rand(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    other = nn.Conv2d(3, 4, 3)
    restored = torch.optim.Adam(other.parameters())
    load_optimizer_state(restored, saved)
    assert not restored.param_groups[0]["fused"]
    moments, wanted = restored.state[other.weight], optimizer.state[network.weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert moments[name].stride() == other.weight.stride()
        assert torch.equal(moments[name], wanted[name])
