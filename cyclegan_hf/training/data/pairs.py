"""Aligned pairs: the same scene in both domains, such as a landscape rendered in summer and in winter."""

from pathlib import Path

import numpy as np
import torch

from cyclegan_hf.images.files import images_in
from cyclegan_hf.images.io import open_image
from cyclegan_hf.training.data.transforms import resized


GAMMA, BALANCE, CONTRAST, OFFSET = 0.4, 0.03, 0.25, 0.08
SATURATION = (0.4, 1.0)
"""Rendered colours are stronger than photographs': they are only weakened."""
ZOOM = 1.7
"""Largest size that a picture is resized to, over the size of the crop."""


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Find the pictures that both domains have.

    Args:
        folder: Holds `a/` and `b/`, with files of the same names.

    Returns:
        The two files of each pair, sorted by name.

    Raises:
        ValueError: If there are none, or a file has no partner.
    """
    if not all((folder / domain).is_dir() for domain in ("a", "b")):
        raise ValueError(f"`data.pairs` {folder} must hold the folders `a` and `b` with pictures of the same names.")
    a, b = (_by_name(folder / domain) for domain in ("a", "b"))
    if alone := sorted(a.keys() ^ b.keys()):
        raise ValueError(f"`data.pairs` {folder}: {len(alone)} pictures lack a partner, such as {alone[0]}.")
    return [(a[name], b[name]) for name in sorted(a)]


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their path in it, without the extension."""
    found: dict[str, Path] = {}
    for file in images_in(folder):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"`data.pairs` {folder}: {found[name].name} and {file.name} have the same name.")
        found[name] = file
    return found


def draw_pair(pair: tuple[Path, Path], crop: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Open a pair and change both pictures alike: size, place of the crop, mirroring, light and colours.

    Args:
        pair: Its files.
        crop: Height and width of the result, in pixels.
        rng: Random numbers.

    Returns:
        Two batches of one picture in [-1, 1], of shape `(1, 3, crop, crop)`.
    """
    size = int(rng.integers(crop, round(crop * ZOOM), endpoint=True))
    corner, mirrored = rng.random(2), rng.random() < 0.5
    gamma, balance = np.exp(rng.uniform(-GAMMA, GAMMA)), np.exp(rng.normal(0, BALANCE, 3))
    saturation, contrast = rng.uniform(*SATURATION), 1 + rng.uniform(-CONTRAST, CONTRAST)
    offset = rng.uniform(-OFFSET, OFFSET)
    drawn = []
    for file in pair:
        image = resized(open_image(file).convert("RGB"), size, "short_side")
        left, top = (int(share * (side - crop + 1)) for share, side in zip(corner, image.size, strict=True))
        values = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32) / 255
        values = values**gamma * balance
        grey = values.mean(axis=-1, keepdims=True)
        values = (grey + (values - grey) * saturation - 0.5) * contrast + 0.5 + offset
        values = values[:, ::-1] if mirrored else values
        drawn.append(torch.from_numpy(values.clip(0, 1) * 2 - 1).permute(2, 0, 1)[None].float())
    return drawn


class Pairs:
    """Draws pairs; which one, and how it is changed, follows from a position: a resumed run draws what it would have.

    Args:
        files: The pairs' files.
        crop: Height and width of the pictures.
        seed: The run's.
        rank: This process's number.
    """

    def __init__(self, files: list[tuple[Path, Path]], crop: int, seed: int, rank: int) -> None:
        self.files, self.crop, self.seed, self.rank = files, crop, seed, rank

    def draw(self, position: int) -> dict[str, torch.Tensor]:
        """Return `pair_a` and `pair_b`, each `(1, 3, crop, crop)` in [-1, 1].

        Args:
            position: Pictures that the run has seen.
        """
        rng = np.random.default_rng((self.seed, self.rank, position))
        a, b = draw_pair(self.files[rng.integers(len(self.files))], self.crop, rng)
        return {"pair_a": a, "pair_b": b}
