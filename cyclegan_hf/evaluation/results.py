"""Settings of an evaluation, and the figures of a direction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from cyclegan_hf.evaluation.describe import SetSettings
from cyclegan_hf.image_processor import Rounding


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of an evaluation.

    Attributes:
        sets: How sets are compared.
        batch_size: Pictures at a time.
        rounding: Of translations to 8 bits, before anything is measured.
        cycle: Translate back, and measure what comes of it.
        identity: Measure what a generator does to its own target's pictures.
        signs: Look for signs of faults.
        baselines: Measure the inputs themselves and real pictures of the target likewise.
    """

    sets: SetSettings = field(default_factory=SetSettings)
    batch_size: int = 4
    rounding: Rounding = "nearest"
    cycle: bool = True
    identity: bool = True
    signs: bool = True
    baselines: bool = True


@dataclass
class Scores:
    """The figures of one direction.

    Attributes:
        figures: By name, as `cyclegan_hf.metrics.figures` has them, and beside those `swd_levels` (fine to coarse),
            `kid_std`, `inception_score_std`, `change`, `luma_correlation`, `cycle_growth` and `pattern_ratio`.
        resampled: What figures are in the bootstrap's resamples, `(resamples,)` each.
        pictures: Figures of each picture, NaN where it has none.
        signs: Signs of faults, with what there is to say of them.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    resampled: dict[str, torch.Tensor] = field(default_factory=dict)
    pictures: dict[str, torch.Tensor] = field(default_factory=dict)
    signs: dict[str, str] = field(default_factory=dict)


def close_gap(result: Scores, baseline: dict[str, Scores]) -> None:
    """Return (untouched - translated) / (untouched - real) of KID, if real images are closer than untouched ones."""
    if not {"untouched", "real"} <= baseline.keys() or "kid" not in result.figures:
        return
    untouched, real = baseline["untouched"], baseline["real"]
    if not all("kid" in one.figures for one in (untouched, real)):
        return
    whole = untouched.figures["kid"] - real.figures["kid"]
    if whole > 0:
        result.figures["gap_closed"] = (untouched.figures["kid"] - result.figures["kid"]) / whole
        if all("kid" in one.resampled for one in (result, untouched, real)):
            way = untouched.resampled["kid"] - result.resampled["kid"]
            result.resampled["gap_closed"] = way / (untouched.resampled["kid"] - real.resampled["kid"])
