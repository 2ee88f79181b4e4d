"""Colour faults of a translation: tinted whites, tinted greys and coloured halos along edges.

Colours are in CIE Lab (D65): lightness in [0, 100], and chroma, the distance from grey. A real image has no
translation to compare with, so each measure has a level: what real images of the target domain call for.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from cyclegan_hf.metrics.artifacts import alike
from cyclegan_hf.metrics.structure import sobel_magnitude


COLORLESS, TINTED = 8.0, 15.0
"""Chroma below which a pixel has no colour, and above which it has one that everybody sees."""
_STRONG_EDGE = 1.2  # of the Sobel magnitude of lightness in [0, 1]
_REACH = 5  # pixels across an edge that a halo is looked for in
_SURROUNDINGS = 17  # pixels a side
_FEWEST = 1e-3  # share of the pixels below which a measure says nothing


class _Band(NamedTuple):
    """A range of lightness: of a pixel of the input, and of the translation where the pixel still belongs to it."""

    before: tuple[float, float]
    after: tuple[float, float]


# Snow that has become grass is dark, rock that has become snow is light: neither is tinted.
_BANDS = {"tinted_whites": _Band((85, 101), (75, 101)), "tinted_greys": _Band((30, 80), (30, 80))}


def tints(images: torch.Tensor, translations: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """Measure colour faults of translations, and the level of each.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Images in [0, 1].
        translations (likewise): Their translations; another size is brought to the images'.
        real (`torch.Tensor` of shape `(n, channels, any, any)`): Real images of the target.

    Returns:
        For `tinted_whites` and `tinted_greys` the share of the pixels that were colourless before, in [0, 1], that
        kept their lightness and are coloured afterwards; as `<name>_chroma` the mean chroma of those that kept their
        lightness; as `<name>_level` the share that has to be coloured for the translations to hold as few colourless
        pixels as real images. `halos` is the mean colour difference ΔE*ab (without lightness) between pixels along
        strong edges and their surroundings, `halos_level` the larger one of the inputs and of real images. A measure
        without enough pixels is left out. Empty for images without colours.
    """
    images, translations = alike(images, translations)
    if images.shape[1] != 3 or real.shape[1] != 3:
        return {}
    before, after, target = (_lab(one) for one in (images, translations, real))
    found: dict[str, float] = {}
    for name, band in _BANDS.items():
        was = _within(before, band.before) & (_chroma(before) < COLORLESS)
        kept = was & _within(after, band.after)
        if was.float().mean() < _FEWEST or not kept.any():
            continue
        chroma = _chroma(after)
        needed = 0.0  # where real images have no pixels of this lightness, nothing calls for coloured ones
        if _within(target, band.before).float().mean() >= _FEWEST:
            needed = 1 - _colorless_share(target, band.before) / max(_colorless_share(before, band.before), _FEWEST)
        found |= {
            name: ((chroma > TINTED) & kept).sum().item() / was.sum().item(),
            f"{name}_chroma": chroma[kept].mean().item(),
            f"{name}_level": max(0.0, needed),
        }
    own, ours, theirs = (_halos(one) for one in (before, after, target))
    if own is not None and ours is not None and theirs is not None:
        found |= {"halos": ours, "halos_level": max(own, theirs)}
    return found


def _lab(images: torch.Tensor) -> torch.Tensor:
    from kornia.color import rgb_to_lab

    return rgb_to_lab(images.float())


def _chroma(lab: torch.Tensor) -> torch.Tensor:
    return lab[:, 1:].norm(dim=1)


def _within(lab: torch.Tensor, band: tuple[float, float]) -> torch.Tensor:
    return (lab[:, 0] > band[0]) & (lab[:, 0] < band[1])


def _colorless_share(lab: torch.Tensor, band: tuple[float, float]) -> float:
    """Return the share of colourless pixels among those of a lightness."""
    there = _within(lab, band)
    return (there & (_chroma(lab) < COLORLESS)).sum().item() / max(1, int(there.sum().item()))


def _halos(lab: torch.Tensor) -> float | None:
    """Return the mean colour difference to the surroundings along strong edges; `None` if there are hardly any."""
    if min(lab.shape[-2:]) <= _SURROUNDINGS:
        return None
    edges = (sobel_magnitude(lab[:, :1] / 100) > _STRONG_EDGE).float()
    near = F.max_pool2d(edges, _REACH, 1, _REACH // 2)[:, 0] > 0
    if near.float().mean() < _FEWEST:
        return None
    margin = _SURROUNDINGS // 2
    around = F.avg_pool2d(F.pad(lab[:, 1:], (margin,) * 4, mode="replicate"), _SURROUNDINGS, 1)
    return (lab[:, 1:] - around).norm(dim=1)[near].mean().item()
