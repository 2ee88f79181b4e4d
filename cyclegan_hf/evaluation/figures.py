"""The figures of an evaluation: what each is called, which way is better, and what it says."""

from __future__ import annotations

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
    """

    label: str
    better: Better
    digits: int
    group: str
    meaning: str
    per_picture: bool = False


TARGET, KEPT, BACK, GAME = "Like the target", "What is kept", "There and back", "The game"

FIGURES: dict[str, Figure] = {
    "gap_closed": Figure(
        "gap closed",
        "higher",
        2,
        TARGET,
        "Share of the way, in SWD, from leaving the pictures as they are (0) to real pictures of the target (1).",
    ),
    "swd": Figure(
        "SWD",
        "lower",
        1,
        TARGET,
        "Sliced Wasserstein distance of 7×7 patches on a Laplacian pyramid to real pictures of the target, ×1000, "
        "mean over levels.",
    ),
    "fid": Figure("FID", "lower", 2, TARGET, "Fréchet distance of the feature network's features to the target's."),
    "kid": Figure("KID", "lower", 5, TARGET, "Kernel distance of the same features; sound for few pictures too."),
    "inception_score": Figure(
        "IS", "higher", 3, TARGET, "Inception score: each picture surely of one class, all of them of many classes."
    ),
    "gms": Figure("GMS", "lower", 3, TARGET, "sqrt(FID / IS)."),
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
    "taken_for_target": Figure(
        "taken for the target",
        "higher",
        2,
        TARGET,
        "Share that a small classifier, of both domains' real pictures, takes for the target by colours and textures.",
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
    """A figure for people, with its spread where there is one."""
    if value is None:
        return "–"
    digits = FIGURES[name].digits
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def is_better(name: str, one: float, other: float) -> bool:
    """Whether one value is better than another.

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
