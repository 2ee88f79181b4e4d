"""A large photo goes through a network in pieces, without seams: each is cut with as much margin as a pixel sees."""

import math

import numpy as np
from PIL import Image


ALIGNMENT = 32  # pixels: a multiple of what any network here halves

Box = tuple[int, int, int, int]  # left, top, right, bottom


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
        self.boxes: list[Box] = [
            (left, top, min(left + core, width), min(top + core, height))
            for top in range(0, height, core)
            for left in range(0, width, core)
        ]

    def crop(self, box: Box) -> Image.Image:
        """Return a piece with its margins."""
        return self._photo.crop(self._outer(box))

    def paste(self, box: Box, results: list[Image.Image]) -> None:
        """Put the results of a piece, which have its margins, at their place."""
        outer_left, outer_top, _, _ = self._outer(box)
        left, top, right, bottom = box
        for index, result in enumerate(results):
            if len(self._whole) == index:
                self._whole.append(Image.new(result.mode, self._photo.size))
            inner = result.crop((left - outer_left, top - outer_top, right - outer_left, bottom - outer_top))
            self._whole[index].paste(inner, (left, top))

    def results(self) -> list[Image.Image]:
        """Return the whole results, of the photo's size."""
        if self._frame == (0, 0, *self._photo.size):
            return self._whole
        return [picture.crop(self._frame) for picture in self._whole]

    def _outer(self, box: Box) -> Box:
        left, top, right, bottom = box
        return (
            max(0, left - self.margin),
            max(0, top - self.margin),
            min(self._photo.width, right + self.margin),
            min(self._photo.height, bottom + self.margin),
        )


class WholePicture:
    """A photo that goes through in one piece, with the methods of `Pieces`."""

    def __init__(self, photo: Image.Image) -> None:
        self.boxes: list[Box] = [(0, 0, *photo.size)]
        self._photo = photo
        self._results: list[Image.Image] = []

    def crop(self, box: Box) -> Image.Image:
        """Return the photo."""
        return self._photo

    def paste(self, box: Box, results: list[Image.Image]) -> None:
        """Keep the results."""
        self._results = results

    def results(self) -> list[Image.Image]:
        """Return the results."""
        return self._results


def padded(photo: Image.Image, multiple: int) -> Image.Image:
    """Reflects a photo's edges until its sides are multiples."""
    pads = [(gap // 2, gap - gap // 2) for gap in (-photo.height % multiple, -photo.width % multiple)]
    if not any(map(any, pads)):
        return photo
    values = np.asarray(photo)
    return Image.fromarray(np.pad(values, pads + [(0, 0)] * (values.ndim - 2), mode="reflect"))
