"""Tiles of a large image for networks that see a limited way: without seams, since each has enough margin."""

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle of an image, in pixels; `bottom` and `right` are outside."""

    top: int
    left: int
    bottom: int
    right: int


class Tile(NamedTuple):
    """A part of an image.

    Attributes:
        inner: The tile itself. The inner boxes of all tiles cover the image once.
        outer: The tile with its margins, as far as the image goes: what passes the network.
    """

    inner: Box
    outer: Box

    @property
    def kept(self) -> Box:
        """The place of the inner box in the network's output."""
        top, left = self.inner.top - self.outer.top, self.inner.left - self.outer.left
        return Box(top, left, top + self.inner.bottom - self.inner.top, left + self.inner.right - self.inner.left)


def margin_tiles(height: int, width: int, core: int, margin: int) -> list[Tile]:
    """Return the tiles of an image, row by row.

    Args:
        height: Height of the image in pixels.
        width: Its width.
        core: Largest side of a tile without its margins.
        margin: Pixels around a tile, at least how far an output pixel sees.
    """
    inner = [
        Box(top, left, min(top + core, height), min(left + core, width))
        for top in range(0, height, core)
        for left in range(0, width, core)
    ]
    return [
        Tile(
            box,
            Box(
                max(0, box.top - margin),
                max(0, box.left - margin),
                min(height, box.bottom + margin),
                min(width, box.right + margin),
            ),
        )
        for box in inner
    ]
