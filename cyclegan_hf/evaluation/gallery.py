"""The pictures of a report: saved as they come, and thinned when their figures are known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from cyclegan_hf.evaluation.results import Scores
from cyclegan_hf.images.files import save_picture
from cyclegan_hf.images.formats import open_header
from cyclegan_hf.metrics.figures import FIGURES, is_better


COLUMNS = ("input", "translation", "cycle")
EXTREMES = 3
"""How many of the best and of the worst by each figure are shown."""
_SMALL = 96  # pixels up to which pictures are saved without loss, and drawn as squares
_SHEET_ROWS, _SHEET_CELL, _MARGIN, _HEADER = 6, 192, 6, 24


@dataclass
class Shown:
    """A picture of the gallery.

    Attributes:
        index: Its number among the evaluated ones.
        name: Its file's name.
        files: What is shown, by column, as paths from the report's folder.
        figures: Its own figures.
    """

    index: int
    name: str
    files: dict[str, str]
    figures: dict[str, float] = field(default_factory=dict)


class Gallery:
    """Saves pictures under a report's folder.

    Args:
        folder: The report's folder.
        size: Most pictures of each direction that stay, besides the extremes by each figure.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.shown: dict[str, list[Shown]] = {}

    def keep(self, way: str, index: int, path: Path, pictures: dict[str, torch.Tensor]) -> None:
        """Save a picture and what came of it: the evaluator's `Keep`."""
        if self.size == 0:
            return
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:60]
        files = {}
        for column, picture in pictures.items():
            suffix = ".png" if max(picture.shape[-2:]) <= _SMALL else ".jpg"
            files[column] = f"pictures/{way}/{index:05d}-{stem}-{column}{suffix}"
            save_picture(_image(picture), self.folder / files[column])
        self.shown.setdefault(way, []).append(Shown(index, path.name, files))

    def thin(self, scores: dict[str, Scores]) -> None:
        """Leave an even selection and the extremes by each figure; the other files go."""
        for way, shown in self.shown.items():
            figures = {name: values for name, values in scores[way].pictures.items() if name in FIGURES}
            wanted = set(np.linspace(0, len(shown) - 1, min(self.size, len(shown))).astype(int).tolist())
            for name, values in figures.items():
                if FIGURES[name].better != "neither":
                    wanted |= set(best_first(name, values.tolist())[:EXTREMES])
                    wanted |= set(best_first(name, values.tolist())[-EXTREMES:])
            for index, one in enumerate(shown):
                one.figures = {name: values[index].item() for name, values in figures.items()}
                if index not in wanted:
                    for file in one.files.values():
                        (self.folder / file).unlink()
            self.shown[way] = [one for index, one in enumerate(shown) if index in wanted]

    def contact_sheet(self, titles: dict[str, str]) -> Image.Image | None:
        """Draw some images of each direction with their translations and the way back; `None` without any.

        Args:
            titles: Of the directions.
        """
        blocks = [self._sheet_of(way, title) for way, title in titles.items() if self.shown.get(way)]
        if not blocks:
            return None
        sheet = Image.new(
            "RGB",
            (max(block.width for block in blocks), sum(block.height + _MARGIN for block in blocks) - _MARGIN),
            "white",
        )
        top = 0
        for block in blocks:
            sheet.paste(block, (0, top))
            top += block.height + _MARGIN
        return sheet

    def _sheet_of(self, way: str, title: str) -> Image.Image:
        shown = self.shown[way]
        rows = [shown[int(place)] for place in np.linspace(0, len(shown) - 1, min(_SHEET_ROWS // 2 * 2, len(shown)))]
        columns = [column for column in COLUMNS if column in rows[0].files]
        pairs = 2 if len(rows) > 1 else 1  # two pictures a line
        width = pairs * len(columns) * (_SHEET_CELL + _MARGIN) + (pairs - 1) * 2 * _MARGIN
        lines = [rows[start : start + pairs] for start in range(0, len(rows), pairs)]
        pictures = [[[self._cell(one.files[column]) for column in columns] for one in line] for line in lines]
        heights = [max(cell.height for one in line for cell in one) for line in pictures]
        sheet = Image.new("RGB", (width, _HEADER + sum(height + _MARGIN for height in heights)), "white")
        ImageDraw.Draw(sheet).text(
            (4, 4), f"{title.replace('→', 'to')}: {', '.join(columns)}", fill="#333333", font_size=14
        )
        top = _HEADER
        for line, height in zip(pictures, heights, strict=True):
            left = 0
            for one in line:
                for cell in one:
                    sheet.paste(cell, (left, top))
                    left += _SHEET_CELL + _MARGIN
                left += 2 * _MARGIN
            top += height + _MARGIN
        return sheet

    def _cell(self, file: str) -> Image.Image:
        with open_header(self.folder / file) as opened:
            image = opened.convert("RGB")
        scale = _SHEET_CELL / max(image.size)
        method = Image.Resampling.NEAREST if max(image.size) <= _SMALL else Image.Resampling.LANCZOS
        return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), method)


def best_first(name: str, values: list[float]) -> list[int]:
    """Return the positions of a metric's values in a list, best first; skip missing values.

    Raises:
        ValueError: If the figure does not say how good something is.
    """
    known = [index for index, value in enumerate(values) if value == value]
    falling = is_better(name, 1.0, 0.0)
    return sorted(known, key=lambda index: -values[index] if falling else values[index])


def as_data(shown: list[Shown]) -> list[dict[str, Any]]:
    """Return images as the page embeds them."""
    return [
        {
            "name": one.name,
            "files": one.files,
            "figures": {name: round(value, 6) for name, value in one.figures.items() if value == value},
        }
        for one in shown
    ]


def _image(picture: torch.Tensor) -> Image.Image:
    """Convert `(C, H, W)` in [0, 1] to 8 bits."""
    pixels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
