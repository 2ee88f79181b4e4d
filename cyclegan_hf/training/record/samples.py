"""Sample grids: a row a picture, with its translation, the way back, and what the other generator leaves of it."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cyclegan_hf.images.files import save_picture
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.training.data.rows import Picture, open_picture
from cyclegan_hf.training.data.sources import Sources


COLUMNS = ("input", "translation", "cycle", "identity")
_MARGIN, _HEADER, _SMALLEST = 4, 18, 96

logger = logging.getLogger(__name__)


def choose_samples(files: Sequence[Picture], count: int) -> list[Picture]:
    """Return the first `count` images that can be read.

    Raises:
        ValueError: If none can be.
    """
    chosen: list[Picture] = []
    fault = ""
    for picture in files:
        if len(chosen) == count:
            break
        try:
            open_picture(picture, "auto")  # whatever its values
        except ValueError as error:
            fault = str(error)
            logger.warning("Not shown in the samples: %s", fault)
        else:
            chosen.append(picture)
    if not chosen:
        raise ValueError(f"None of {len(files)} pictures can be read, the last: {fault}")
    return chosen


def sample_pictures(sources: Sources, count: int) -> dict[str, list[Picture]]:
    """Return the images in the grids of `"a2b"` and `"b2a"`: test, otherwise held-out, otherwise training images."""
    chosen = {}
    for key, direction in (("a", "a2b"), ("b", "b2a")):
        files = sources.test[key] or sources.validation[key] or sources.train[key]
        chosen[direction] = choose_samples(files, count)
    return chosen


def sample_grid(
    pipeline: CycleGANPipeline, pictures: list[Picture], direction: str, cell: int, identity: bool
) -> Image.Image:
    """Return an image with the columns input | translation | cycle | identity and a row for each of `pictures`.

    Args:
        pipeline: Translates, through the same walk as everybody's pictures.
        pictures: The files.
        direction: `"a2b"` or `"b2a"`; the identity column shows the pictures through the other direction's generator,
            which should leave them as they are.
        cell: Longest side of a picture in the grid, in pixels; larger ones are reduced to it first, as they are for
            training: a camera's pictures would take minutes and all the memory. Below 49, pixels are drawn
            as squares.
        identity: Draw the identity column (impossible where the domains' channels differ).
    """
    pipeline.set_progress_bar_config(disable=True)
    processor = pipeline.image_processor_a if direction == "a2b" else pipeline.image_processor_b
    inputs = [open_picture(picture, processor.input_range) for picture in pictures]
    for image in inputs:
        image.thumbnail((cell, cell), Image.Resampling.BICUBIC)
    both = pipeline(inputs, direction=direction, return_cycle=True)
    columns = [inputs, both.images, both.cycles]
    if identity:
        columns.append(pipeline(inputs, direction="b2a" if direction == "a2b" else "a2b").images)
    zoom = max(1, _SMALLEST // cell)  # digits of 28² would be hard to see, and narrower than their headings
    columns = [[_enlarged(image, zoom) for image in column] for column in columns]
    cell *= zoom
    tops = [_HEADER]
    for row in zip(*columns, strict=True):
        tops.append(tops[-1] + max(image.height for image in row) + _MARGIN)
    sheet = Image.new("RGB", (len(columns) * (cell + _MARGIN) - _MARGIN, tops[-1] - _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for x, (title, column) in enumerate(zip(COLUMNS, columns, strict=False)):
        draw.text((x * (cell + _MARGIN) + 4, 3), title, fill="black")
        for top, image in zip(tops, column, strict=False):
            sheet.paste(image, (x * (cell + _MARGIN), top))
    return sheet


def _enlarged(image: Image.Image, zoom: int) -> Image.Image:
    return image.convert("RGB").resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def save_grids(
    pipeline: CycleGANPipeline, pictures: dict[str, list[Picture]], folder: Path, step: int, cell: int, identity: bool
) -> dict[str, np.ndarray]:
    """Draw and save the grids of both directions as `<folder>/<step>-<direction>.png`.

    Args:
        pipeline: Translates.
        pictures: The files of each direction, `"a2b"` and `"b2a"`.
        folder: Where to.
        step: The step, for the file names.
        cell: Longest side of a picture in the grid, in pixels.
        identity: Draw the identity column.

    Returns:
        The grids as uint8 arrays, by direction.
    """
    grids = {}
    for direction, files in pictures.items():
        grid = sample_grid(pipeline, files, direction, cell, identity)
        save_picture(grid, folder / f"{step:07d}-{direction}.png")
        grids[direction] = np.asarray(grid)
    return grids


def save_card_grids(pipeline: CycleGANPipeline, pictures: dict[str, list[Path]], folder: Path, cell: int) -> None:
    """Draw the grids that a card shows, `grid-a2b.jpg` and `grid-b2a.jpg`: without the identity column."""
    with torch.compiler.set_stance("force_eager"):  # few pictures of many sizes: not worth compiling for
        for direction, files in pictures.items():
            save_picture(
                sample_grid(pipeline, files, direction, cell, identity=False), folder / f"grid-{direction}.jpg"
            )
