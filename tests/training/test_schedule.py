"""Schedules in runs that are longer or shorter than their recipes."""

from pathlib import Path

import pytest

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import LrSchedulerConfig
from cyclegan_hf.training.optimizers import learning_rate_factor
from cyclegan_hf.training.schedule import fit_schedule, schedule_in_words, steps_without_rate
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import largest_difference, tiny_config, weights


def fitted(written_for: tuple[str, int], epochs: int = 200, steps: int | None = None, **schedule: object) -> tuple:
    config = TrainConfig(lr_scheduler=LrSchedulerConfig(**schedule))  # type: ignore[arg-type]
    config.run.num_train_epochs, config.run.max_train_steps = epochs, steps
    config.run.recipe_length = written_for  # type: ignore[assignment]
    told = fit_schedule(config, steps_per_epoch=10)
    assert config.run.recipe_length is None
    found = config.lr_scheduler
    return found.unit, found.constant, found.decay, found.period, bool(told)


def test_the_schedule_is_stretched_with_the_run() -> None:
    assert fitted(("epoch", 200), epochs=400) == ("epoch", 200, 200, 50, True)
    assert fitted(("epoch", 200), epochs=20) == ("epoch", 10, 10, 50, True)
    assert fitted(("epoch", 200), epochs=25) == ("step", 125, 125, 50, True)  # 12.5 epochs of 10 steps
    assert fitted(("epoch", 200), steps=7) == ("step", 4, 3, 50, True)
    step = {"unit": "step", "constant": 700, "decay": 500}
    assert fitted(("step", 1200), steps=2400, **step) == ("step", 1400, 1000, 50, True)
    assert fitted(("step", 1200), epochs=60, **step) == ("step", 350, 250, 50, True)
    assert fitted(("epoch", 100), epochs=50, type="step", period=30) == ("epoch", 100, 100, 15, True)
    assert fitted(("epoch", 100), epochs=50, type="constant") == ("epoch", 100, 100, 50, False)
    assert fitted(("epoch", 100), epochs=100) == ("epoch", 100, 100, 50, False)


@pytest.mark.parametrize("steps", [3, 40, 5000])
def test_a_stretched_run_decays_to_its_end_and_not_before(steps: int) -> None:
    config = TrainConfig()
    config.run.max_train_steps, config.run.recipe_length = steps, ("epoch", 200)
    fit_schedule(config, steps_per_epoch=10)
    factors = [learning_rate_factor(config.lr_scheduler, 1, step, 2e-4) for step in range(1, steps + 1)]
    assert min(factors) == factors[-1] == pytest.approx(1 / (steps // 2 + 1))
    assert steps_without_rate(config.lr_scheduler, steps, 10) == 0


def test_the_schedule_is_told_as_it_will_be() -> None:
    config = TrainConfig(lr_scheduler=LrSchedulerConfig(constant=1, decay=1))
    text = schedule_in_words(config, total_steps=40, steps_per_epoch=10)
    assert "constant for 1 epoch" in text and text.endswith("; 0 at the last step.")
    assert steps_without_rate(config.lr_scheduler, 40, 10) == 20
    for kind in ("constant", "plateau", "step", "cosine", "cosine_restarts", "linear_epoch_start"):
        config.lr_scheduler.type = kind  # type: ignore[assignment]
        assert schedule_in_words(config, 40, 10).startswith("Learning rate 0.0002")


def test_a_run_of_more_epochs_trains_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = {"max_train_steps": None, "num_train_epochs": 4, "checkpointing_steps": 3}
    config = tiny_config(tmp_path, run=run, lr_scheduler={"constant": 1, "decay": 1})
    config.run.recipe_length = ("epoch", 2)
    trainer = Trainer(config)
    trainer.train()
    assert trainer.total_steps == 12 and "rate 0" not in caplog.text
    third, last = (Trainer(config, tmp_path / "run" / f"checkpoint-{step}") for step in (9, 12))
    assert largest_difference(weights(third.raw), weights(last.raw)) > 0
    assert (last.config.lr_scheduler.constant, last.config.lr_scheduler.decay) == (2, 2)


def test_steps_at_rate_nought_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    schedule = {"unit": "step", "constant": 1, "decay": 1}
    Trainer(tiny_config(tmp_path, run={"max_train_steps": 5}, lr_scheduler=schedule)).train()
    assert "The last 3 of 5 steps train at learning rate 0" in caplog.text
