"""Signs that a CycleGAN goes wrong while its losses look well, measured on a few pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from cyclegan_hf.luma import LUMA_WEIGHTS


NOISE = 2 / 255
"""Standard deviation of the noise that a translation is disturbed with: no eye sees it."""
LOOKS = 2
"""Looks in a row that must show a sign: the first pictures of a run are all wrong in some way."""
LONG = 2000
"""Steps for which the discriminators' accuracy must stay out of balance: batches of one picture are noisy."""


def luma(images: torch.Tensor) -> torch.Tensor:
    """Brightness of pictures: `(B, C, H, W)` to `(B, 1, H, W)`, by ITU-R BT.601 where there are three channels."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(LUMA_WEIGHTS).to(images)[:, None, None]).sum(1, keepdim=True)


def change(images: torch.Tensor, translations: torch.Tensor) -> float:
    """Mean absolute difference of a picture and its translation, in [0, 1]; of the luma where channels differ."""
    images, translations = _alike(images, translations)
    return (images - translations).abs().mean().item()


def luma_agreement(images: torch.Tensor, translations: torch.Tensor) -> tuple[float, float]:
    """How far light stays light and dark dark.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        translations (likewise): Their translations; another size is brought to the pictures'.

    Returns:
        The mean correlation of the luma over whole pictures, and the share of tiles of 16×16 pixels, of those with
        contrast in both, whose correlation is below -0.5.
    """
    images, translations = _alike(images, translations)
    ours, theirs = (F.avg_pool2d(luma(pictures), 2) for pictures in (images, translations))
    whole = _correlation(ours.flatten(1), theirs.flatten(1)).mean().item()
    if min(ours.shape[-2:]) < 8:
        return whole, 0.0
    tiles = [F.unfold(pictures, 8, stride=8).transpose(1, 2).flatten(0, 1) for pictures in (ours, theirs)]  # (n, 64)
    contrast = torch.minimum(tiles[0].std(1), tiles[1].std(1)) > 10 / 255  # below, noise decides the sign
    inverted = _correlation(*tiles)[contrast] < -0.5
    return whole, inverted.float().mean().item() if len(inverted) else 0.0


def noise_gain(
    images: torch.Tensor, cycles: torch.Tensor, disturbed: torch.Tensor, noise: torch.Tensor
) -> tuple[float, float]:
    """How much worse a cycle gets when its translation is disturbed (Chu et al. 2017, section 4: hidden signals).

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        cycles (likewise): Their translations translated back.
        disturbed (likewise): The same with noise added to the translations.
        noise: That noise.

    Returns:
        The added error as a multiple of the noise's own mean size, and the disturbed error as one of the undisturbed.
    """
    before, after = ((images - pictures).abs().mean().item() for pictures in (cycles, disturbed))
    return (after - before) / noise.abs().mean().item(), after / max(before, 1e-6)


def regular_pattern(images: torch.Tensor, translations: torch.Tensor) -> tuple[float, float]:
    """The strongest pattern of period 2 or 4 pixels in what a translation adds (Odena et al. 2016: checkerboards).

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1], at least 24×24.
        translations (likewise): Their translations; another size is brought to the pictures'.

    Returns:
        Its amplitude in [0, 1], over that of the frequencies around it, and the ratio of its power to theirs; 0 and 0
        for pictures that are too small.
    """
    images, translations = _alike(images, translations)
    height, width = (length // 4 * 4 for length in images.shape[-2:])
    if min(height, width) < 24:
        return 0.0, 0.0
    added = (translations - images)[..., :height, :width]
    # A Hann window: without it, a picture's own edges leak along the axes into the very frequencies looked at.
    window = torch.hann_window(height, periodic=True)[:, None] * torch.hann_window(width, periodic=True)
    power = (torch.fft.fft2(added.cpu() * window).abs().square() / window.sum().square()).mean((0, 1))
    strongest = (0.0, 0.0)
    for row in range(0, height, height // 4):
        for column in range(0, width, width // 4):
            if row == column == 0:
                continue
            # Natural pictures have more power on the axes than beside them: the surroundings are looked at along
            # both. The window spreads a peak by one bin, so the nearest two are left out.
            away = [offset for offset in range(-5, 6) if abs(offset) > 2]
            down = torch.stack([power[(row + offset) % height, column] for offset in away]).median()
            across = torch.stack([power[row, (column + offset) % width] for offset in away]).median()
            around = max(down.item(), across.item(), 1e-12)
            peak = power[row, column].item()
            strongest = max(strongest, (max(0.0, peak - around) ** 0.5, peak / around))
    return strongest


class Sign(NamedTuple):
    """One thing that can go wrong.

    Attributes:
        shows: Whether the measures of a direction, and the accuracy of the discriminator that judges it, show it.
        message: What to say of it, with the measures' names in braces.
    """

    shows: Callable[[dict[str, float]], bool]
    message: str


# Thresholds stand between our bundled summer-winter weights, which work (8 test pictures each way at 128²:
# change 0.08 and 0.09, luma correlation 0.96, no tile inverted, noise gain 0.02, pattern 0.0016 at 2.5 times its
# surroundings), and networks that fail or were made to.
SIGNS = {
    # 8 of 255 levels is what rounding, blur and a slight tint make. Where a discriminator still tells such pictures
    # from real ones three times in four, little change is no success (the course report `human2anime`: 84 %).
    "identity": Sign(
        lambda m: m["change"] < 0.03 and m["accuracy"] > 0.75,
        "the translation hardly changes its input ({change:.3f} of 1) though the discriminator sees through it "
        "({accuracy:.0%}): identity collapse",
    ),
    "inversion": Sign(
        lambda m: m["luma_correlation"] < -0.2 or m["inverted_tiles"] > 0.25,
        "light turns dark (luma correlation {luma_correlation:.2f}, {inverted_tiles:.0%} of the tiles inverted)",
    ),
    # A way back that hands noise on unamplified, as one that changes nothing does, adds at most the noise's own size.
    "hidden_signal": Sign(
        lambda m: m["noise_gain"] > 2 and m["cycle_growth"] > 1.5,
        "noise of 2/255 makes the cycle {cycle_growth:.1f} times as wrong, {noise_gain:.1f} times the noise: the "
        "translation hides a signal for the way back",
    ),
    # One level of 255 is where a regular pattern becomes visible on a flat sky. Untrained generators: 211 and 281
    # times the surroundings (amplitude 0.03) with transposed convolutions, 2 and 6 times with resize convolutions.
    "pattern": Sign(
        lambda m: m["pattern"] > 1 / 255 and m["pattern_ratio"] > 8,
        "a regular pattern of 2 or 4 pixels ({pattern:.4f} of 1, {pattern_ratio:.0f} times its surroundings): "
        "checkerboard; `generator.upsample_type: resize_conv` has none",
    ),
    "discriminator_ahead": Sign(
        lambda m: m["steps_ahead"] >= LONG,
        "the discriminator has been right almost always for {steps_ahead:.0f} steps: it learns too fast",
    ),
    # Guessing is also how a finished game looks: a sign to look at the pictures, not proof of a fault.
    "discriminator_behind": Sign(
        lambda m: m["steps_behind"] >= LONG,
        "the discriminator has been guessing for {steps_behind:.0f} steps: it learns too slowly, or there is nothing "
        "left to tell apart",
    ),
}


class Signals:
    """Follows the signs of both directions over a run, and says each once.

    Attributes:
        measures (`dict[str, dict[str, float]]`): Of the last look, by direction.
        since (`dict[str, int]`): The step at which a sign was said, by `<sign>_<direction>`.
    """

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, float]] = {}
        self.since: dict[str, int] = {}
        self._shown: dict[str, int] = {}  # looks in a row that showed a sign
        self._streaks: dict[str, int] = {}  # steps in a row out of balance

    def look(self, step: int, steps: int, measures: dict[str, dict[str, float]]) -> list[str]:
        """Take in a look.

        Args:
            step: When.
            steps: Steps since the last look, over which `accuracy` was averaged.
            measures: By direction: `accuracy` of the discriminator there, and what `measure` gives where there were
                pictures to measure.

        Returns:
            What is to be said now.
        """
        said = []
        for direction, values in measures.items():
            for name, out in (("ahead", values["accuracy"] > 0.95), ("behind", abs(values["accuracy"] - 0.5) < 0.02)):
                key = f"{name}_{direction}"
                self._streaks[key] = self._streaks.get(key, 0) + steps if out else 0
                values[f"steps_{name}"] = float(self._streaks[key])
            for name, sign in SIGNS.items():
                key = f"{name}_{direction}"
                self._shown[key] = self._shown.get(key, 0) + 1 if sign.shows(values) else 0
                if self._shown[key] >= LOOKS and key not in self.since:
                    self.since[key] = step
                    said.append(f"{direction}: {sign.message.format(**values)}")
        self.measures = measures
        return said

    def present(self) -> dict[str, str]:
        """What the last look showed, said or not yet, by `<sign>_<direction>`."""
        return {
            f"{name}_{direction}": sign.message.format(**values)
            for direction, values in self.measures.items()
            for name, sign in SIGNS.items()
            if sign.shows(values)
        }

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"since": self.since, "shown": self._shown, "streaks": self._streaks, "measures": self.measures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.since, self._shown, self._streaks = dict(state["since"]), dict(state["shown"]), dict(state["streaks"])
        self.measures = {direction: dict(values) for direction, values in state["measures"].items()}


@torch.no_grad()
def measure(pipeline: Any, images: torch.Tensor, direction: str) -> dict[str, float]:
    """All that is measured on pictures, for one direction.

    Args:
        pipeline: The `CycleGANPipeline`.
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        direction: `"a2b"` or `"b2a"`.
    """
    back = "b2a" if direction == "a2b" else "a2b"
    count = len(images)
    pipeline.set_progress_bar_config(disable=True)
    with torch.compiler.set_stance("force_eager"):  # few pictures: not worth compiling for
        both = pipeline(images, direction=direction, return_cycle=True, batch_size=count, output_type="pt")
        translations, cycles = torch.stack(both.images), torch.stack(both.cycles)
        random = torch.Generator().manual_seed(0)
        noise = NOISE * torch.randn(translations.shape, generator=random)
        disturbed = (translations + noise).clamp(0, 1)
        again = pipeline(disturbed, direction=back, batch_size=count, output_type="pt").images
    correlation, inverted = luma_agreement(images, translations)
    gain, growth = noise_gain(images, cycles, torch.stack(again), noise)
    pattern, ratio = regular_pattern(images, translations)
    return {
        "change": change(images, translations),
        "luma_correlation": correlation,
        "inverted_tiles": inverted,
        "noise_gain": gain,
        "cycle_growth": growth,
        "pattern": pattern,
        "pattern_ratio": ratio,
    }


def _alike(images: torch.Tensor, translations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in the pictures' size, and in grey where only one has colours."""
    if images.shape[1] != translations.shape[1]:
        images, translations = luma(images), luma(translations)
    if images.shape[-2:] != translations.shape[-2:]:
        translations = F.interpolate(translations, images.shape[-2:], mode="bilinear", antialias=True)
    return images, translations


def _correlation(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Pearson's, row by row."""
    return F.cosine_similarity(ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True), dim=1)
