"""Sets of pictures, described batch by batch so that the pictures need not stay, and compared with one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cyclegan_hf.metrics.color import color_difference, mean_lab
from cyclegan_hf.metrics.diversity import mean_pair_distance, reduced
from cyclegan_hf.metrics.domain_classifier import DomainClassifier, domain_features
from cyclegan_hf.metrics.gms import gms
from cyclegan_hf.metrics.inception import (
    FeatureNetwork,
    fid,
    inception_features,
    inception_score,
    kid,
    kid_subset_size,
)
from cyclegan_hf.metrics.inception_resampling import resampled_fid, resampled_inception_score, resampled_kid
from cyclegan_hf.metrics.sliced_wasserstein import patch_descriptors, resampled_sliced_wasserstein, sliced_wasserstein


SMALLEST = 25
"""Pixels that SWD needs: a 7×7 patch on the third level of the pyramid."""


MOST_PATCHES = 131_072
"""Of a set and level for SWD: 128 of each of 1,024 pictures."""


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """How sets are compared.

    Attributes:
        seed: Seed of patches, directions, subsets and resamples.
        resamples: Bootstrap resamples; 0 for none.
        swd: Compute the sliced Wasserstein distance.
        levels: Levels of its pyramid.
        patches: Patches a picture and level. See `patches_of`.
        projections: Random directions.
        repeats: Times that patches and directions are drawn; the figure is the mean. See `swd_repeats`.
        kid_subsets: Random subsets of KID.
        splits: Parts of the Inception score.
    """

    seed: int = 0
    resamples: int = 0
    swd: bool = True
    levels: int = 3
    patches: int = 128
    projections: int = 512
    repeats: int = 1
    kid_subsets: int = 100
    splits: int = 10


def swd_repeats(largest_set: int) -> int:
    """How often to draw patches: few pictures leave much to chance, and many would need much memory."""
    return max(1, min(4, 1024 // max(1, largest_set)))


def patches_of(count: int, patches: int = SetSettings.patches) -> int:
    """How many patches a picture and level SWD takes of a set of `count` pictures: fewer of large sets."""
    return max(1, min(patches, MOST_PATCHES // max(1, count)))


class Rows:
    """Rows that come in batches, kept in one block of memory that grows.

    Blocks of their own, between the large ones that come and go with each batch, leave the heap full of holes, however
    small they are: 1,000 + 1,000 pictures took three times the memory.
    """

    def __init__(self) -> None:
        self.count = 0
        self._block = torch.empty(0)

    def add(self, rows: torch.Tensor) -> None:
        """Append `(n, ...)`, the same behind each n."""
        end = self.count + len(rows)
        if end > len(self._block):
            larger = rows.new_empty(max(end, 2 * len(self._block)), *rows.shape[1:])
            if self.count:
                larger[: self.count] = self.rows
            self._block = larger
        self._block[self.count : end] = rows
        self.count = end

    @property
    def rows(self) -> torch.Tensor:
        """All of them."""
        return self._block[: self.count]


class SetDescription:
    """What is compared of a set of pictures.

    Memory: 0.23 MB a picture and repeat for SWD at 3 levels of colour, with `patches_of` and `swd_repeats` at most
    240 MB; and what the feature network gives, with Inception 12 kB a picture.

    Args:
        settings: How.
        network: Gives the features of FID, KID and the Inception score; none without it.

    Attributes:
        count: Pictures so far.
    """

    def __init__(self, settings: SetSettings, network: FeatureNetwork | None = None) -> None:
        self.settings = settings
        self.network = network
        self.count = 0
        self._levels = [Rows() for _ in range(settings.levels)]
        self._features, self._logits, self._colors, self._reduced = Rows(), Rows(), Rows(), Rows()
        self._looks = Rows()

    def add(self, images: torch.Tensor) -> None:
        """Take in pictures, `(B, C, H, W)` in [0, 1] on the CPU."""
        settings = self.settings
        if settings.swd:
            patches = settings.patches * settings.repeats
            levels = patch_descriptors(
                images, settings.levels, num_patches=patches, seed=settings.seed, first=self.count
            )
            for kept, level in zip(self._levels, levels, strict=True):
                kept.add(level.unflatten(0, (len(images), patches)))
        if self.network is not None:
            for kept, found in zip(
                (self._features, self._logits), inception_features([images], self.network), strict=True
            ):
                kept.add(found)
        self._colors.add(mean_lab(images))
        self._reduced.add(reduced(images))
        self._looks.add(domain_features(images))
        self.count += len(images)

    def patches(self, level: int, repeat: int) -> torch.Tensor:
        """`(n, patches, channels, 7, 7)` of one draw."""
        count = self.settings.patches
        return self._levels[level].rows[:, repeat * count : (repeat + 1) * count]

    @property
    def features(self) -> torch.Tensor:
        """The feature network's features, `(n, features)`."""
        return self._features.rows

    @property
    def logits(self) -> torch.Tensor:
        """Its logits, `(n, classes)`."""
        return self._logits.rows

    @property
    def colors(self) -> torch.Tensor:
        """Mean Lab colours, `(n, 3)`."""
        return self._colors.rows

    @property
    def reduced(self) -> torch.Tensor:
        """The pictures much reduced, `(n, dimensions)`."""
        return self._reduced.rows

    @property
    def looks(self) -> torch.Tensor:
        """What a classifier of domains sees of them, `(n, features)`."""
        return self._looks.rows


def compare_sets(
    ours: SetDescription, target: SetDescription, counts: torch.Tensor, source: SetDescription | None = None
) -> tuple[dict[str, float | list[float]], dict[str, torch.Tensor]]:
    """The figures that compare a set with the target's real pictures.

    What a set is too small for is left out: FID and KID need two pictures, and so does diversity.

    Args:
        ours: The set.
        target: The real pictures.
        source: Real pictures of the other domain, to tell the two apart.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture of `ours` is in each resample.

    Returns:
        Figures by name, and what each of them is in the resamples.
    """
    figures: dict[str, float | list[float]] = {}
    resampled: dict[str, torch.Tensor] = {}
    if ours.settings.swd:
        levels, resampled["swd"] = _swd(ours, target, counts)
        figures |= {"swd_levels": levels, "swd": sum(levels) / len(levels)}
    if ours.network is not None and min(ours.count, target.count) >= 2:
        inception, resampled_inception = _inception(ours, target, counts)
        figures |= inception
        resampled |= resampled_inception
    mean = target.colors.mean(0)
    weights = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figures["color_distance"] = color_difference(ours.colors.mean(0), mean).item()
    resampled["color_distance"] = color_difference(weights.float() @ ours.colors, mean)
    if min(ours.count, target.count) >= 2 and (whole := mean_pair_distance(target.reduced).item()) > 0:
        figures["diversity"] = mean_pair_distance(ours.reduced).item() / whole
        resampled["diversity"] = mean_pair_distance(ours.reduced, counts) / whole
    if source is not None and source.looks.shape[1] == target.looks.shape[1]:
        taken = (DomainClassifier.fitted(source.looks, target.looks)(ours.looks) > 0).float()
        figures["taken_for_target"] = taken.mean().item()
        resampled["taken_for_target"] = weights.float() @ taken
    return figures, resampled


def _swd(ours: SetDescription, target: SetDescription, counts: torch.Tensor) -> tuple[list[float], torch.Tensor]:
    """The distance at each level, mean over draws; and the mean over levels in the resamples, of the first draw."""
    settings = ours.settings
    levels, resampled = [], torch.zeros(len(counts))
    for level in range(settings.levels):
        distances = []
        for repeat in range(settings.repeats):
            mine, its = ours.patches(level, repeat), target.patches(level, repeat).flatten(0, 1)
            seed = settings.seed + repeat
            distances.append(sliced_wasserstein(mine.flatten(0, 1), its, settings.projections, seed))
            if repeat == 0 and len(counts):
                resampled += resampled_sliced_wasserstein(mine, its, counts, seed=seed) / settings.levels
        levels.append(sum(distances) / len(distances))
    return levels, resampled


def _inception(
    ours: SetDescription, target: SetDescription, counts: torch.Tensor
) -> tuple[dict[str, float | list[float]], dict[str, torch.Tensor]]:
    settings, features, real = ours.settings, ours.features, target.features
    distance = fid(features, real)
    kernel, kernel_std = kid(
        features, real, settings.kid_subsets, kid_subset_size(ours.count, target.count), settings.seed
    )
    score, score_std = inception_score(ours.logits, settings.splits, settings.seed)
    figures: dict[str, float | list[float]] = {
        "fid": distance,
        "kid": kernel,
        "kid_std": kernel_std,
        "inception_score": score,
        "inception_score_std": score_std,
        "gms": gms(distance, score),
    }
    if not len(counts):
        return figures, {}
    resampled = {
        "fid": resampled_fid(features, real, counts),
        "kid": resampled_kid(features, real, counts),
        "inception_score": resampled_inception_score(ours.logits, counts),
    }
    resampled["gms"] = (resampled["fid"].clamp(min=0) / resampled["inception_score"]).sqrt()
    return figures, resampled
