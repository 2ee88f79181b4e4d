"""A large photo goes through a network in pieces, without seams: each is cut with as much margin as a pixel sees."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image


ALIGNMENT = 32  # pixels: a multiple of what any network here halves


def in_pieces(
    photo: Image.Image, run: Callable[[Image.Image], list[Image.Image]], reach: int, *, multiple: int, most: int
) -> list[Image.Image]:
    """Translates a photo piece by piece.

    Args:
        photo: the photo.
        run: translates a picture to others of its size.
        reach: how far a pixel of them sees, in pixels.
        multiple: the sides that the network takes are multiples of it. The whole photo is padded to one, so that no
            piece is padded by itself, at another place.
        most: pixels of a piece with its margins.

    Returns:
        `list`: what `run` gives for the whole photo.
    """
    margin = math.ceil(reach / ALIGNMENT) * ALIGNMENT
    core = max(ALIGNMENT, (math.isqrt(most) - 2 * margin) // ALIGNMENT * ALIGNMENT)
    left_pad, top_pad = (-photo.width % multiple // 2, -photo.height % multiple // 2)  # as the image processor does
    frame = (left_pad, top_pad, left_pad + photo.width, top_pad + photo.height)
    photo = padded(photo, multiple)
    whole: list[Image.Image] = []
    for box in boxes(*photo.size, core):
        left, top, right, bottom = box
        outer = (
            max(0, left - margin),
            max(0, top - margin),
            min(photo.width, right + margin),
            min(photo.height, bottom + margin),
        )
        for index, result in enumerate(run(photo.crop(outer))):
            if len(whole) == index:
                whole.append(Image.new(result.mode, photo.size))
            inner = result.crop((left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))
            whole[index].paste(inner, (left, top))
    return [picture.crop(frame) for picture in whole]


def padded(photo: Image.Image, multiple: int) -> Image.Image:
    """Reflects a photo's edges until its sides are multiples."""
    pads = [(gap // 2, gap - gap // 2) for gap in (-photo.height % multiple, -photo.width % multiple)]
    values = np.asarray(photo)
    return Image.fromarray(np.pad(values, pads + [(0, 0)] * (values.ndim - 2), mode="reflect"))


def boxes(width: int, height: int, core: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, height, core):
        for left in range(0, width, core):
            yield left, top, min(left + core, width), min(top + core, height)
