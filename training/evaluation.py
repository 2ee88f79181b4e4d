"""Scores of a run's translations while it trains: which pictures, in which size, by which metric."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.metrics.gms import gms
from cyclegan_hf.metrics.inception import fid, inception_features, inception_score, load_feature_network
from cyclegan_hf.metrics.sliced_wasserstein import patch_descriptors, sliced_wasserstein
from training.config import TrainConfig
from training.data.config import DataConfig
from training.data.pictures import Picture, open_picture
from training.data.sources import Sources
from training.data.transforms import plain


logger = logging.getLogger(__name__)

CHUNK = 8
"""Pictures at a time. Fixed: the places of the patches that `swd` compares are drawn chunk by chunk."""
SMALLEST = 25
"""Pixels that `swd` needs: a 7×7 patch on the third level of the pyramid."""


def spread(files: Sequence[Picture], count: int) -> list[Picture]:
    """At most `count` of the files, evenly spaced."""
    if len(files) <= count:
        return list(files)
    return [files[int(place)] for place in np.linspace(0, len(files) - 1, count)]


def has_split(sources: Sources, name: str) -> bool:
    """Whether there are pictures of both domains in a split: `"train"`, `"validation"` or `"test"`."""
    return all(getattr(sources, name).values())


def chunks(
    files: Sequence[Picture], config: DataConfig, domain: str, count: int = CHUNK
) -> Iterator[list[Image.Image]]:
    """Pictures as the training has them but without chance, `count` at a time; what cannot be read is left out."""
    chunk = []
    for picture in files:
        try:
            chunk.append(plain(open_picture(picture), config, "ab".index(domain)))
        except ValueError as error:
            logger.warning("Left out of the evaluation: %s", error)
        if len(chunk) == count:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def as_tensors(images: list[Image.Image], processor: ImageProcessor) -> torch.Tensor:
    """Pictures of one size as `(B, C, H, W)` in [0, 1], with their domain's channels."""
    arrays = np.stack([processor.to_array(image) for image in images])
    return torch.stack(processor.postprocess(arrays, output_type="pt"))


class Evaluator:
    """Scores a pipeline in both directions: translations of a split against real training pictures of the target.

    Args:
        config: The run's configuration.
        sources: The run's pictures.

    Raises:
        ValueError: If the feature network cannot be read; the rest is `check_evaluation`'s.
    """

    def __init__(self, config: TrainConfig, sources: Sources) -> None:
        self.config = config.evaluation
        self.data = config.data
        if size := self.config.image_size:
            self.data = dataclasses.replace(
                config.data, image_size=size, load_size=(size, size), image_size_b=None, load_size_b=None
            )
        self.split = _available_split(self.config.split, sources)
        if self.split != self.config.split:
            logger.warning("No %s pictures of both domains: the %s ones are scored.", self.config.split, self.split)
        count = self.config.num_images
        self.inputs = {key: spread(files, count) for key, files in getattr(sources, self.split).items()}
        self.references = {key: spread(files, count) for key, files in sources.train.items()}
        if self.config.metric == "gms":
            self.network = load_feature_network(str(self.config.inception))
        self._targets: dict[str, list[torch.Tensor]] = {}

    def __call__(self, pipeline: Any) -> dict[str, Any]:
        """Score a pipeline.

        Returns:
            The metric's mean over the directions under its name, and under `"a2b"` and `"b2a"` all figures of each:
            `swd`, or `gms`, `fid`, `inception_score` and `inception_score_std`. Lower is better, but for the score.
        """
        pipeline.set_progress_bar_config(disable=True)
        processors = {"a": pipeline.image_processor_a, "b": pipeline.image_processor_b}
        scores: dict[str, Any] = {}
        # Pictures come in one size only, but not in that of the training's batches: not worth compiling for.
        with torch.compiler.set_stance("force_eager"):
            for source, target in (("a", "b"), ("b", "a")):
                if target not in self._targets:
                    real = chunks(self.references[target], self.data, target)
                    self._targets[target] = self._describe(as_tensors(chunk, processors[target]) for chunk in real)
                direction = f"{source}2{target}"
                inputs = chunks(self.inputs[source], self.data, source)
                described = self._describe(_translated(pipeline, chunk, direction) for chunk in inputs)
                scores[direction] = self._compare(described, self._targets[target])
        metric = self.config.metric
        return {metric: (scores["a2b"][metric] + scores["b2a"][metric]) / 2} | scores

    def protocol(self) -> dict[str, Any]:
        """How the figures came about, for `metrics.json`."""
        return {
            "metric": self.config.metric,
            "split": self.split,
            "pictures": {key: len(files) for key, files in self.inputs.items()},
            "reference": "train",
            "reference_pictures": {key: len(files) for key, files in self.references.items()},
            "image_size": list(self.data.image_sizes),
        }

    def _describe(self, batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """What the metric compares, of all batches together."""
        if self.config.metric == "gms":
            return list(inception_features(batches, self.network))
        described = [patch_descriptors(batch, seed=index) for index, batch in enumerate(batches)]
        return [torch.cat(level) for level in zip(*described, strict=True)]

    def _compare(self, ours: list[torch.Tensor], target: list[torch.Tensor]) -> dict[str, float]:
        if self.config.metric == "gms":
            distance, (score, deviation) = fid(ours[0], target[0]), inception_score(ours[1])
            figures = {"fid": distance, "inception_score": score, "inception_score_std": deviation}
            return {"gms": gms(distance, score)} | figures
        levels = [sliced_wasserstein(mine, theirs) for mine, theirs in zip(ours, target, strict=True)]
        return {"swd": sum(levels) / len(levels)}


def check_evaluation(config: TrainConfig, sources: Sources, group: str = "evaluation") -> None:
    """Refuse an evaluation that cannot work, and what would wait for one that is off, before anything is done.

    Args:
        config: The run's configuration.
        sources: The run's pictures.
        group: Where the metric was chosen, for messages: `"evaluation"` or `"stages"`.

    Raises:
        ValueError: If the metric cannot be computed, or if nothing feeds `lr_scheduler.type: plateau`.
    """
    evaluation = config.evaluation
    if config.lr_scheduler.type == "plateau" and not evaluation.epochs:
        raise ValueError(
            "`lr_scheduler.type: plateau` follows the evaluation's metric: `evaluation.epochs` must be at least 1, "
            "got 0."
        )
    if not (evaluation.epochs or evaluation.initial):
        return
    if evaluation.split == "validation" and not has_split(sources, "validation"):
        raise ValueError("`evaluation.split: validation` needs validation pictures: set `data.validation_share`.")
    pictures = getattr(sources, _available_split(evaluation.split, sources))
    fewest = min(len(files) for split in (pictures, sources.train) for files in split.values())
    side = evaluation.image_size or min(config.data.image_sizes)
    match evaluation.metric:
        case "swd" if side < SMALLEST:
            raise ValueError(
                f"`{group}.metric: swd` needs pictures of at least {SMALLEST} pixels, got {side}: set "
                "`evaluation.image_size`."
            )
        case "gms" if evaluation.inception is None or not Path(evaluation.inception).is_file():
            raise ValueError(
                f"`{group}.metric: gms` needs the file of a feature network as `evaluation.inception`, got "
                f"{evaluation.inception}; `--{group}.metric swd` needs none."
            )
        case "gms" if fewest < 2:
            raise ValueError(f"`{group}.metric: gms` needs at least 2 pictures of each domain, got {fewest}.")


def _available_split(wanted: str, sources: Sources) -> str:
    """The split to score: the one that is wanted, or the next best."""
    return next(name for name in (wanted, "validation", "train") if has_split(sources, name))


def _translated(pipeline: Any, images: list[Image.Image], direction: str) -> torch.Tensor:
    return torch.stack(pipeline(images, direction=direction, batch_size=len(images), output_type="pt").images)
