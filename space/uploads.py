"""Visitors' pictures: taken in with care, and given back as files."""

import html
import logging
import math
import re
import statistics
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gradio as gr
from PIL import Image, ImageChops, ImageOps, ImageStat
from settings import (
    BUDGET_BYTES,
    FORMATS,
    LONG_SIDES,
    MAX_FILE_MB,
    MAX_LONG_SIDE,
    MAX_PIXELS,
    MIN_SIDE,
    PREVIEW_SIDE,
    SHOWN_FORMATS,
    UPLOADS,
)
from turns import MemoryBudget, waiting

from cyclegan_hf.images.io import open_image


logger = logging.getLogger(__name__)

memory = MemoryBudget(BUDGET_BYTES)
DECODED_BYTES = 9  # for each pixel of a file: decoding holds up to three copies
RESULT_BYTES = 12  # for each pixel of a result: the photo, its translation, the way back and what encoding needs


class Refusal(gr.Error):
    """What a visitor is told when something cannot be done: no file names, no exceptions, nothing in the log."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_exception=False)


def told(refusal: Refusal) -> str:
    """Show a refusal beside what the page shows already; raised, it would cover all of that."""
    gr.Warning(escaped(refusal.message), title="Not translated")
    return str(refusal.message)


def uploaded_file(upload: dict[str, Any] | None, missing: str = "Choose a photo first.") -> Path:
    """Return the path of an upload, `preprocess=False`'s description of a file.

    Gradio 6.31 checks the path of a file only where its description has `meta`: a handmade call could name any file.

    Raises:
        Refusal: there is none, or it is not in the folder of uploads.
    """
    path = upload.get("path") if isinstance(upload, dict) else None
    if not isinstance(path, str) or not Path(path).resolve().is_relative_to(UPLOADS):
        raise Refusal(missing)
    if not Path(path).is_file():
        raise Refusal("This file has been deleted in the meantime. Choose it again.")
    return Path(path)


@dataclass(frozen=True)
class Header:
    """What a picture's file says of it before it is decoded.

    Attributes:
        width, height: pixels, before the EXIF orientation is applied.
        format: Pillow's name of it.
    """

    width: int
    height: int
    format: str

    def bytes_needed(self, side: int | None) -> int:
        """Bytes that a translation of this picture holds; `side` is the result's longest side."""
        scale = 1.0 if side is None else min(1.0, side / max(self.width, self.height))
        reduction = 1
        if self.format == "JPEG" and side is not None:  # see `decode`
            fits = min(self.width, self.height) // (2 * side)
            reduction = next(each for each in (8, 4, 2, 1) if each <= max(1, fits))
        pixels = self.width * self.height
        return round(pixels * (DECODED_BYTES / reduction**2 + RESULT_BYTES * scale**2))


def read_header(source: Path | IO[bytes]) -> Header:
    """Read an image's size without decoding it.

    Raises:
        Refusal: it is no picture, too small or too large.
    """
    if isinstance(source, Path) and source.stat().st_size > MAX_FILE_MB * 1_000_000:
        raise Refusal(f"This file is too large. A photo may have {MAX_FILE_MB} MB.")
    try:
        with Image.open(source, formats=FORMATS) as image:  # decodes nothing yet
            header = Header(*image.size, str(image.format))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal(
            f"This picture is too large to open here. {MAX_PIXELS // 10**6} megapixels are the most."
        ) from None
    except Exception as error:  # damaged headers raise anything
        logger.info("refused an upload: %s", type(error).__name__)
        raise Refusal(f"{unopened(source)} Try a JPEG, PNG, WebP or AVIF file.") from None
    if min(header.width, header.height) < MIN_SIDE:
        raise Refusal(
            f"This picture is too small: {header.width} × {header.height} pixels. {MIN_SIDE} × {MIN_SIDE} are the "
            "least."
        )
    return header


def decode(source: Path | IO[bytes], side: int | None = None) -> Image.Image:
    """Open an image, upright, as `RGB` or `L`; of an animation the first frame. Reserve its memory before.

    Args:
        source: a file whose header was read.
        side: the result's longest side: JPEG files are decoded at a half, a quarter or an eighth of their size where
            that is at least twice as large, as Pillow's thumbnails are.

    Raises:
        Refusal: the file is damaged.
    """
    if not isinstance(source, Path):
        source.seek(0)
    try:
        with Image.open(source, formats=FORMATS) as image:
            if side is not None:
                image.draft(None, (2 * side, 2 * side))
            return open_image(image)
    except Exception as error:
        logger.info("refused an upload: %s", type(error).__name__)
        raise Refusal("This picture is damaged, or only a part of it arrived. Try another file.") from None


def shown_copy(path: Path) -> Path | None:
    """Return a PNG copy of a photo whose format browsers do not show, such as TIFF; `None` for the others."""
    header = read_header(path)
    if header.format in SHOWN_FORMATS:
        return None
    with memory.reserved(header.bytes_needed(None)) as wait:
        for _ in waiting(wait):
            pass
        copy = new_folder() / f"{plain_name(path.name)}.png"
        decode(path).save(copy, compress_level=1)
    return copy


def unopened(source: Path | IO[bytes]) -> str:
    """Why a file is no picture here: two kinds are pictures elsewhere."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(1000)
    else:
        source.seek(0)
        head = source.read(1000)
    if re.match(rb".{4}ftyp(hei|hev|mif|msf)", head, re.DOTALL):
        return "HEIC photos cannot be opened here."
    if re.match(rb"\s*<(\?xml|!--|!DOCTYPE svg|svg)", head, re.IGNORECASE) and b"<svg" in head:
        return "A drawing (SVG) has no pixels that could be translated."
    return "This file cannot be opened as a picture."


def pixels_of(long_side: Any) -> int | None:
    """Return the longest side that a visitor or a program asks for, in pixels; `None` keeps the photo's own.

    Args:
        long_side: one of `LONG_SIDES`, or a number.

    Raises:
        Refusal: it is something else.
    """
    if long_side == "original":
        return None
    if not isinstance(long_side, bool) and re.fullmatch(r"\d{1,5}(\.0)?", str(long_side)):
        pixels = int(float(long_side))
        if MIN_SIDE <= pixels <= MAX_LONG_SIDE:
            return pixels
    raise Refusal(
        f"The longest side must be one of {', '.join(LONG_SIDES)}, or a number of pixels from {MIN_SIDE} to "
        f"{MAX_LONG_SIDE}."
    )


def direction_of(domains: dict[str, tuple[str, str]], direction: Any) -> str:
    """Return the direction that is asked for: `a2b` and `b2a`, or the domains' names, such as `summer2winter`.

    Raises:
        Refusal: the model has no such direction.
    """
    names = {f"{source}2{target}": key for key, (source, target) in domains.items()}
    if isinstance(direction, str) and (direction in domains or direction in names):
        return names.get(direction, direction)
    raise Refusal(f"The direction must be one of {', '.join([*domains, *names])}.")


def limit_size(photo: Image.Image, side: int | None, most_pixels: Callable[[int], int]) -> Image.Image:
    """Shrinks a photo whose longer side exceeds the visitor's choice; smaller ones keep their size.

    The shorter side keeps at least `MIN_SIDE` pixels, so that something is left of a very long photo.

    Args:
        photo: the photo, which may be changed.
        side: pixels of the result's longer side, or `None`.
        most_pixels: tells how many pixels a photo may have that has so many; see `Checkpoint.most_pixels`.
    """
    if side is not None and max(photo.size) > side:
        scale = max(side / max(photo.size), MIN_SIDE / min(photo.size))
        if scale < 1:
            photo.thumbnail((math.ceil(photo.width * scale), math.ceil(photo.height * scale)))
    pixels = photo.width * photo.height
    if pixels > (most := most_pixels(pixels)):
        raise Refusal(
            f"This photo has {pixels / 1e6:.1f} megapixels. In their original size, photos of up to {most / 1e6:.0f} "
            "megapixels can be translated here with this model: choose a smaller size."
        )
    return photo


def new_folder() -> Path:
    """Return a folder of its own, from where Gradio serves files; the page's sweep removes them."""
    folder = UPLOADS / uuid.uuid4().hex
    folder.mkdir()
    return folder


def plain_name(name: str) -> str:
    """Return a file name's stem without anything that a path or a shell could take for more."""
    return re.sub(r"[^\w-]+", "_", Path(name).stem[:40]).strip("_") or "photo"


def save_png(picture: Image.Image, upload: dict[str, Any], domain: str) -> Path:
    """Write the full-size result, named after the upload."""
    stem = f"{plain_name(upload.get('orig_name') or 'photo')}-{plain_name(domain)}"
    path = new_folder() / f"{stem}.png"
    picture.save(path, compress_level=3)
    return path


def save_preview(picture: Image.Image, path: Path, side: int = PREVIEW_SIDE) -> Path:
    """Write what the page shows: a tenth of the PNG's bytes, which also reach a phone."""
    preview = picture.copy()
    preview.thumbnail((side, side))
    preview.save(path, quality=92, subsampling=0)
    return path


def difference_map(before: Image.Image, after: Image.Image) -> tuple[Image.Image, float]:
    """Where a translation changed a picture, and by how much on average.

    Args:
        before: the picture.
        after: its translation, of the same size.

    Returns:
        `tuple`: a picture, black where nothing changed, over red to pale yellow at 64 of 255 levels and more (the mean
        of the channels), and the mean over all pixels.
    """
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    grey = difference.convert("L", (1 / 3, 1 / 3, 1 / 3, 0))
    heat = ImageOps.colorize(
        grey.point([min(4 * level, 255) for level in range(256)]), "black", "#ffffcc", mid="#d8402a", midpoint=96
    )
    return heat, statistics.fmean(ImageStat.Stat(difference).mean)


def escaped(text: Any) -> str:
    return html.escape(str(text))
