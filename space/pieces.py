"""A large photo goes through a network in pieces, without seams: each is cut with as much margin as a pixel sees."""

import math

import numpy as np
from PIL import Image

from cyclegan_hf.pipelines.tiles import Box, Tile, margin_tiles


ALIGNMENT = 32  # pixels: a multiple of what any network here halves


class Pieces:
    """A photo's pieces, and what becomes of them.

    Args:
        photo: the photo.
        reach: how far a pixel of a result sees, in pixels.
        multiple: the sides that the network takes are multiples of it. The whole photo is padded to one, so that no
            piece is padded by itself, at another place.
        most: pixels of a piece with its margins.
    """

    def __init__(self, photo: Image.Image, reach: int, *, multiple: int, most: int) -> None:
        self.margin = math.ceil(reach / ALIGNMENT) * ALIGNMENT
        core = max(ALIGNMENT, (math.isqrt(most) - 2 * self.margin) // ALIGNMENT * ALIGNMENT)
        left, top = (-photo.width % multiple // 2, -photo.height % multiple // 2)  # as the image processor does
        self._frame = (left, top, left + photo.width, top + photo.height)
        self._photo = padded(photo, multiple)
        self._whole: list[Image.Image] = []
        width, height = self._photo.size
        self.tiles = margin_tiles(height, width, core, self.margin)

    def crop(self, tile: Tile) -> Image.Image:
        """Return a piece with its margins."""
        return self._photo.crop(_corners(tile.outer))

    def paste(self, tile: Tile, results: list[Image.Image]) -> None:
        """Put the results of a piece, which have its margins, at their place."""
        for index, result in enumerate(results):
            if len(self._whole) == index:
                self._whole.append(Image.new(result.mode, self._photo.size))
            self._whole[index].paste(result.crop(_corners(tile.kept)), (tile.inner.left, tile.inner.top))

    def results(self) -> list[Image.Image]:
        """Return the whole results, of the photo's size."""
        if self._frame == (0, 0, *self._photo.size):
            return self._whole
        return [picture.crop(self._frame) for picture in self._whole]


class WholePicture:
    """A photo that goes through in one piece, with the methods of `Pieces`."""

    def __init__(self, photo: Image.Image) -> None:
        self.tiles = margin_tiles(photo.height, photo.width, max(photo.size), 0)
        self._photo = photo
        self._results: list[Image.Image] = []

    def crop(self, tile: Tile) -> Image.Image:
        """Return the photo."""
        return self._photo

    def paste(self, tile: Tile, results: list[Image.Image]) -> None:
        """Keep the results."""
        self._results = results

    def results(self) -> list[Image.Image]:
        """Return the results."""
        return self._results


def _corners(box: Box) -> tuple[int, int, int, int]:
    """Return a box as Pillow has it."""
    return box.left, box.top, box.right, box.bottom


def padded(photo: Image.Image, multiple: int) -> Image.Image:
    """Reflects a photo's edges until its sides are multiples."""
    pads = [(gap // 2, gap - gap // 2) for gap in (-photo.height % multiple, -photo.width % multiple)]
    if not any(map(any, pads)):
        return photo
    values = np.asarray(photo)
    return Image.fromarray(np.pad(values, pads + [(0, 0)] * (values.ndim - 2), mode="reflect"))
