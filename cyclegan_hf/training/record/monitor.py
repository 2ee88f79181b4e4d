"""What a run watches of itself: means over epochs, losses on validation pictures, scores, warning signs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from cyclegan_hf.evaluation.evaluator import as_tensors
from cyclegan_hf.evaluation.failure_checks import measure
from cyclegan_hf.evaluation.pictures import content_hashes, spread
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.sources import Sources
from cyclegan_hf.training.epochs import RunningMeans, losses_on
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.record.failures import Signals
from cyclegan_hf.training.scores import CHUNK, Evaluator, chunks, has_split
from cyclegan_hf.training.step import Batch


logger = logging.getLogger(__name__)


class Watch:
    """Looks at a run without changing it: nothing here draws from the run's random numbers or leaves a gradient.

    Every process calls every method; what needs pictures is done by the main one.

    Args:
        config: The run's configuration.
        sources: The run's pictures.
        networks: The networks without wrappers.
        accelerator: Autocast, and sums over processes: an `accelerate.Accelerator`.

    Raises:
        ValueError: If the evaluation that is asked for is impossible.
    """

    def __init__(self, config: TrainConfig, sources: Sources, networks: Networks, accelerator: Any) -> None:
        self.config = config
        self.sources = sources
        self.networks = networks
        self.accelerator = accelerator
        wanted = config.evaluation.epochs > 0 or config.evaluation.steps > 0 or config.evaluation.initial
        precision = {"no": "float32"}.get(accelerator.mixed_precision, f"{accelerator.mixed_precision} autocast")
        measuring = (accelerator.device, accelerator.autocast, precision)
        self.evaluator = Evaluator(config, sources, *measuring) if wanted else None
        self.signals = Signals()
        self.epoch = RunningMeans()  # since the epoch began
        self.recent = RunningMeans()  # since the last look

    def add(self, values: dict[str, torch.Tensor]) -> None:
        """Take in a step's losses, terms and measures."""
        self.epoch.add(values)
        self.recent.add(values)

    def look(self, step: int, pipeline: Any) -> None:
        """Look for warning signs on a few pictures, validation's or the next best; new ones are said in the log."""
        steps, means = self.recent.count, self.recent.means(self._over_processes)
        self.recent.reset()
        if not self.accelerator.is_main_process:
            return
        split = next(name for name in ("validation", "test", "train") if has_split(self.sources, name))
        measures: dict[str, dict[str, float]] = {}
        images: dict[str, torch.Tensor] = {}
        for key, files in getattr(self.sources, split).items():
            for chunk in chunks(spread(files, CHUNK), self.config.data, key):
                images[key] = as_tensors(chunk, _processor(pipeline, key))
        for source, target in (("a", "b"), ("b", "a")):
            if source in images:
                accuracy = {"accuracy": means[f"accuracy_{target}"]}
                way = f"{source}2{target}"
                measures[way] = accuracy | measure(pipeline, images[source], way, real=images.get(target))
        for warning in self.signals.look(step, steps, measures):
            logger.warning("Step %d, %s.", step, warning)
        for direction, values in measures.items():
            self.accelerator.log({f"signals/{name}_{direction}": value for name, value in values.items()}, step=step)

    def end_epoch(self, step: int, whole: bool, pipeline: Any) -> dict[str, dict[str, float]]:
        """Return the epoch's losses on training images, and on validation images where there are any.

        Args:
            step: The step.
            whole: Whether the epoch is over; a run's last one may be cut short.
            pipeline: Knows the model space.

        Returns:
            The losses by their names, for `train` and `validation`.
        """
        losses = {"train": self.epoch.means(self._over_processes)}
        if whole:
            self.epoch.reset()
        if has_split(self.sources, "validation") and self.accelerator.is_main_process:
            losses["validation"] = self.losses("validation", step, pipeline)
        return losses

    def losses(self, split: str, step: int, pipeline: Any) -> dict[str, float]:
        """Return the training losses on at most `evaluation.num_images` images of a split, in evaluation mode."""
        batches = self.batches(split, pipeline)
        return losses_on(batches, self.networks, self.config.losses, step, self.accelerator.autocast)

    def batches(self, split: str, pipeline: Any) -> Iterator[Batch]:
        """Pictures of both domains in model space, in the training's batches; as many of either."""
        files = getattr(self.sources, split)
        count = min(self.config.evaluation.num_images, *map(len, files.values()))
        batch_size = self.config.run.train_batch_size
        both = [chunks(spread(files[key], count), self.config.data, key, batch_size) for key in ("a", "b")]
        for pair in zip(*both, strict=False):  # an unreadable picture makes one of them shorter
            size = min(map(len, pair))
            yield {
                key: _model_space(images[:size], _processor(pipeline, key)).to(self.accelerator.device)
                for key, images in zip(("a", "b"), pair, strict=True)
            }

    def score(self, pipeline: Any) -> dict[str, Any]:
        """Return the evaluation's metrics; on other processes only their mean, which is the same everywhere."""
        assert self.evaluator is not None, "the run has no evaluation"
        metric = self.config.evaluation.metric
        scores: dict[str, Any] = {metric: 0.0}
        if self.accelerator.is_main_process:
            scores = self.evaluator(pipeline)
        value = torch.tensor(scores[metric], dtype=torch.float64, device=self.accelerator.device)
        return scores | {metric: self.accelerator.reduce(value, "sum").item()}

    def protocol(self) -> dict[str, Any]:
        """How the evaluation's figures come about."""
        assert self.evaluator is not None, "the run has no evaluation"
        return self.evaluator.protocol()

    def scored_images(self) -> dict[str, list[str]]:
        """By domain, the hashes of the images that are scored."""
        assert self.evaluator is not None, "the run has no evaluation"
        return {key: content_hashes(one.files) for key, one in self.evaluator.evaluator.pictures.inputs.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, in tensors and plain types."""
        return {name: getattr(self, name).state_dict() for name in ("epoch", "recent", "signals")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        for name, part in state.items():
            getattr(self, name).load_state_dict(part)

    def _over_processes(self, mean: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(mean.to(self.accelerator.device), "mean").cpu()


def _processor(pipeline: Any, domain: str) -> ImageProcessor:
    return pipeline.image_processor_a if domain == "a" else pipeline.image_processor_b


def _model_space(images: list[Image.Image], processor: ImageProcessor) -> torch.Tensor:
    return torch.from_numpy(np.stack([processor.to_array(image) for image in images]))
