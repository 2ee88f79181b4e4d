"""Sets of pictures, described batch by batch so that the pictures need not stay, and compared with one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cyclegan_hf.metrics.color import color_difference, mean_lab
from cyclegan_hf.metrics.diversity import mean_pair_distance, reduced
from cyclegan_hf.metrics.domain_classifier import DomainClassifier
from cyclegan_hf.metrics.gms import gms
from cyclegan_hf.metrics.image_features import ImageFeatures
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

FEWEST_FOR_KID = 10
"""Images of either set below which KID says nothing."""
_MOST_FOR_FD_SPREAD = 256  # images; each resample costs their number cubed


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """Settings for comparing sets of images.

    Attributes:
        seed: Seed of patches, directions, subsets and resamples.
        resamples: Bootstrap resamples; 0 for none.
        swd: Compute the sliced Wasserstein distance.
        levels: Levels of its pyramid.
        patches: Patches a picture and level. See `patches_of`.
        projections: Random directions.
        kid_subsets: Random subsets of KID, of other networks than `ImageFeatures`, whose KID is of all images at once.
        splits: Parts of the Inception score.
    """

    seed: int = 0
    resamples: int = 0
    swd: bool = True
    levels: int = 3
    patches: int = 128
    projections: int = 512
    kid_subsets: int = 100
    splits: int = 10


def patches_of(count: int, patches: int = SetSettings.patches) -> int:
    """Return the SWD patches per image and level for a set of `count` images: fewer for large sets."""
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
        """Return all rows."""
        return self._block[: self.count]


class SetDescription:
    """Features and statistics of a set of images.

    Memory: 0.23 MB an image for SWD at 3 levels of colour, with `patches_of` at most 240 MB; and what the feature
    network gives, 9 kB an image with EfficientNet and 12 kB with Inception.

    Args:
        settings: How.
        network: Gives the features of KID, FD, the Inception score and the domain probe; none without it.
        real: The images are no translations: an `ImageFeatures` remembers them.
        mirrored: Describe mirror images too, for the domain probe to learn from.

    Attributes:
        count: Pictures so far.
    """

    def __init__(
        self,
        settings: SetSettings,
        network: FeatureNetwork | None = None,
        *,
        real: bool = False,
        mirrored: bool = False,
    ) -> None:
        self.settings = settings
        self.network = network
        self.real = real
        self.mirrored = mirrored
        self.count = 0
        self._levels = [Rows() for _ in range(settings.levels)]
        self._features, self._logits, self._colors, self._reduced = Rows(), Rows(), Rows(), Rows()
        self._mirror_features = Rows()

    def add(self, images: torch.Tensor) -> torch.Tensor | None:
        """Take in images, `(B, C, H, W)` in [0, 1] on the CPU; returns their feature maps, of an `ImageFeatures`."""
        settings, maps = self.settings, None
        if settings.swd:
            patches = settings.patches
            levels = patch_descriptors(
                images, settings.levels, num_patches=patches, seed=settings.seed, first=self.count
            )
            for kept, level in zip(self._levels, levels, strict=True):
                kept.add(level.unflatten(0, (len(images), patches)))
        if self.network is not None:
            features, logits, maps = self._described(self.network, images)
            self._features.add(features)
            self._logits.add(logits)
            if self.mirrored:
                self._mirror_features.add(self._described(self.network, images.flip(-1))[0])
        self._colors.add(mean_lab(images))
        self._reduced.add(reduced(images))
        self.count += len(images)
        return maps

    def _described(
        self, network: FeatureNetwork, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return features, logits and, for `ImageFeatures`, maps."""
        if isinstance(network, ImageFeatures):
            return network.describe(images, remember=self.real)
        return *inception_features([images], network), None

    def patches(self, level: int) -> torch.Tensor:
        """Return the patches of a level, `(n, patches, channels, 7, 7)`."""
        return self._levels[level].rows

    @property
    def features(self) -> torch.Tensor:
        """Return the feature network's features, `(n, features)`."""
        return self._features.rows

    @property
    def logits(self) -> torch.Tensor:
        """Return the feature network's logits, `(n, classes)`."""
        return self._logits.rows

    @property
    def colors(self) -> torch.Tensor:
        """Return mean Lab colours, `(n, 3)`."""
        return self._colors.rows

    @property
    def reduced(self) -> torch.Tensor:
        """Return the images strongly reduced, `(n, dimensions)`."""
        return self._reduced.rows

    @property
    def examples(self) -> torch.Tensor:
        """Return features of the images and, if described, of their mirror images: training data of the probe."""
        return torch.cat([self._features.rows, self._mirror_features.rows]) if self.mirrored else self._features.rows


def compare_sets(
    ours: SetDescription, target: SetDescription, counts: torch.Tensor, classifier: DomainClassifier | None = None
) -> tuple[dict[str, float | list[float]], dict[str, torch.Tensor]]:
    """Compute the metrics that compare a set with the target's real images.

    What a set is too small for is left out: KID needs ten images, FD and diversity two.

    Args:
        ours: The set.
        target: The real pictures.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture of `ours` is in each resample.
        classifier: Tells features of the other domain's real images from the target's.

    Returns:
        Figures by name, and what each of them is in the resamples.
    """
    figures: dict[str, float | list[float]] = {}
    resampled: dict[str, torch.Tensor] = {}
    if ours.settings.swd:
        levels, resampled["swd"] = _swd(ours, target, counts)
        figures |= {"swd_levels": levels, "swd": sum(levels) / len(levels)}
    if ours.network is not None:
        of_features, resampled_of_features = _of_features(ours, target, counts)
        figures |= of_features
        resampled |= resampled_of_features
    mean = target.colors.mean(0)
    weights = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figures["color_distance"] = color_difference(ours.colors.mean(0), mean).item()
    resampled["color_distance"] = color_difference(weights.float() @ ours.colors, mean)
    if min(ours.count, target.count) >= 2 and (whole := mean_pair_distance(target.reduced).item()) > 0:
        figures["diversity"] = mean_pair_distance(ours.reduced).item() / whole
        resampled["diversity"] = mean_pair_distance(ours.reduced, counts) / whole
    if classifier is not None:
        taken = (classifier(ours.features) > 0).float()
        figures["taken_for_target"] = taken.mean().item()
        resampled["taken_for_target"] = weights.float() @ taken
    return figures, resampled


def distance_name(network: FeatureNetwork) -> str:
    """Return what the Fréchet distance of a network's features is called: `fid` is kept for Inception and files."""
    return "fd" if isinstance(network, ImageFeatures) else "fid"


def _swd(ours: SetDescription, target: SetDescription, counts: torch.Tensor) -> tuple[list[float], torch.Tensor]:
    """Compute the distance at each level, and the mean over levels of the resamples."""
    settings = ours.settings
    levels, resampled = [], torch.zeros(len(counts))
    for level in range(settings.levels):
        mine, its = ours.patches(level), target.patches(level).flatten(0, 1)
        levels.append(sliced_wasserstein(mine.flatten(0, 1), its, settings.projections, settings.seed))
        if len(counts):
            resampled += resampled_sliced_wasserstein(mine, its, counts, seed=settings.seed) / settings.levels
    return levels, resampled


def _of_features(
    ours: SetDescription, target: SetDescription, counts: torch.Tensor
) -> tuple[dict[str, float | list[float]], dict[str, torch.Tensor]]:
    settings, features, real = ours.settings, ours.features, target.features
    assert ours.network is not None
    fewest, name = min(ours.count, target.count), distance_name(ours.network)
    if fewest < 2:
        return {}, {}
    score, score_std = inception_score(ours.logits, settings.splits, settings.seed)
    distance = fid(features, real)
    figures: dict[str, float | list[float]] = {
        name: distance,
        "inception_score": score,
        "inception_score_std": score_std,
        "gms": gms(distance, score),
    }
    resampled = {"inception_score": resampled_inception_score(ours.logits, counts)} if len(counts) else {}
    if len(counts) and ours.count <= _MOST_FOR_FD_SPREAD:
        resampled[name] = resampled_fid(features, real, counts)
        resampled["gms"] = (resampled[name].clamp(min=0) / resampled["inception_score"]).sqrt()
    if fewest >= FEWEST_FOR_KID:
        if isinstance(ours.network, ImageFeatures):
            figures["kid"] = resampled_kid(features, real, torch.ones(1, ours.count)).item()
        else:
            size = kid_subset_size(ours.count, target.count)
            figures["kid"], figures["kid_std"] = kid(features, real, settings.kid_subsets, size, settings.seed)
        if len(counts):
            resampled["kid"] = resampled_kid(features, real, counts)
    return figures, resampled
