"""Signs that a CycleGAN goes wrong while its losses look well, measured on a few pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from cyclegan_hf.metrics.artifacts import NOISE, change, luma_agreement, noise_gain, regular_pattern
from cyclegan_hf.metrics.tints import tints


class Sign(NamedTuple):
    """One thing that can go wrong.

    Attributes:
        needs: Names of the measures that it looks at.
        shows: Whether the measures of a direction show it.
        message: What to say of it, with the measures' names in braces.
    """

    needs: tuple[str, ...]
    shows: Callable[[dict[str, float]], bool]
    message: str


# Thresholds stand between our bundled summer-winter weights, which work (8 test pictures each way at 128²:
# change 0.08 and 0.09, luma correlation 0.96, no tile inverted, noise gain 0.02, pattern 0.0016 at 2.5 times its
# surroundings), and networks that fail or were made to.
SIGNS = {
    # 8 of 255 levels is what rounding, blur and a slight tint make. Where a discriminator still tells such pictures
    # from real ones three times in four, little change is no success (the course report `human2anime`: 84 %).
    "identity": Sign(
        ("change", "accuracy"),
        lambda m: m["change"] < 0.03 and m["accuracy"] > 0.75,
        "the translation hardly changes its input ({change:.3f} of 1) though the discriminator sees through it "
        "({accuracy:.0%}): identity collapse",
    ),
    # The same where no discriminator is at hand: most of the way to the target is left.
    "unchanged": Sign(
        ("change", "gap_closed"),
        lambda m: m["change"] < 0.03 and m["gap_closed"] < 0.25,
        "the translation hardly changes its input ({change:.3f} of 1) and closes {gap_closed:.2f} of the gap to the "
        "target: identity collapse",
    ),
    "inversion": Sign(
        ("luma_correlation", "inverted_tiles"),
        lambda m: m["luma_correlation"] < -0.2 or m["inverted_tiles"] > 0.25,
        "light turns dark (luma correlation {luma_correlation:.2f}, {inverted_tiles:.0%} of the tiles inverted)",
    ),
    # A way back that hands noise on unamplified, as one that changes nothing does, adds at most the noise's own size.
    "hidden_signal": Sign(
        ("noise_gain", "cycle_growth"),
        lambda m: m["noise_gain"] > 2 and m["cycle_growth"] > 1.5,
        "noise of 2/255 makes the cycle {cycle_growth:.1f} times as wrong, {noise_gain:.1f} times the noise: the "
        "translation hides a signal for the way back",
    ),
    # One level of 255 is where a regular pattern becomes visible on a flat sky. Untrained generators: 211 and 281
    # times the surroundings (amplitude 0.03) with transposed convolutions, 2 and 6 times with resize convolutions.
    "pattern": Sign(
        ("pattern", "pattern_ratio"),
        lambda m: m["pattern"] > 1 / 255 and m["pattern_ratio"] > 8,
        "a regular pattern of 2 or 4 pixels ({pattern:.4f} of 1, {pattern_ratio:.0f} times its surroundings): "
        "checkerboard; `generator.upsample_type: resize_conv` has none",
    ),
    # The levels are those of real images of the target. On 24 + 24 training photos the weights bundled in November
    # 2026 gave summers with 0.24 of the whites tinted (chroma 12) and halos of 8.2 at a level of 4.9, to the eye neon
    # and yellow rims; their winters 0.001 and 5.7, which look clean.
    "tinted_whites": Sign(
        ("tinted_whites", "tinted_whites_chroma", "tinted_whites_level"),
        lambda m: m["tinted_whites"] > m["tinted_whites_level"] + 0.05,
        "whites are tinted: {tinted_whites:.0%} of the pixels that were near-white and colourless are coloured "
        "afterwards (mean chroma {tinted_whites_chroma:.0f}), real images call for {tinted_whites_level:.0%}",
    ),
    "tinted_greys": Sign(
        ("tinted_greys", "tinted_greys_chroma", "tinted_greys_level"),
        lambda m: m["tinted_greys"] > m["tinted_greys_level"] + 0.05,
        "greys are tinted: {tinted_greys:.0%} of the pixels that were mid-grey are coloured afterwards (mean chroma "
        "{tinted_greys_chroma:.0f}), real images call for {tinted_greys_level:.0%}",
    ),
    "halos": Sign(
        ("halos", "halos_level"),
        lambda m: m["halos"] > 1.3 * m["halos_level"],
        "coloured halos: along strong edges the colour differs by {halos:.1f} from its surroundings, by "
        "{halos_level:.1f} in real images",
    ),
    # Identical sets have 1; sets of real pictures of one domain 0.8 to 1.2 (25 to 200 photos and faces at 128²).
    "collapse": Sign(
        ("diversity",),
        lambda m: m["diversity"] < 0.5,
        "translations differ among themselves {diversity:.2f} times as much as real pictures of the target: mode "
        "collapse",
    ),
}


def present(measures: dict[str, float], signs: dict[str, Sign]) -> dict[str, str]:
    """Return the message of each warning sign that a direction's measures show; skip signs with missing measures."""
    return {
        name: sign.message.format(**measures)
        for name, sign in signs.items()
        if measures.keys() >= set(sign.needs) and sign.shows(measures)
    }


@torch.no_grad()
def measure(
    pipeline: Any,
    images: torch.Tensor,
    direction: str,
    batch_size: int | None = None,
    made: tuple[torch.Tensor, torch.Tensor | None] | None = None,
    real: torch.Tensor | None = None,
) -> dict[str, float]:
    """Measure what the signs look at, for one direction; of a pipeline without a way back, what needs none.

    Args:
        pipeline: The `CycleGANPipeline`.
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Images in [0, 1].
        direction: `"a2b"` or `"b2a"`.
        batch_size: Images at a time; unset, all of them.
        made: The translations and, where there is a way back, the cycles, if they are known already.
        real (`torch.Tensor` of shape `(n, channels, any, any)`): Real images of the target, for tints and halos.
    """
    back = "b2a" if direction == "a2b" else "a2b"
    there_and_back = getattr(pipeline, f"generator_{back}") is not None
    settings: dict[str, Any] = {"batch_size": batch_size or len(images), "output_type": "pt"}
    pipeline.set_progress_bar_config(disable=True)
    measures: dict[str, float] = {}
    with torch.compiler.set_stance("force_eager"):  # few images: not worth compiling for
        if made is None:
            both = pipeline(images, direction=direction, return_cycle=there_and_back, **settings)
            made = torch.stack(both.images), torch.stack(both.cycles) if there_and_back else None
        translations, cycles = made
        if cycles is not None:
            noise = NOISE * torch.randn(translations.shape, generator=torch.Generator().manual_seed(0))
            disturbed = pipeline((translations + noise).clamp(0, 1), direction=back, **settings).images
            gain, growth = noise_gain(images, cycles, torch.stack(disturbed), noise)
            measures |= {"noise_gain": gain, "cycle_growth": growth}
    correlation, inverted = luma_agreement(images, translations)
    pattern, ratio = regular_pattern(images, translations)
    if real is not None:
        measures |= tints(images, translations, real)
    return measures | {
        "change": change(images, translations),
        "luma_correlation": correlation,
        "inverted_tiles": inverted,
        "pattern": pattern,
        "pattern_ratio": ratio,
    }
