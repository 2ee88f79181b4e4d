"""Scores of a run's translations while it trains: which pictures, in which size, by which metric."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cyclegan_hf.evaluation import evaluator as library
from cyclegan_hf.evaluation.comparison import against_untouched, spreads
from cyclegan_hf.evaluation.describe import FEWEST_FOR_KID, SMALLEST, SetSettings
from cyclegan_hf.evaluation.networks import find_network, on_device, published_weights
from cyclegan_hf.evaluation.pictures import Pictures, PictureSet, spread
from cyclegan_hf.evaluation.protocol import protocol_of
from cyclegan_hf.evaluation.results import Settings
from cyclegan_hf.feature_networks import VARIANTS, weights_file
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import EvaluationConfig
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.rows import Picture, open_picture
from cyclegan_hf.training.data.sources import Sources
from cyclegan_hf.training.data.transforms import plain


logger = logging.getLogger(__name__)

CHUNK = 8
"""Pictures at a time."""
RESAMPLES = 100
"""For the figures' spread."""


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
        if self.config.metric != "swd":
            _check_network(self.config)  # refuses what `find_network` warns of
        network, self.network = find_network(*_names(self.config))
        if self.config.metric == "gms" and self.network is not None and self.network["name"] in VARIANTS:
            _say_once(of_which_network(self.network))
        if network is not None:
            network = on_device(network, device)
        sets = SetSettings(resamples=RESAMPLES)
        settings = Settings(sets=sets, batch_size=CHUNK, cycle=False, identity=False, signs=False)
        self.evaluator = library.Evaluator(pictures, settings, network, autocast=autocast)

    def __call__(self, pipeline: Any) -> dict[str, Any]:
        """Score a pipeline.

        Returns:
            The metric's mean over the directions under its name, under `"a2b"` and `"b2a"` all figures of each, as
            `cyclegan_hf.metrics.figures` has them, under `"spread"` those of the figures of each, and under
            `"against_untouched"` the metric and KID minus those of the untouched inputs, with 95 % intervals.
        """
        scores: dict[str, Any] = {}
        spread_of: dict[str, Any] = {}
        found_of = self.evaluator(pipeline)
        for way, found in found_of.items():
            scores[way] = {name: value for name, value in found.figures.items() if isinstance(value, float)}
            spread_of[way] = spreads(found)
        metric = self.config.metric
        compared = against_untouched(found_of, self.evaluator.baselines(pipeline))
        compared = {way: {name: of[name] for name in {metric, "kid"} & of.keys()} for way, of in compared.items()}
        mean = {metric: (scores["a2b"][metric] + scores["b2a"][metric]) / 2}
        return mean | scores | {"spread": spread_of, "against_untouched": compared}

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
        case "gms" | "fid" | "fd" | "kid" as metric:
            least = FEWEST_FOR_KID if metric == "kid" else 2
            if fewest < least:
                raise ValueError(
                    f"`{group}.metric: {metric}` needs at least {least} pictures of each domain, got {fewest}; "
                    f"`--{group}.metric swd` chooses with fewer."
                )
            _check_network(evaluation, group)


def _available_split(wanted: str, sources: Sources) -> str:
    """Return the split to score: the requested one, or the next best."""
    return next(name for name in (wanted, "validation", "train") if has_split(sources, name))


def of_which_network(network: dict[str, str]) -> str:
    """Return in words whose GMS it is, where it is not Inception's."""
    return (
        f"GMS is sqrt(FD / IS) of the features and classes of {network['name']}, not of Inception: its values do not "
        "compare with published ones (`--evaluation.inception auto` fetches Inception's weights)."
    )


@cache
def _say_once(text: str) -> None:
    logger.info("%s", text)


def _names(evaluation: EvaluationConfig) -> tuple[str, str | None]:
    return evaluation.feature_network, evaluation.inception


def _check_network(evaluation: EvaluationConfig, group: str = "evaluation") -> None:
    """Refuse a metric whose feature network can't be had, or does not give it; fetch it where it is to be.

    Raises:
        ValueError: With the extra to install, or the ways out.
    """
    metric, (name, inception) = evaluation.metric, _names(evaluation)
    asked, way_out = f"`{group}.metric: {metric}`", f"`--{group}.metric swd` needs none"
    by_name = inception in (None, "none") and name in VARIANTS
    if metric in ("fid", "fd") and by_name == (metric == "fid"):
        other = "`fd` is an EfficientNet's" if by_name else "`fid` is Inception's or a file's"
        raise ValueError(f"{asked} is not what this feature network gives: {other}; {way_out}.")
    if not by_name and inception != "auto" and not Path(inception or name).is_file():
        raise ValueError(
            f"{asked} needs a feature network: {', '.join(VARIANTS)} or a file as `evaluation.feature_network`, or "
            f"auto or a file as `evaluation.inception`, got {inception or name}; {way_out}."
        )
    try:
        if by_name:
            weights_file(name)
        elif inception == "auto":
            published_weights()
    except (ValueError, OSError) as error:
        raise ValueError(f"{asked}: {str(error).rstrip('.')}; {way_out}.") from error
