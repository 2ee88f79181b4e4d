"""Faults that a translation can have while its losses look well, measured on a few pictures."""

import torch
from torch.nn import functional as F

from cyclegan_hf.images.luma import LUMA_WEIGHTS


NOISE = 2 / 255
"""Standard deviation of the noise that a translation is disturbed with: no eye sees it."""


def luma(images: torch.Tensor) -> torch.Tensor:
    """Return the luma of images: `(B, C, H, W)` to `(B, 1, H, W)`, by ITU-R BT.601 for three channels."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(LUMA_WEIGHTS).to(images)[:, None, None]).sum(1, keepdim=True)


def change(images: torch.Tensor, translations: torch.Tensor) -> float:
    """Return the mean absolute difference of an image and its translation; of the luma if channels differ."""
    images, translations = alike(images, translations)
    return (images - translations).abs().mean().item()


def luma_agreement(images: torch.Tensor, translations: torch.Tensor) -> tuple[float, float]:
    """Measure whether light stays light and dark stays dark.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1].
        translations (likewise): Their translations; another size is brought to the pictures'.

    Returns:
        The mean correlation of the luma over whole pictures, and the share of tiles of 16×16 pixels, of those with
        contrast in both, whose correlation is below -0.5.
    """
    images, translations = alike(images, translations)
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
    """Measure how much noise in the translation worsens the cycle (Chu et al. 2017, section 4: hidden signals).

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
    """Find the strongest added pattern of period 2 or 4 pixels (Odena et al. 2016: checkerboards).

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [0, 1], at least 24×24.
        translations (likewise): Their translations; another size is brought to the pictures'.

    Returns:
        Its amplitude in [0, 1], over that of the frequencies around it, and the ratio of its power to theirs; 0 and 0
        for pictures that are too small.
    """
    images, translations = alike(images, translations)
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


def alike(images: torch.Tensor, translations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring both to the images' size, and to grey if only one has colours."""
    images, translations = same_channels(images, translations)
    if images.shape[-2:] != translations.shape[-2:]:
        translations = F.interpolate(translations, images.shape[-2:], mode="bilinear", antialias=True)
    return images, translations


def same_channels(images: torch.Tensor, translations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring both to grey if only one has colours; their sizes stay."""
    if images.shape[1] != translations.shape[1]:
        return luma(images), luma(translations)
    return images, translations


def _correlation(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation, row by row."""
    return F.cosine_similarity(ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True), dim=1)
