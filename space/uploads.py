"""Visitors' pictures: taken in with care, and given back as files."""

import html
import logging
import re
import threading
import uuid
from pathlib import Path
from typing import IO, Any

import gradio as gr
import numpy as np
from PIL import Image, ImageChops, ImageOps
from settings import FORMATS, LONG_SIDES, MAX_FILE_MB, MAX_PIXELS, MIN_SIDE, PREVIEW_SIDE, UPLOADS

from cyclegan_hf.image_io import open_image


logger = logging.getLogger(__name__)
_decoding = threading.Lock()  # one large photo needs some hundred MB, whoever sends it


class Refusal(gr.Error):
    """What a visitor is told when something cannot be done: no file names, no exceptions, nothing in the log."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_exception=False)


def told(refusal: Refusal) -> str:
    """Shows a refusal beside what the page shows already; raised, it would cover all of that."""
    gr.Warning(escaped(refusal.message), title="That did not work")
    return str(refusal.message)


def uploaded_file(upload: dict[str, Any] | None, missing: str = "Choose a photo first.") -> Path:
    """The path of an upload, `preprocess=False`'s description of a file.

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


def open_photo(upload: dict[str, Any] | None) -> Image.Image:
    """Opens an uploaded picture; see `read_photo`."""
    return read_photo(uploaded_file(upload))


def read_photo(source: Path | IO[bytes]) -> Image.Image:
    """Opens a picture, upright, as `RGB` or `L`; of an animation the first frame.

    One is decoded at a time, by all visitors; what its header tells against it is said at once.

    Raises:
        Refusal: it is no picture, damaged, too small or too large.
    """
    if isinstance(source, Path) and source.stat().st_size > MAX_FILE_MB * 1_000_000:
        raise Refusal(f"This file is too large. A photo may have {MAX_FILE_MB} MB.")
    try:
        with Image.open(source, formats=FORMATS) as header:  # decodes nothing yet
            width, height = header.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal(
            f"This picture is too large to open here. {MAX_PIXELS // 10**6} megapixels are the most."
        ) from None
    except Exception as error:  # damaged headers raise anything
        logger.info("refused an upload: %r", error)
        raise Refusal(f"{unopened(source)} Try a JPEG, PNG, WebP or AVIF file.") from None
    if min(width, height) < MIN_SIDE:
        raise Refusal(f"This picture is too small: {width} × {height} pixels. {MIN_SIDE} × {MIN_SIDE} are the least.")
    if not isinstance(source, Path):
        source.seek(0)
    try:
        with _decoding:
            return open_image(source)
    except ValueError as error:
        logger.info("refused an upload: %s", error)
        raise Refusal("This picture is damaged, or only a part of it arrived. Try another file.") from None


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


def limit_size(photo: Image.Image, long_side: str, most: int) -> Image.Image:
    """Shrinks a photo whose longer side exceeds the visitor's choice; smaller ones keep their size.

    Args:
        photo: the photo.
        long_side: one of `LONG_SIDES`.
        most: pixels that the model takes here.
    """
    if long_side not in LONG_SIDES:
        raise Refusal(f"The longest side must be one of {', '.join(LONG_SIDES)}.")
    if long_side != "original":
        photo.thumbnail((int(long_side), int(long_side)))
    if photo.width * photo.height > most:
        raise Refusal(
            f"This photo has {photo.width * photo.height / 1e6:.1f} megapixels. In their original size, photos of up "
            f"to {most / 1e6:.0f} megapixels can be translated here with this model: choose a smaller size."
        )
    return photo


def new_folder() -> Path:
    """A folder of its own, from where Gradio serves files; the page's sweep removes them."""
    folder = UPLOADS / uuid.uuid4().hex
    folder.mkdir()
    return folder


def plain_name(name: str) -> str:
    """A file name's stem without anything that a path or a shell could take for more."""
    return re.sub(r"[^\w-]+", "_", Path(name).stem[:40]).strip("_") or "photo"


def save_png(picture: Image.Image, upload: dict[str, Any], domain: str) -> Path:
    """Writes the full-size result, named after the upload."""
    stem = f"{plain_name(upload.get('orig_name') or 'photo')}-{plain_name(domain)}"
    path = new_folder() / f"{stem}.png"
    picture.save(path, compress_level=3)
    return path


def save_preview(picture: Image.Image, path: Path, side: int = PREVIEW_SIDE) -> Path:
    """Writes what the page shows: a tenth of the PNG's bytes, which also reach a phone."""
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
    levels = np.asarray(difference, np.float32).mean(2)
    grey = Image.fromarray(np.minimum(levels * 4, 255).astype(np.uint8))
    return ImageOps.colorize(grey, "black", "#ffffcc", mid="#d8402a", midpoint=96), float(levels.mean())


def escaped(text: Any) -> str:
    return html.escape(str(text))
