"""Scores of a run's translations while it trains: which pictures, in which size, by which metric."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cyclegan_hf.evaluation import evaluator as library
from cyclegan_hf.evaluation.comparison import spreads
from cyclegan_hf.evaluation.describe import SMALLEST, SetSettings
from cyclegan_hf.evaluation.evaluator import Settings
from cyclegan_hf.evaluation.networks import find_network, on_device, published_weights
from cyclegan_hf.evaluation.pictures import Pictures, PictureSet, spread
from cyclegan_hf.evaluation.protocol import protocol_of
from training.config import EvaluationConfig, TrainConfig
from training.data.config import DataConfig
from training.data.pictures import Picture, open_picture
from training.data.sources import Sources
from training.data.transforms import plain


logger = logging.getLogger(__name__)

CHUNK = 8
"""Pictures at a time."""
RESAMPLES = 100
"""For the figures' spread."""
OF_FEATURES = ("gms", "fid", "kid")
"""Metrics that need a feature network."""


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
            chunk.append(plain(open_picture(picture, config.values), config, "ab".index(domain)))
        except ValueError as error:
            logger.warning("Left out of the evaluation: %s", error)
        if len(chunk) == count:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Evaluator:
    """Scores a pipeline in both directions: translations of a split against real training pictures of the target.

    Args:
        config: The run's configuration.
        sources: The run's pictures.
        device: Where the feature network computes.
        autocast: The arithmetic of the translations.
        precision: What that is called.

    Raises:
        ValueError: If the feature network cannot be read; the rest is `check_evaluation`'s.
    """

    def __init__(
        self,
        config: TrainConfig,
        sources: Sources,
        device: torch.device | str = "cpu",
        autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
        precision: str = "float32",
    ) -> None:
        self.config = config.evaluation
        self.computed = {"device": torch.device(device).type, "precision": precision}
        self.weights = "averaged" if config.ema.decay > 0 else "saved"
        self.domains = {"a": config.data.domain_a, "b": config.data.domain_b}
        data = config.data
        if size := self.config.image_size:
            data = dataclasses.replace(
                data, image_size=size, load_size=(size, size), image_size_b=None, load_size_b=None
            )
        self.image_sizes = {key: [size, size] for key, size in zip(("a", "b"), data.image_sizes, strict=True)}
        self.split = _available_split(self.config.split, sources)
        if self.split != self.config.split:
            logger.warning("No %s pictures of both domains: the %s ones are scored.", self.config.split, self.split)
        count = self.config.num_images
        inputs = {key: spread(files, count) for key, files in getattr(sources, self.split).items()}
        references = {key: spread(files, count) for key, files in sources.train.items()}
        pictures = Pictures(
            {key: PictureSet(files, f"{self.split} pictures of {key}") for key, files in inputs.items()},
            {key: PictureSet(files, f"training pictures of {key}") for key, files in references.items()},
            lambda picture, key: plain(open_picture(picture, data.values), data, "ab".index(key)),
            "as in training, without chance",
            {key: references[key] != inputs[key] for key in inputs},
        )
        network, self.network = None, None
        if self.config.metric in OF_FEATURES:
            _network_file(self.config)  # refuses what `find_network` warns of
            found, self.network = find_network(str(self.config.inception))
            network = on_device(found, device)
        sets = SetSettings(resamples=RESAMPLES)
        settings = Settings(sets=sets, batch_size=CHUNK, cycle=False, identity=False, signs=False)
        self.evaluator = library.Evaluator(pictures, settings, network, autocast=autocast)

    def __call__(self, pipeline: Any) -> dict[str, Any]:
        """Score a pipeline.

        Returns:
            The metric's mean over the directions under its name, under `"a2b"` and `"b2a"` all figures of each, as
            `cyclegan_hf.evaluation.figures` has them, and under `"spread"` those of the figures of each.
        """
        scores: dict[str, Any] = {}
        spread_of: dict[str, Any] = {}
        for way, found in self.evaluator(pipeline).items():
            scores[way] = {name: value for name, value in found.figures.items() if isinstance(value, float)}
            spread_of[way] = spreads(found)
        metric = self.config.metric
        return {metric: (scores["a2b"][metric] + scores["b2a"][metric]) / 2} | scores | {"spread": spread_of}

    def protocol(self) -> dict[str, Any]:
        """How the figures came about, for `metrics.json`: as `cyclegan-hf evaluate` tells it, and how they choose."""
        made = protocol_of(self.evaluator, self.network, {}, {"weights": self.weights}, self.computed)
        chosen = {"metric": self.config.metric, "split": self.split, "reference_split": "train"}
        return chosen | made | {"image_size": self.image_sizes, "domains": self.domains}


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
    again_and_again = evaluation.epochs or evaluation.steps
    for setting, asked in (
        ("lr_scheduler.type: plateau", config.lr_scheduler.type == "plateau"),
        ("evaluation.patience", evaluation.patience is not None),
    ):
        if asked and not again_and_again:
            raise ValueError(
                f"`{setting}` follows the evaluation's metric: `evaluation.epochs` must be at least 1, got 0 (or "
                "`evaluation.steps`)."
            )
    if not (again_and_again or evaluation.initial):
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
        case "gms" | "fid" | "kid" as metric:
            if fewest < 2:
                raise ValueError(f"`{group}.metric: {metric}` needs at least 2 pictures of each domain, got {fewest}.")
            _network_file(evaluation, group)


def _available_split(wanted: str, sources: Sources) -> str:
    """The split to score: the one that is wanted, or the next best."""
    return next(name for name in (wanted, "validation", "train") if has_split(sources, name))


def _network_file(evaluation: EvaluationConfig, group: str = "evaluation") -> Path:
    """The feature network's file; fetched where it is to be."""
    if evaluation.inception == "auto":
        try:
            return published_weights()
        except OSError as error:
            raise ValueError(f"`{group}.metric: {evaluation.metric}`: {error}") from error
    if evaluation.inception is None or not Path(evaluation.inception).is_file():
        raise ValueError(
            f"`{group}.metric: {evaluation.metric}` needs the file of a feature network as `evaluation.inception`, or "
            f"auto to fetch the published one, got {evaluation.inception}; `--{group}.metric swd` needs none."
        )
    return Path(evaluation.inception)
