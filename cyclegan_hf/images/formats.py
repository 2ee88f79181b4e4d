"""The image formats, and the only place that hands a file to Pillow."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING


if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


_COMMON = ("JPEG", "PNG", "GIF", "BMP", "PPM")  # what Pillow knows without importing its other plug-ins
FORMATS = (
    *_COMMON,
    *("WEBP", "AVIF", "TIFF", "JPEG2000", "DIB", "QOI", "PSD", "SGI", "PCX", "DDS", "ICO", "ICNS"),
    "TGA",  # the last one: its files have no signature
)
"""What Pillow may decode. By default it tries every plug-in on any content, and its EPS plug-in starts Ghostscript."""

_HEIF = frozenset({".heic", ".heif", ".hif"})
_PILLOW = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        *(".tga", ".icb", ".vda", ".vst", ".qoi", ".psd", ".sgi", ".rgb", ".rgba", ".bw", ".pcx", ".dds", ".ico"),
        ".icns",
    }
)
VIDEOS = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
        *(".3g2", ".ogv"),
    }
)
"""Extensions of videos, which `cyclegan-hf translate` takes one by one."""

MAX_PIXELS = 64_000_000
"""Of an image that a command opens without `--max-pixels`: 200 MB once decoded."""

_HEIF_HINT = "pip install 'cyclegan_hf[heif]'"
_HEIF_BRANDS = rb"hei[cxms]|hev[cxms]|mif1|msf1"


def has_heif() -> bool:
    """Return whether `pillow-heif`, which decodes HEIC files, is installed."""
    return find_spec("pillow_heif") is not None


def readable_extensions() -> frozenset[str]:
    """Return the extensions, in lower case, of the files in a folder that count as images."""
    return _PILLOW | _HEIF if has_heif() else _PILLOW


def has_image_extension(path: str | os.PathLike[str]) -> bool:
    """Return whether a file's name says that it is an image which can be read here."""
    return os.path.splitext(path)[1].lower() in readable_extensions()


def open_header(file: str | os.PathLike[str] | IO[bytes]) -> ImageFile:
    """Open an image without decoding its pixels, by one of [`FORMATS`] only.

    Raises:
        PIL.UnidentifiedImageError: It is of no allowed format.
        PIL.Image.DecompressionBombError: It has more pixels than [`pixel_limit`] or Pillow allows.
        Exception: Whatever Pillow's plug-ins raise on damaged headers.
    """
    from PIL import Image, UnidentifiedImageError

    if not isinstance(file, str | os.PathLike) and not (hasattr(file, "seekable") and file.seekable()):
        file = io.BytesIO(file.read())  # it is looked at more than once
    try:
        return Image.open(file, formats=_COMMON)
    except UnidentifiedImageError:
        Image.init()  # imports the other plug-ins, which takes longer than opening a photo
    if has_heif() and "HEIF" not in Image.OPEN and _is_heif(first_bytes(file)):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return Image.open(file, formats=[name for name in (*FORMATS, "HEIF") if name in Image.OPEN])


@contextlib.contextmanager
def pixel_limit(max_pixels: int) -> Iterator[None]:
    """Refuse images of more pixels in this process, with an error instead of Pillow's warning.

    Args:
        max_pixels: Most pixels of an image, as its header states them.
    """
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def first_bytes(file: str | os.PathLike[str] | IO[bytes], count: int = 24) -> bytes:
    """Return the first bytes of a file; an open file stands at its beginning afterwards."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return opened.read(count)
    file.seek(0)
    head = file.read(count)
    file.seek(0)
    return head


def describe_content(head: bytes, name: str = "") -> str:
    """Say what a file that is no readable image looks like, and what reads it.

    Args:
        head: The file's first bytes.
        name: Its name, whose extension tells more.
    """
    if not head:
        return "an empty file"
    if _is_heif(head):
        return "a damaged HEIC image" if has_heif() else f"a HEIC image, which needs `{_HEIF_HINT}`"
    if _is_video(head) or Path(name).suffix.lower() in VIDEOS:
        return "a video; `cyclegan-hf translate clip.mp4 --output result.mp4` translates one"
    if head[:4] == b"%!PS" or head[:4] == b"\xc5\xd0\xd3\xc6":
        return "an EPS or PostScript drawing, which is never run; save it as PNG"
    if head[:4] == b"%PDF":
        return "a PDF document; save its pages as PNG"
    return f"data of no known image format, starting {head!r}"


def left_out_text(paths: Iterable[Path]) -> str:
    """Say how many files of which extensions are no images, such as `"5 files left out: 3 .txt, 2 .heic (…)"`.

    Args:
        paths: The files; the text is empty where there are none.
    """
    counts = Counter(path.suffix.lower() or "without extension" for path in paths)
    kinds = [
        f"{number} {kind}{_hint(kind)}" for kind, number in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    ]
    more = f" and {len(kinds) - 12} more kinds" if len(kinds) > 12 else ""
    total = counts.total()
    return f"{total} {'file' if total == 1 else 'files'} left out: {', '.join(kinds[:12])}{more}" if total else ""


def _hint(extension: str) -> str:
    if extension in _HEIF:
        return f" ({_HEIF_HINT} reads them)"
    return " (videos are translated one by one, with `cyclegan-hf translate`)" if extension in VIDEOS else ""


def _is_heif(head: bytes) -> bool:
    return re.match(rb".{4}ftyp(" + _HEIF_BRANDS + rb")", head, re.DOTALL) is not None


def _is_video(head: bytes) -> bool:
    is_mp4 = head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis")
    is_riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return is_mp4 or is_riff or head[:4] in (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"OggS") or head[:3] == b"FLV"
