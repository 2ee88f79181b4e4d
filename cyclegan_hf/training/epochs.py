"""How long an epoch is, and losses over it: means of the training steps, and the same on pictures kept apart."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import LossConfig
from cyclegan_hf.training.data.sources import Sources
from cyclegan_hf.training.objectives import (
    Networks,
    discriminator_objective,
    generator_objective,
    term_weights,
    translate,
)
from cyclegan_hf.training.step import Batch, mean_values


def steps_in_epoch(config: TrainConfig, sources: Sources, batch_pictures: int) -> int:
    """Return the steps of a pass over the longer domain, or what `steps_per_epoch` says.

    Args:
        config: The run's configuration.
        sources: The run's pictures.
        batch_pictures: Pictures of each domain a step, over all processes.

    Returns:
        Steps; where a stream's length is not known and nothing counts epochs, all of the run's.

    Raises:
        ValueError: If something counts epochs, and how long one is is not known.
    """
    run = config.run
    if (known := known_steps_in_epoch(config, sources, batch_pictures)) is not None:
        return known
    lengths = {key: sources.length(key) for key in ("a", "b")}
    asked = {
        "num_train_epochs": run.max_train_steps is None,
        "lr_scheduler.unit: epoch": config.lr_scheduler.unit == "epoch"
        and config.lr_scheduler.type not in ("constant", "plateau"),
        "evaluation.epochs": config.evaluation.epochs > 0,
        "losses.adaptive": config.losses.adaptive != "none",
    }
    if wanted := [name for name, is_asked in asked.items() if is_asked]:
        stream = next(key for key, length in lengths.items() if length is None)
        raise ValueError(
            f"`data.{stream}` is a stream whose length is not known, and `{'`, `'.join(wanted)}` counts epochs: say "
            "how long one is, `--steps-per-epoch`, or count steps: `--max-train-steps`, `--lr-scheduler.unit step`."
        )
    assert run.max_train_steps is not None
    return run.max_train_steps


def known_steps_in_epoch(config: TrainConfig, sources: Sources, batch_pictures: int) -> int | None:
    """Return the steps of an epoch as `steps_in_epoch` has them; `None` where a stream's length is not known."""
    if config.run.steps_per_epoch is not None:
        return config.run.steps_per_epoch
    lengths = [sources.length(key) for key in ("a", "b")]
    return None if None in lengths else math.ceil(max(filter(None, lengths)) / batch_pictures)


class RunningMeans:
    """Means of scalars over steps; nothing waits for the device until they are asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.count = 0
        self._mean = torch.zeros(0)

    def add(self, values: dict[str, torch.Tensor]) -> None:
        """Take in a step's scalars; where the names change, as in a run resumed with other losses, begin anew."""
        now = torch.stack([value.detach().float() for value in values.values()])
        if self.count == 0 or list(values) != self.names:
            self.names, self._mean, self.count = list(values), torch.zeros_like(now), 0
        self.count += 1
        self._mean = self._mean + (now - self._mean.to(now.device)) / self.count

    def means(self, reduce: Callable[[torch.Tensor], torch.Tensor] = lambda mean: mean) -> dict[str, float]:
        """Return the means so far, by name; `reduce` averages a tensor over several processes."""
        return dict(zip(self.names, reduce(self._mean).tolist(), strict=True))

    def reset(self) -> None:
        """Begin anew."""
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"names": self.names, "mean": self._mean.cpu(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.names, self._mean, self.count = list(state["names"]), state["mean"].clone(), state["count"]


def summary(means: dict[str, float], config: LossConfig, step: int) -> dict[str, float]:
    """Return the four losses and two accuracies that the course report `human2anime` follows.

    As its figures have it (inferred), each loss is weighted and the mean of both directions.

    Args:
        means: Losses, terms and measures by name, as a training step gives them.
        config: The weights.
        step: The step, for those that warm up.

    Returns:
        `total` (all terms of the generators' loss, and the discriminators'), `discriminator`, `generator` (its
        adversarial term), `cycle`, `accuracy_a` and `accuracy_b` (of the discriminators of each domain, in [0, 1]).
    """
    weights = term_weights(config, step)
    discriminator = (means["discriminator_a"] + means["discriminator_b"]) / 2
    return {
        "total": means["generator"] / 2 + discriminator,
        "discriminator": discriminator,
        "generator": sum(weights[name] * means[name] for name in ("gan_a2b", "gan_b2a")) / 2,
        "cycle": sum(weights[name] * means[name] for name in ("cycle_a", "cycle_b")) / 2,
        "accuracy_a": means["accuracy_a"],
        "accuracy_b": means["accuracy_b"],
    }


@torch.no_grad()
def losses_on(
    batches: Iterable[Batch],
    networks: Networks,
    config: LossConfig,
    step: int,
    autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> dict[str, float]:
    """Return the training losses on other images: in evaluation mode, without gradient, and without past fakes.

    The gradient penalty, which has no value without gradient, is left out.

    Args:
        batches: Pictures of both domains in model space.
        networks: The networks without wrappers; they are in training mode again afterwards.
        config: Which losses.
        step: The step, for weights that warm up.
        autocast: The arithmetic.

    Returns:
        The means over the batches, under the names of a training step.
    """
    config = dataclasses.replace(config, lambda_penalty=0.0)
    weights = term_weights(config, step)
    means = RunningMeans()
    everyone = [*networks.generators, *networks.discriminators]
    for network in everyone:
        network.eval()
    try:
        # Eager: compiling for another mode and batch would take longer than these few batches.
        with torch.compiler.set_stance("force_eager"):
            for batch in batches:
                with autocast():
                    made = translate(networks, batch["a"], batch["b"], config)
                    values = mean_values(
                        [generator_objective(networks, made, batch["a"], batch["b"], config, weights)], "generator"
                    )
                    for key, fake in (("b", made.fake_b), ("a", made.fake_a)):
                        judge = f"discriminator_{key}"
                        source = batch["ba"["ab".index(key)]] if config.lambda_source > 0 else None
                        network = getattr(networks, judge)
                        judged = discriminator_objective(network, batch[key], fake, config, source=source)
                        values |= mean_values([judged], judge, suffix=f"_{key}")
                means.add(values)
    finally:
        for network in everyone:
            network.train()
    return means.means()
