"""The measuring itself: pictures through a pipeline, both ways, and every figure of what comes out."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cyclegan_hf.evaluation.describe import (
    FEWEST_FOR_KID,
    SMALLEST,
    Rows,
    SetDescription,
    SetSettings,
    compare_sets,
    distance_name,
    patches_of,
)
from cyclegan_hf.evaluation.failure_checks import SIGNS, measure, present
from cyclegan_hf.evaluation.pictures import Pictures, PictureSet, spread
from cyclegan_hf.evaluation.results import Scores, Settings, close_gap
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.metrics.artifacts import alike, same_channels
from cyclegan_hf.metrics.color import color_difference, mean_lab
from cyclegan_hf.metrics.discrimination import score_accuracy
from cyclegan_hf.metrics.domain_classifier import DomainClassifier
from cyclegan_hf.metrics.image_features import ImageFeatures, feature_distance
from cyclegan_hf.metrics.inception import FeatureNetwork
from cyclegan_hf.metrics.reconstruction import l1_distance, psnr
from cyclegan_hf.metrics.resampling import bootstrap_counts, resampled_means
from cyclegan_hf.metrics.structure import edge_agreement, structural_similarity


logger = logging.getLogger(__name__)

DIRECTIONS = ("a2b", "b2a")
LOOKED_AT = 16
"""Pictures on which signs of faults are looked for, evenly spread."""
LEVELS_FROM = 48
"""Real images of the target that the levels of tints and halos come from, evenly spread."""
PairMeasure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Pictures and their translations, both `(B, 3, H, W)` in [0, 1] and of sizes that may differ, to a figure of each,
`(B,)`."""
Judge = Callable[[torch.Tensor], torch.Tensor]
"""Pictures `(B, C, H, W)` in [0, 1] to a discriminator's score of each, `(B,)`."""
Keep = Callable[[str, int, Path, dict[str, torch.Tensor]], None]
"""Takes a direction, a picture's number and file, and its `input`, `translation` and `cycle` as `(C, H, W)`."""


class Evaluator:
    """Scores pipelines on the same pictures.

    What does not depend on the pipeline, the reference's description and the baselines, is made once.

    Args:
        pictures: Which.
        settings: How.
        network: Feature network for KID, FD (FID), IS, GMS, the domain probe and, if it is an `ImageFeatures`, the
            content distance; unset, these are left out.
        pair_measures: Further figures of a picture and its translation by name, such as `lpips`.
        progress: Wraps a loop over batches: takes the iterator, its number of pictures and what is done.
        autocast: The arithmetic of the translations; figures are computed in float32 and above.
    """

    def __init__(
        self,
        pictures: Pictures,
        settings: Settings,
        network: FeatureNetwork | None = None,
        pair_measures: dict[str, PairMeasure] | None = None,
        progress: Callable[[Iterator[Any], int, str], Iterator[Any]] = lambda batches, total, what: batches,
        autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ) -> None:
        self.pictures = pictures
        self.settings = settings
        self.network = network
        self.pair_measures = pair_measures or {}
        self.progress = progress
        self.autocast = autocast
        self.directions = [way for way in DIRECTIONS if way[0] in pictures.inputs and way[2] in pictures.references]
        self.sizes: dict[str, tuple[int, int]] = {}
        self._targets: dict[str, SetDescription] = {}
        self._classifiers: dict[str, DomainClassifier] = {}
        self._baselines: dict[str, dict[str, Scores]] = {}
        self._said: set[str] = set()

    def warnings(self) -> list[str]:
        """Say what the number of images means for the metrics of the directions scored so far; log it."""
        said = []
        for way in self.directions:
            if (reference := self._targets.get(way[2])) is None:
                continue
            fewest = min(len(self.pictures.inputs[way[0]].files), reference.count)
            if self.network is not None:
                said += self._said_of_few(way, fewest, reference.features.shape[1])
            if not self.pictures.independent.get(way[2], True):
                said.append(f"{way}: there are no other pictures of the target than those to translate: no gap closed")
        return said

    def _said_of_few(self, way: str, fewest: int, width: int) -> list[str]:
        assert self.network is not None
        distance = distance_name(self.network).upper()
        if fewest < FEWEST_FOR_KID:
            rest = f"{distance}, the domain probe, SWD" if fewest > 1 else "SSIM, edges, cycles and SWD"
            left_out = "KID is" if fewest > 1 else f"KID (and {distance}, of 2) is"
            return [
                f"{way}: {left_out} left out: it needs {FEWEST_FOR_KID} images of each kind, there are {fewest}; "
                f"{rest} are reported"
            ]
        if fewest < width:
            return [
                f"{way}: {distance} is biased upwards with {fewest} images, fewer than its {width} features: go by KID"
            ]
        return []

    def patches(self, files: PictureSet) -> int:
        """Return the SWD patches per image and level of a set, the same before and after unreadable images are met."""
        return patches_of(len(files.files) + len(files.left_out), self.settings.sets.patches)

    def baselines(self, pipeline: Any) -> dict[str, dict[str, Scores]]:
        """Return the metrics of `untouched` inputs and of `real` images of the target, by direction.

        Args:
            pipeline: Knows the domains' channels, which must be those of every pipeline that is scored.
        """
        for way in self.directions:
            self._baseline(pipeline, way)
        return self._baselines

    @torch.no_grad()
    def __call__(
        self, pipeline: Any, judges: dict[str, tuple[Judge, str]] | None = None, keep: Keep | None = None
    ) -> dict[str, Scores]:
        """Score a pipeline.

        Args:
            pipeline: The `CycleGANPipeline`.
            judges: By domain, its discriminator and the adversarial loss that it was trained with.
            keep: Takes every picture with what came of it.

        Returns:
            The scores of each direction that the pipeline has and for which there are pictures.

        Raises:
            ValueError: If a set has no readable picture, or a translation is not finite.
        """
        pipeline.set_progress_bar_config(disable=True)
        ways = [way for way in self.directions if getattr(pipeline, f"generator_{way}") is not None]
        if not ways:
            raise ValueError("there are no pictures for the direction that this model has")
        for way in ways:
            self._target(pipeline, way[2])
        for warning in self.warnings():  # of the references: before the long part
            if warning not in self._said:
                logger.warning("%s", warning)
                self._said.add(warning)
        # Pictures of another size than the training's batches: not worth compiling for.
        with torch.compiler.set_stance("force_eager"):
            return {way: self._direction(pipeline, way, (judges or {}).get(way[2]), keep) for way in ways}

    def _direction(self, pipeline: Any, way: str, judge: tuple[Judge, str] | None, keep: Keep | None) -> Scores:
        source, target = way[0], way[2]
        reference = self._target(pipeline, target)
        baseline = self._baseline(pipeline, way) if self.settings.baselines else {}
        inputs = self.pictures.inputs[source]
        described = SetDescription(dataclasses.replace(reference.settings, patches=self.patches(inputs)), self.network)
        back = self.settings.cycle and getattr(pipeline, f"generator_{target}2{source}") is not None
        rows: defaultdict[str, Rows] = defaultdict(Rows)
        on_fake = Rows()
        looked_at = {id(path) for path in spread(inputs.files, LOOKED_AT)} if self.settings.signs else set()
        looks: list[tuple[torch.Tensor, ...]] = []
        for batch in self._batches(inputs, source, way):
            images = as_tensors([image for _, image in batch], _processor(pipeline, source))
            self.sizes[source] = (images.shape[-2], images.shape[-1])
            translations, cycles = self._translated(pipeline, [image for _, image in batch], way, back)
            maps = described.add(translations)
            pairs = self._pair_figures(images, translations) | self._cycle_figures(images, cycles)
            if maps is not None and isinstance(self.network, ImageFeatures):
                own = self.network.describe(images, remember=True).maps
                pairs["content"] = feature_distance(own, maps)
            for name, values in pairs.items():
                rows[name].add(values)
            looks += [
                (images[index], translations[index], *(() if cycles is None else (cycles[index],)))
                for index, (path, _) in enumerate(batch)
                if id(path) in looked_at
            ]
            if judge is not None:
                on_fake.add(judge[0](translations))
            if keep is not None:
                for index, (path, _) in enumerate(batch):
                    shown = {"input": images[index], "translation": translations[index]}
                    shown |= {"cycle": cycles[index]} if cycles is not None else {}
                    keep(way, described.count - len(batch) + index, path, shown)
        result = Scores(pictures={name: found.rows for name, found in rows.items()})
        counts = bootstrap_counts(described.count, self.settings.sets.resamples, self.settings.sets.seed)
        result.figures, result.resampled = compare_sets(described, reference, counts, self._classifier(pipeline, way))
        for name, values in result.pictures.items():
            result.figures[name] = resampled_means(values, torch.ones(1, len(values))).item()
            result.resampled[name] = resampled_means(values, counts)
        self._at_home(pipeline, way, judge, on_fake, counts, result)
        close_gap(result, baseline)
        if looks:
            self._look(pipeline, way, looks, result)
        result.figures = {name: value for name, value in result.figures.items() if _is_known(value)}
        return result

    def _pair_figures(self, images: torch.Tensor, translations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute metrics of images and their translations at the images' size; in grey if only one has colours."""
        figures = {"color_shift": color_difference(mean_lab(images), mean_lab(translations))}
        if min(images.shape[-2:]) >= 8:
            both = alike(images, translations)
            figures |= {"ssim": structural_similarity(*both), "edge_agreement": edge_agreement(*both)}
        if self.pair_measures:
            coloured = [one.expand(-1, 3, -1, -1) for one in same_channels(images, translations)]
            figures |= {name: measured(*coloured) for name, measured in self.pair_measures.items()}
        return figures

    def _cycle_figures(self, images: torch.Tensor, cycles: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if cycles is None:
            return {}
        figures = {"cycle_l1": l1_distance(images, cycles), "cycle_psnr": psnr(images, cycles)}
        if min(images.shape[-2:]) >= 8:
            figures["cycle_ssim"] = structural_similarity(images, cycles)
        return figures

    def _at_home(
        self,
        pipeline: Any,
        way: str,
        judge: tuple[Judge, str] | None,
        on_fake: Rows,
        counts: torch.Tensor,
        result: Scores,
    ) -> None:
        """Return identity distance and discriminator accuracy on real images of the target."""
        target = way[2]
        channels = [_processor(pipeline, domain).num_channels for domain in (way[0], target)]
        identity = self.settings.identity and channels[0] == channels[1]
        real = self.pictures.inputs.get(target)
        if real is None or not (identity or judge):
            return
        distances, on_real = Rows(), Rows()
        for batch in self._batches(real, target, f"{way} at home"):
            images = as_tensors([image for _, image in batch], _processor(pipeline, target))
            if judge is not None:
                on_real.add(judge[0](images))
            if identity:
                same, _ = self._translated(pipeline, [image for _, image in batch], way, back=False)
                if same.shape == images.shape:
                    distances.add(l1_distance(images, same))
        if distances.count:
            values = distances.rows
            others = bootstrap_counts(len(values), len(counts), self.settings.sets.seed + 1)
            result.figures["identity_l1"] = values.mean().item()
            result.resampled["identity_l1"] = resampled_means(values, others)
        if judge is not None:
            real_scores, fake_scores = on_real.rows, on_fake.rows
            result.figures["accuracy"] = score_accuracy(real_scores, fake_scores, judge[1]).item()
            result.resampled["accuracy"] = (
                torch.stack(
                    [
                        score_accuracy(real_scores, fake_scores.repeat_interleave(count), judge[1]).double()
                        for count in counts
                    ]
                )
                if len(counts)
                else torch.zeros(0)
            )

    def _look(self, pipeline: Any, way: str, looks: list[tuple[torch.Tensor, ...]], result: Scores) -> None:
        """Look for signs of faults in images, their translations and, where there are any, their cycles."""
        images, translations, *cycles = (torch.stack(parts) for parts in zip(*looks, strict=True))
        made = translations, cycles[0] if cycles else None
        target = way[2]
        real = spread(self.pictures.references[target].files, LEVELS_FROM)
        levels = torch.cat(
            [as_tensors([self.pictures.read(path, target)], _processor(pipeline, target)) for path in real]
        )
        result.figures |= measure(pipeline, images, way, self.settings.batch_size, made, levels)
        known = {name: value for name, value in result.figures.items() if isinstance(value, float)}
        result.signs = present(known, SIGNS)

    def _translated(
        self, pipeline: Any, images: list[Image.Image], way: str, back: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return translations and their way back as they would be saved, in 8 bits."""
        try:
            with self.autocast():
                output = pipeline(images, direction=way, return_cycle=back, batch_size=len(images), output_type="pt")
        except ValueError as error:
            raise ValueError(f"{way}: {error}") from error
        offset = 0.5 if self.settings.rounding == "nearest" else 0.0
        rounded = [
            torch.floor(torch.stack(pictures) * 255 + offset) / 255
            for pictures in (output.images, output.cycles)
            if pictures
        ]
        return rounded[0], rounded[1] if back else None

    def _target(self, pipeline: Any, target: str) -> SetDescription:
        if target not in self._targets:
            files = self.pictures.references[target]
            self._targets[target] = self._described(pipeline, files, target, "reference", mirrored=True)
        return self._targets[target]

    def _classifier(self, pipeline: Any, way: str) -> DomainClassifier | None:
        """Fit the classifier to both domains' references, which must differ from the images it judges."""
        source, target = way[0], way[2]
        known = source in self.pictures.references and self.pictures.independent.get(source, True)
        if self.network is None or not known:
            return None
        if way not in self._classifiers:
            both = (self._target(pipeline, domain).examples for domain in (source, target))
            self._classifiers[way] = DomainClassifier.fitted(*both)
        return self._classifiers[way]

    def _baseline(self, pipeline: Any, way: str) -> dict[str, Scores]:
        """Compute metrics of unmodified inputs and of real images of the target against the reference."""
        if way not in self._baselines:
            source, target = way[0], way[2]
            reference, seed = self._target(pipeline, target), self.settings.sets.seed
            sets = {"untouched": (self.pictures.inputs[source], seed)}
            if target in self.pictures.inputs and self.pictures.independent.get(target, True):
                sets["real"] = (self.pictures.inputs[target], seed + 1)
            self._baselines[way] = {}
            for name, (files, its_seed) in sets.items():
                # Inputs too in the target's channels and size: as if they were translations.
                described = self._described(pipeline, files, target, f"{way} {name}")
                counts = bootstrap_counts(described.count, self.settings.sets.resamples, its_seed)
                figures, resampled = compare_sets(described, reference, counts, self._classifier(pipeline, way))
                if name == "untouched":
                    # of an image and itself
                    figures |= {"edge_agreement": 1.0, "ssim": 1.0, "color_shift": 0.0}
                    figures |= {"content": 0.0} if isinstance(self.network, ImageFeatures) else {}
                self._baselines[way][name] = Scores(figures, resampled)
        return self._baselines[way]

    def _described(
        self, pipeline: Any, files: PictureSet, domain: str, what: str, mirrored: bool = False
    ) -> SetDescription:
        processor, described = _processor(pipeline, domain), None
        for batch in self._batches(files, domain, what):
            images = as_tensors([image for _, image in batch], processor)
            if described is None:
                settings = self._set_settings(images, files)
                described = SetDescription(settings, self.network, real=True, mirrored=mirrored)
                self.sizes[domain] = (images.shape[-2], images.shape[-1])
            described.add(images)
        assert described is not None, "a set without pictures is refused"
        return described

    def _set_settings(self, images: torch.Tensor, files: PictureSet) -> SetSettings:
        sets = dataclasses.replace(self.settings.sets, patches=self.patches(files))
        if sets.swd and min(images.shape[-2:]) < SMALLEST:
            logger.warning("SWD needs %d pixels, these pictures have fewer: it is left out.", SMALLEST)
            return dataclasses.replace(sets, swd=False)
        return sets

    def _batches(self, files: PictureSet, domain: str, what: str) -> Iterator[list[tuple[Path, Image.Image]]]:
        batches = files.batches(lambda path: self.pictures.read(path, domain), self.settings.batch_size)
        return self.progress(batches, len(files.files), what)


def as_tensors(images: list[Image.Image], processor: ImageProcessor) -> torch.Tensor:
    """Convert images of one size to `(B, C, H, W)` in [0, 1], with their domain's channels."""
    arrays = np.stack([processor.to_array(image) for image in images])
    return torch.stack(processor.postprocess(arrays, output_type="pt"))


def _processor(pipeline: Any, domain: str) -> ImageProcessor:
    return pipeline.image_processor_a if domain == "a" else pipeline.image_processor_b


def _is_known(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
