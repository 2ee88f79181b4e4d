"""Losses of an epoch: means of its steps, figures of the report, the same losses on other pictures."""

import json
from pathlib import Path

import pytest
import torch

from cyclegan_hf.training.config_groups import LossConfig
from cyclegan_hf.training.epochs import RunningMeans, losses_on, summary
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import largest_difference, tiny_config, weights


def test_means_are_over_the_steps_since_the_last_reset() -> None:
    means = RunningMeans()
    for value in (9.0, 1.0, 2.0, 6.0):
        if value == 1:
            means.reset()
        means.add({"x": torch.tensor(value), "y": torch.tensor(-value, dtype=torch.bfloat16)})
    assert means.means() == {"x": pytest.approx(3), "y": pytest.approx(-3)}
    other = RunningMeans()
    other.load_state_dict(means.state_dict())
    other.add({"x": torch.tensor(7.0), "y": torch.tensor(-7.0)})
    assert other.means() == {"x": pytest.approx(4), "y": pytest.approx(-4)}
    assert means.count == 3


def test_means_begin_anew_where_a_resumed_run_has_other_losses() -> None:
    means = RunningMeans()
    means.add({"x": torch.tensor(9.0), "y": torch.tensor(1.0)})
    for value in (2.0, 4.0):
        means.add({"x": torch.tensor(value), "z": torch.tensor(value), "y": torch.tensor(0.0)})
    assert means.means() == {"x": pytest.approx(3), "z": pytest.approx(3), "y": 0}
    assert means.count == 2


def test_the_reports_figures() -> None:
    # The course report's final row, which these inputs would give with its weights (cycle 10, adversarial 2):
    # Disc. 0.322, Gen. 0.726, Cycle 1.042, total 2.090.
    means = {"cycle_a": 0.1, "cycle_b": 0.1084, "gan_a2b": 0.36, "gan_b2a": 0.366}
    means |= {"discriminator_a": 0.3, "discriminator_b": 0.344, "accuracy_a": 0.8494, "accuracy_b": 0.836}
    means["generator"] = 10 * (0.1 + 0.1084) + 2 * (0.36 + 0.366)
    config = LossConfig(lambda_gan=2, lambda_identity=0, discriminator_scale=1)
    assert summary(means, config, step=1) == {
        "total": pytest.approx(2.090),
        "discriminator": pytest.approx(0.322),
        "generator": pytest.approx(0.726),
        "cycle": pytest.approx(1.042),
        "accuracy_a": 0.8494,
        "accuracy_b": 0.836,
    }


def test_the_losses_on_other_pictures_are_the_trainings_and_change_nothing(tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(tmp_path, discriminator={"norm_type": "batch"}, losses={"lambda_penalty": 0}))
    batches = [trainer.next_batch() for _ in range(2)]
    before = weights(trainer.raw)
    found = losses_on(batches, trainer.raw, trainer.config.losses, step=1)
    assert largest_difference(before, weights(trainer.raw)) == 0
    assert all(network.training for network in vars(trainer.raw).values())
    assert all(parameter.grad is None for parameter in trainer.raw.generator_a2b.parameters())
    single = [losses_on([batch], trainer.raw, trainer.config.losses, step=1) for batch in batches]
    for name, value in found.items():
        assert value == pytest.approx((single[0][name] + single[1][name]) / 2, rel=1e-4), name
    batch = batches[0]
    with torch.no_grad():
        cycle = trainer.raw.generator_b2a(trainer.raw.generator_a2b(batch["a"]).sample).sample
    assert single[0]["cycle_a"] == pytest.approx((cycle - batch["a"]).abs().mean().item(), rel=1e-5)


def test_epochs_and_report(tmp_path: Path) -> None:
    domains = tmp_path / "domains"
    config = tiny_config(
        tmp_path,
        run={"max_train_steps": 5},
        data={"validation_share": 0.3, "test_a": str(domains / "testA"), "test_b": str(domains / "testB")},
        losses={"adaptive": "dwa", "lambda_penalty": 1.0},
    )
    Trainer(config).train()
    epochs = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 2), (2, 4), (3, 5)]  # two pictures an epoch
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    for name in ("generator", "cycle_a", "discriminator_b", "accuracy_a"):
        assert epochs[0]["train_terms"][name] == pytest.approx((log[0][name] + log[1][name]) / 2, rel=1e-5)
    assert set(epochs[0]["validation"]) == set(epochs[0]["train"])
    assert epochs[0]["weights"] == dict.fromkeys(epochs[0]["weights"], 1.0)  # in the first two epochs
    assert epochs[1]["weights"] != epochs[0]["weights"]
    assert epochs[2]["weights"] == {}  # cut short
    text = (tmp_path / "run" / "report.md").read_text()
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["| data", "| train", "| validation", "| test"]
    assert str(tmp_path) not in text
    assert f"{epochs[2]['train']['cycle']:.3f}" in text
