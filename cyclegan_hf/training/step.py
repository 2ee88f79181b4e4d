"""One training step: what is computed, in which order, and what it keeps until the next one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from cyclegan_hf.feature_networks import load_efficientnet_lite
from cyclegan_hf.losses.adaptive import DynamicWeightAverage
from cyclegan_hf.losses.augmentation import augment_for_discriminator
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.image_pool import ImagePool
from cyclegan_hf.training.objectives import (
    Aligned,
    Networks,
    Objective,
    Translations,
    adaptive_terms,
    discriminator_objective,
    generator_objective,
    term_weights,
    translate,
)
from cyclegan_hf.training.optimizers import (
    discriminator_rate,
    load_optimizer_state,
    make_optimizers,
    set_learning_rate,
)


Batch = dict[str, torch.Tensor]
"""Pictures of both domains in model space: `{"a": (batch_size, channels, height, width), "b": ...}`.

Where there are aligned pairs, `pair_a` and `pair_b` besides: `(1, 3, height, width)`."""


class TrainingStep:
    """The generators' step and the discriminators' (Zhu et al. 2017, section 4), in the official code's order by default.

    Args:
        networks: The networks as they are called: compiled or wrapped, where that is asked for.
        raw: The same networks without wrappers.
        config: Losses, optimisers and pools.
        accelerator: Autocast, scaled backward and clipping: an `accelerate.Accelerator`.
        together: Put passes of one network into one batch, where no layer mixes its pictures.
    """  # noqa: E501

    def __init__(
        self, networks: Networks, raw: Networks, config: TrainConfig, accelerator: Any, together: bool = True
    ) -> None:
        self.networks = networks
        self.raw = raw
        self.config = config
        self.accelerator = accelerator
        self.together = together
        generators, discriminators = make_optimizers(raw, config.optimizer)
        self.optimizers_g = [accelerator.prepare_optimizer(optimizer) for optimizer in generators]
        self.optimizers_d = [accelerator.prepare_optimizer(optimizer) for optimizer in discriminators]
        seed, size, past = config.run.seed, config.run.image_pool_size, config.run.image_pool_rule == "past"
        seed_a = 2 * seed + (accelerator.process_index << 64)  # each process has pools of its own
        self.pools = {"a": ImagePool(size, seed_a, past), "b": ImagePool(size, seed_a + 1, past)}
        # Of the gradient penalty, and of what the discriminators are shown.
        self.random = torch.Generator().manual_seed(seed + (accelerator.process_index << 32))
        policies = config.losses.discriminator_augmentation
        self.augment = partial(augment_for_discriminator, policies=policies, random=self.random) if policies else None
        self.pair_network = None
        if config.losses.lambda_pairs > 0:
            self.pair_network = load_efficientnet_lite("efficientnet-lite0").fold().to(accelerator.device)
        names = adaptive_terms(config.losses)
        self.adaptive = DynamicWeightAverage(names) if config.losses.adaptive == "dwa" else None

    def __call__(self, step: int, factor: float, next_batch: Callable[[], Batch]) -> dict[str, torch.Tensor]:
        """Make one step of every network.

        Args:
            step: Its number, from 1.
            factor: The share of the full learning rates.
            next_batch: Gives the next pictures.

        Returns:
            The losses, their terms before weighting, and what else is worth a curve; scalars without gradient.
        """
        settings = self.config.optimizer
        set_learning_rate(self.optimizers_g, factor * settings.learning_rate)
        set_learning_rate(self.optimizers_d, factor * discriminator_rate(settings))
        accumulation = self.config.run.gradient_accumulation_steps

        for _ in range(settings.discriminator_steps - 1):
            batches = [next_batch() for _ in range(accumulation)]
            with torch.no_grad():
                translations = [self._translate(batch) for batch in batches]
            self._step_discriminators(batches, translations)

        batches = [next_batch() for _ in range(accumulation)]
        if settings.discriminators_first:
            translations = [self._translate(batch) for batch in batches]
            judged = self._step_discriminators(batches, translations)
            translated, _ = self._step_generators(step, batches, translations)
        else:
            translated, translations = self._step_generators(step, batches)
            judged = self._step_discriminators(batches, translations)
        return translated | judged

    def end_epoch(self) -> dict[str, float]:
        """Let adaptive weights follow the epoch's losses; returns the weights that they have now."""
        if self.adaptive is None:
            return {}
        self.adaptive.update(lambda means: self.accelerator.reduce(means.to(self.accelerator.device), "mean").cpu())
        return {f"weight_{name}": weight for name, weight in self.adaptive.weights.items()}

    def _translate(self, batch: Batch) -> Translations:
        with self.accelerator.autocast():
            return translate(self.networks, batch["a"], batch["b"], self.config.losses, self.together)

    def _step_generators(
        self, step: int, batches: list[Batch], translations: list[Translations] | None = None
    ) -> tuple[dict[str, torch.Tensor], list[Translations]]:
        """One step of both generators, with the discriminators held still."""
        self.raw.hold_discriminators(True)
        for optimizer in self.optimizers_g:
            optimizer.zero_grad()
        weights = term_weights(self.config.losses, step)
        factors = self.adaptive.weights if self.adaptive is not None else {}
        weights |= {name: factor * weights[name] for name, factor in factors.items()}
        objectives, kept = [], []
        for index, batch in enumerate(batches):
            translated = self._translate(batch) if translations is None else translations[index]
            with self.accelerator.autocast():
                objective = generator_objective(
                    self.networks,
                    translated,
                    batch["a"],
                    batch["b"],
                    self.config.losses,
                    weights,
                    self.augment,
                    self._aligned(step, batch),
                )
            self.accelerator.backward(objective.loss / len(batches))
            objectives.append(objective.detach())
            kept.append(translated.detach())
        self._update(self.optimizers_g)
        self.raw.hold_discriminators(False)
        values = mean_values(objectives, "generator")
        if self.adaptive is not None:
            self.adaptive.record({name: values[name] for name in factors})
        return values, kept

    def _aligned(self, step: int, batch: Batch) -> Aligned | None:
        """One direction of the batch's pair: both, in turn."""
        if self.pair_network is None:
            return None
        source, target = "ab" if step % 2 else "ba"
        return Aligned(f"{source}2{target}", batch[f"pair_{source}"], batch[f"pair_{target}"], self.pair_network)

    def _step_discriminators(self, batches: list[Batch], translations: list[Translations]) -> dict[str, torch.Tensor]:
        """One step of both discriminators, on pictures that the generators drew before their own step."""
        for optimizer in self.optimizers_d:
            optimizer.zero_grad()
        values = {}
        for key in ("b", "a"):
            judge, objectives = f"discriminator_{key}", []
            for batch, translated in zip(batches, translations, strict=True):
                fake = translated.fake_b if key == "b" else translated.fake_a
                with self.accelerator.autocast():
                    objective = discriminator_objective(
                        getattr(self.networks, judge),
                        batch[key],
                        self.pools[key].query(fake.detach()),
                        self.config.losses,
                        self.together,
                        getattr(self.raw, judge),
                        self.random,
                        batch["ba"["ab".index(key)]] if self.config.losses.lambda_source > 0 else None,
                        self.augment,
                    )
                self.accelerator.backward(objective.loss / len(batches))
                objectives.append(objective.detach())
            values |= mean_values(objectives, judge, suffix=f"_{key}")
        self._update(self.optimizers_d)
        return values

    def _update(self, optimizers: list[Any]) -> None:
        limit = self.config.optimizer.max_grad_norm
        for optimizer in optimizers:
            if limit is not None:
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                self.accelerator.clip_grad_norm_(parameters, limit)
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on and all processes share, beside networks and images."""
        return {
            "optimizers_g": [optimizer.state_dict() for optimizer in self.optimizers_g],
            "optimizers_d": [optimizer.state_dict() for optimizer in self.optimizers_d],
        }

    def process_state(self) -> dict[str, Any]:
        """Return the state of this process alone: pools, random numbers, losses not yet averaged."""
        return {
            "pools": {key: pool.state_dict() for key, pool in self.pools.items()},
            "random": self.random.get_state(),
            "adaptive": self.adaptive.state_dict() if self.adaptive is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`.

        Raises:
            ValueError: If it is of other optimisers.
        """
        for name in ("optimizers_g", "optimizers_d"):
            optimizers = getattr(self, name)
            if len(optimizers) != len(state[name]):
                raise ValueError(
                    f"`optimizer.separate` cannot be {self.config.optimizer.separate}: the run began otherwise."
                )
            for optimizer, saved in zip(optimizers, state[name], strict=True):
                load_optimizer_state(optimizer, saved)

    def load_process_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Take over a `process_state`."""
        for key, pool in self.pools.items():
            pool.load_state_dict(state["pools"][key])
            pool.images = [image.to(device) for image in pool.images]
        self.random.set_state(state["random"])
        if self.adaptive is not None and state["adaptive"] is not None:
            self.adaptive.load_state_dict(state["adaptive"])


def mean_values(objectives: list[Objective], name: str, suffix: str = "") -> dict[str, torch.Tensor]:
    """Return the means over `objectives`: the loss under `name`, terms and measures."""
    first = objectives[0]
    values = {name: torch.stack([objective.loss for objective in objectives]).mean()}
    for key in first.terms:
        values[key + suffix] = torch.stack([objective.terms[key] for objective in objectives]).mean()
    for key in first.measures:
        values[key + suffix] = torch.stack([objective.measures[key] for objective in objectives]).mean()
    return values
