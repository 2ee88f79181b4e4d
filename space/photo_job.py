"""One photo from its upload to its translation, step by step."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image
from settings import MAX_WAITING
from shelf import Shelf
from uploads import (
    Refusal,
    decode,
    direction_of,
    limit_size,
    memory,
    pixels_of,
    read_header,
)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoStep:
    """How far a photo is.

    Attributes:
        done: pieces that are translated.
        total: pieces of the photo; 0 until it is open.
        ahead: requests that come before it.
        before: at the end, the photo as it was translated.
        results: at the end, the translation and, where asked for, that one translated back.
    """

    done: int = 0
    total: int = 0
    ahead: int = 0
    before: Image.Image | None = None
    results: tuple[Image.Image, ...] = ()


class UnreadablePhoto(Refusal):
    """The file itself is the reason: another photo is needed, not another setting."""


_open_now = set[object]()


def translate_photo(
    shelf: Shelf,
    source: Path | IO[bytes],
    direction: str,
    long_side: Any,
    model: str | None,
    *,
    cycle: bool = False,
) -> Iterator[PhotoStep]:
    """Translate a photo; yield while it waits and after each piece. Closing the generator frees all it holds.

    Args:
        shelf: the models.
        source: the photo's file.
        direction: `"a2b"`, `"b2a"`, or the domains' names, such as `"summer2winter"`.
        long_side: one of `LONG_SIDES`, or pixels.
        model: its name on the page.
        cycle: also translate back.

    Yields:
        [`PhotoStep`]: the last one has the results.

    Raises:
        UnreadablePhoto: the file is no picture, damaged, too small or too large.
        Refusal: the translation cannot be done.
    """
    checkpoint = shelf.find(model)
    direction = direction_of(checkpoint.domains, direction)
    side = pixels_of(long_side)
    try:
        header = read_header(source)
    except Refusal as refusal:
        raise UnreadablePhoto(str(refusal.message)) from None
    if len(_open_now) >= MAX_WAITING:
        raise Refusal("Too many photos are waiting. Try again in a minute.")
    here = object()
    _open_now.add(here)
    try:
        with memory.reserved(header.bytes_needed(side)) as wait:
            while not wait(0.5):
                yield PhotoStep(ahead=1)
            try:
                photo = decode(source, side)
            except Refusal as refusal:
                raise UnreadablePhoto(str(refusal.message)) from None
            photo = limit_size(photo, side, checkpoint.most_pixels)
            for step in shelf.steps(checkpoint, photo, direction, cycle=cycle):
                if step.results:
                    yield PhotoStep(step.done, step.total, before=photo, results=tuple(step.results))
                else:
                    yield PhotoStep(step.done, step.total, step.ahead)
    except GeneratorExit:
        logger.info("gave up a photo: its visitor left, or stopped it")
        raise
    finally:
        _open_now.discard(here)
