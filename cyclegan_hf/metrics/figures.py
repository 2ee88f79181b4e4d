"""The figures of an evaluation: what each is called, which way is better, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


Better = Literal["lower", "higher", "near 1", "near 0.5", "neither"]
ARROWS: dict[Better, str] = {"lower": "↓", "higher": "↑", "near 1": "→ 1", "near 0.5": "→ ½", "neither": "·"}


class Figure(NamedTuple):
    """A figure.

    Attributes:
        label: Its name in tables.
        better: Which way is better.
        digits: Places after the point.
        group: What it is about.
        meaning: One sentence on what it measures.
        per_picture: Whether each picture has one of its own.
        scale: Factor of the values in tables; files hold the plain ones.
    """

    label: str
    better: Better
    digits: int
    group: str
    meaning: str
    per_picture: bool = False
    scale: float = 1.0


TARGET, KEPT, BACK, GAME = "Like the target", "What is kept", "There and back", "The game"

FIGURES: dict[str, Figure] = {
    "gap_closed": Figure(
        "gap closed",
        "higher",
        2,
        TARGET,
        "Share of the way, in KID, from leaving the images as they are (0) to real images of the target (1).",
    ),
    "kid": Figure(
        "KID ×1000",
        "lower",
        2,
        TARGET,
        "Kernel distance of the feature network's features to the target's (cubic polynomial kernel, unbiased: it may "
        "fall below 0), ×1000; `metrics.json` holds the plain value. Sound from 10 images on.",
        scale=1000,
    ),
    "taken_for_target": Figure(
        "taken for the target",
        "higher",
        2,
        TARGET,
        "Share that a linear probe of the feature network's features, fitted to both domains' real images, takes for "
        "the target.",
    ),
    "fd": Figure("FD", "lower", 2, TARGET, "Fréchet distance of the same features to the target's."),
    "fid": Figure("FID", "lower", 2, TARGET, "Fréchet distance of the feature network's features to the target's."),
    "inception_score": Figure(
        "IS",
        "higher",
        3,
        TARGET,
        "Inception score by the feature network's classes: each image surely of one class, all of them of many.",
    ),
    "gms": Figure("GMS", "lower", 3, TARGET, "sqrt(FD / IS), of the feature network that the protocol names."),
    "color_distance": Figure(
        "colour to target", "lower", 2, TARGET, "ΔE*ab between the mean colours of the translations and of the target."
    ),
    "diversity": Figure(
        "diversity",
        "near 1",
        2,
        TARGET,
        "How much translations differ among themselves, as a multiple of real pictures of the target; far below 1 is "
        "mode collapse.",
    ),
    "swd": Figure(
        "SWD",
        "lower",
        1,
        TARGET,
        "A detail: sliced Wasserstein distance of 7×7 patches on a Laplacian pyramid to real images of the target, "
        "×1000, mean over levels. A colour cast moves it as much as snow does.",
    ),
    "content": Figure(
        "content distance",
        "lower",
        3,
        KEPT,
        "One minus the cosine of the feature network's maps at a sixteenth of the resolution, of an image and its "
        "translation.",
        True,
    ),
    "edge_agreement": Figure(
        "edges kept", "higher", 3, KEPT, "Correlation of the Sobel edges of a picture and its translation.", True
    ),
    "ssim": Figure(
        "SSIM to input", "higher", 3, KEPT, "Structural similarity of a picture and its translation.", True
    ),
    "lpips": Figure("LPIPS to input", "lower", 4, KEPT, "Perceptual distance of a picture and its translation.", True),
    "dino_structure": Figure(
        "DINO structure",
        "lower",
        5,
        KEPT,
        "How far the layout changes, by a vision transformer's self-similarity.",
        True,
    ),
    "color_shift": Figure(
        "colour shift",
        "neither",
        2,
        KEPT,
        "ΔE*ab between the mean colours of a picture and of its translation: how much changes, not how well.",
        True,
    ),
    "identity_l1": Figure(
        "identity L1",
        "lower",
        4,
        KEPT,
        "What the generator changes of a picture that is in its target domain already.",
    ),
    "cycle_l1": Figure(
        "cycle L1", "lower", 4, BACK, "Mean absolute error of a picture translated there and back.", True
    ),
    "cycle_psnr": Figure("cycle PSNR", "higher", 2, BACK, "The same as peak signal-to-noise ratio, in dB.", True),
    "cycle_ssim": Figure("cycle SSIM", "higher", 3, BACK, "Structural similarity of a picture there and back.", True),
    "noise_gain": Figure(
        "noise gain",
        "lower",
        2,
        BACK,
        "How much invisible noise in the translation grows on the way back; above 2, a signal is hidden there.",
    ),
    "accuracy": Figure(
        "discriminator",
        "near 0.5",
        3,
        GAME,
        "Share of translations and real pictures that the discriminator tells right.",
    ),
    "pattern": Figure(
        "pattern", "lower", 4, GAME, "Amplitude of the strongest pattern of 2 or 4 pixels: checkerboards."
    ),
    "tinted_whites": Figure(
        "tinted whites",
        "lower",
        3,
        GAME,
        "Share of the near-white, colourless pixels that stay light and are coloured afterwards.",
    ),
    "tinted_greys": Figure(
        "tinted greys", "lower", 3, GAME, "The same of mid-grey pixels, such as rock and overcast sky."
    ),
    "halos": Figure(
        "halos", "lower", 2, GAME, "Mean colour difference ΔE*ab between pixels along strong edges and around them."
    ),
    "inverted_tiles": Figure("inverted tiles", "lower", 3, GAME, "Share of 16² tiles where light has turned dark."),
}
"""In the order of tables. `metrics.json` holds further numbers: see `Scores` in `cyclegan_hf.evaluation.evaluator`."""

FURTHER: dict[str, Figure] = {
    "change": Figure(
        "change",
        "neither",
        3,
        KEPT,
        "Mean absolute difference of a picture and its translation: how much changes, not how well.",
    ),
    "luma_correlation": Figure(
        "luma correlation",
        "higher",
        3,
        KEPT,
        "Correlation of the brightness of a picture and its translation; below 0, light turns dark.",
    ),
    **{
        f"{name}_{kind}": Figure(f"{label} {kind}", "neither", 2, GAME, meaning)
        for name, label in (
            ("tinted_whites", "tinted whites'"),
            ("tinted_greys", "tinted greys'"),
            ("halos", "halos'"),
        )
        for kind, meaning in (
            ("chroma", "Mean chroma of these pixels afterwards."),
            ("level", "What real images of the target call for."),
        )
        if (name, kind) != ("halos", "chroma")
    },
    "cycle_growth": Figure(
        "cycle growth",
        "near 1",
        2,
        BACK,
        "How many times as wrong a cycle gets by invisible noise in the translation.",
    ),
    "pattern_ratio": Figure(
        "pattern ratio", "lower", 2, GAME, "Power of the strongest pattern of 2 or 4 pixels over its surroundings'."
    ),
}
"""What signs of faults are told by; not in a report's tables, but among the figures of a card."""

SPREADS = {"kid": "kid_std", "inception_score": "inception_score_std"}
"""Figures that bring a spread of their own, over subsets of the pictures, and its name."""


def as_text(name: str, value: float | None, spread: float | None = None) -> str:
    """Format a metric for people, with its spread if there is one."""
    if value is None:
        return "–"
    digits, scale = FIGURES[name].digits, FIGURES[name].scale
    return f"{scale * value:.{digits}f}" + (f" ± {scale * spread:.{digits}f}" if spread is not None else "")


def as_difference(name: str, value: float, interval: Sequence[float] | None = None) -> str:
    """Return a difference of two figures for people, with its 95 % interval where there is one."""
    digits, scale = FIGURES[name].digits, FIGURES[name].scale
    text = f"{scale * value:+.{digits}f}"
    if interval is not None:
        text += f" [{scale * interval[0]:+.{digits}f}, {scale * interval[1]:+.{digits}f}]"
    return text


def is_better(name: str, one: float, other: float) -> bool:
    """Return whether one value is better than another.

    Raises:
        ValueError: If the figure does not say how good something is.
    """
    match FIGURES[name].better:
        case "lower":
            return one < other
        case "higher":
            return one > other
        case "near 1":
            return abs(one - 1) < abs(other - 1)
        case "near 0.5":
            return abs(one - 0.5) < abs(other - 0.5)
    raise ValueError(f"`{name}` says how much changes, not how well.")
