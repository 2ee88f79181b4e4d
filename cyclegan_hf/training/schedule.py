"""The learning rate schedule of a run whose length is not the one that its recipe was written for."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import LrSchedulerConfig, RunConfig
from cyclegan_hf.training.optimizers import learning_rate_factor


_DEFAULTS = ("constant", "decay")
_STRETCHED = {
    "constant": (),
    "plateau": (),
    "step": ("period",),
    "cosine_restarts": ("period",),
}
"""The fields that count epochs or steps, by the schedule's type; `_DEFAULTS` for the others."""


def run_length(run: RunConfig) -> tuple[str, int]:
    """Return the unit that counts a run's length, `"epoch"` or `"step"`, and how many there are."""
    return ("epoch", run.num_train_epochs) if run.max_train_steps is None else ("step", run.max_train_steps)


def fit_schedule(config: TrainConfig, steps_per_epoch: int | None) -> str | None:
    """Stretch the schedule in place, in proportion, where only the run's length was changed.

    Otherwise a longer run would end at rate 0, and a shorter one would never decay. A schedule in epochs stays in
    epochs where that is exact, and counts steps where it is not.

    Args:
        config: The run's configuration. `run.recipe_length` says what the schedule was written for; it is unset
            afterwards.
        steps_per_epoch: Optimiser steps of an epoch; `None` where it is not known.

    Returns:
        A line for the log; `None` where nothing changed.
    """
    before, now = config.run.recipe_length, run_length(config.run)
    config.run = dataclasses.replace(config.run, recipe_length=None)  # another config may hold the same `run`
    schedule = config.lr_scheduler
    names = _STRETCHED.get(schedule.type, _DEFAULTS)
    if before is None or before == now or not names:
        return None
    values = [Fraction(getattr(schedule, name)) for name in names]
    unit = schedule.unit
    if unit == before[0] == now[0] == "epoch" and all(value * now[1] % before[1] == 0 for value in values):
        values = [value * now[1] / before[1] for value in values]
    else:
        power = [unit, now[0]].count("epoch") - (before[0] == "epoch")
        if power and steps_per_epoch is None:
            return None
        scale = Fraction(now[1], before[1]) * Fraction(steps_per_epoch or 1) ** power
        values, unit = [value * scale for value in values], "step"
    ends = [round(sum(values[: index + 1], Fraction(0))) for index in range(len(values))]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if "period" in names:
        counts = [max(1, counts[0])]
    changes = dict(zip(names, counts, strict=True))
    config.lr_scheduler = dataclasses.replace(schedule, unit=unit, **changes)  # type: ignore[arg-type]
    flags = " and ".join(f"`--lr-scheduler.{name}`" for name in names)
    return (
        f"The schedule was written for {_count(before[1], before[0])}, and this run has {_count(now[1], now[0])}: it "
        f"is stretched in proportion. {flags} set it otherwise."
    )


def schedule_in_words(config: TrainConfig, total_steps: int, steps_per_epoch: int) -> str:
    """Say how the generators' learning rate goes over the run, with its value at the last step."""
    schedule, rate = config.lr_scheduler, config.optimizer.learning_rate
    last = learning_rate_factor(schedule, (total_steps - 1) // steps_per_epoch + 1, total_steps, rate) * rate
    match schedule.type:
        case "constant":
            return f"Learning rate {rate:g}, constant."
        case "plateau":
            factor = f"times {schedule.gamma:g} after {schedule.patience} evaluations without an improvement"
            return f"Learning rate {rate:g}, {factor}."
        case "step":
            course = f"times {schedule.gamma:g} every {_count(schedule.period, schedule.unit)}"
        case "cosine_restarts":
            course = f"half cosines of {_count(schedule.period, schedule.unit)}"
            course += f", each {schedule.period_factor} times as long as the one before"
        case shape:
            curve = "half a cosine" if shape == "cosine" else "a line"
            start = _count(schedule.constant, schedule.unit)
            course = f"constant for {start}, then {curve} over {_count(schedule.decay, schedule.unit)}"
    return f"Learning rate {rate:g}, {course}; {last:.3g} at the last step."


def steps_without_rate(schedule: LrSchedulerConfig, total_steps: int, steps_per_epoch: int) -> int:
    """Count the steps at a run's end that train at learning rate 0, beyond the schedule's own end."""
    falls_to_zero = schedule.type in ("linear", "linear_epoch_start") or (
        schedule.type == "cosine" and schedule.min_learning_rate == 0
    )
    end = schedule.constant + schedule.decay
    end *= steps_per_epoch if schedule.unit == "epoch" else 1
    return max(0, total_steps - end) if falls_to_zero else 0


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
