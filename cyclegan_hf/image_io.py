"""Reading pictures: whatever a camera, a scanner, a web page or a program made becomes plain sRGB or grey values."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeGuard, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from cyclegan_hf.errors import one_line
from cyclegan_hf.image_formats import describe_content, first_bytes, open_header, require_regular_file


logger = logging.getLogger(__name__)

_RANGE_TOLERANCE = 1e-3  # float pictures that were resized or came from bfloat16 overshoot [0, 1] by a hair

ImageSource = str | os.PathLike[str] | Image.Image | IO[bytes] | bytes


def open_image(source: ImageSource) -> Image.Image:
    """Opens a picture and brings it to 8-bit sRGB colour or 8-bit grey, upright and opaque.

    EXIF orientation is applied. An ICC profile is converted to sRGB (perceptual intent); one that cannot be used is
    ignored with a log line. Transparent pictures are composited on white. Palettes become RGB, CMYK becomes RGB, 1-bit
    and 16-bit grey become 8-bit grey (16 bits are scaled from 0..65535, rounded). Of an animation the first frame is
    taken. The result carries no profile and no orientation, so opening it again changes nothing.

    Args:
        source (`str`, `os.PathLike`, `PIL.Image.Image`, `IO[bytes]` or `bytes`): a file's path, a picture in any mode,
            a binary file object, or the file's bytes.

    Returns:
        `PIL.Image.Image`: a picture in mode `"RGB"`, or `"L"` where the source is grey.

    Raises:
        ValueError: the source is missing, a directory, empty, damaged, no picture, or larger than Pillow's
            decompression-bomb limit. The message is one line and names the source.
    """
    if isinstance(source, Image.Image):
        return _load(source, str(getattr(source, "filename", "")) or f"picture in mode {source.mode}")
    file: Path | IO[bytes]
    if isinstance(source, bytes | bytearray):
        name, file = f"picture of {len(source)} bytes", io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        name, file = os.fspath(source), require_regular_file(source, "a picture file")
    elif is_image_source(source):
        name, file = str(getattr(source, "name", "file object")), cast(IO[bytes], source)
    else:
        raise ValueError(f"expected a picture, a path, bytes or a binary file, got {type(source).__name__}")
    try:
        with open_header(file) as image:
            return _load(image, name)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: {_too_many_pixels(error)}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name}: expected a picture, got {describe_content(first_bytes(file), name)}") from None
    except PermissionError:
        raise ValueError(f"{name}: expected a readable picture, got: permission denied") from None
    except _PictureError:
        raise
    except Exception as error:  # the format plugins raise anything on damaged headers: struct.error, KeyError, …
        raise _damaged(name, error) from error


def is_image_source(value: Any) -> TypeGuard[ImageSource]:
    """Whether [`open_image`] takes this kind of value."""
    # A file is known by its `read`: temporary files and uploads share no base class.
    return isinstance(value, str | bytes | bytearray | os.PathLike | Image.Image) or callable(
        getattr(value, "read", None)
    )


class _PictureError(ValueError):
    """A refusal that already has its one-line message."""


def _too_many_pixels(error: Exception) -> str:
    """Pillow's refusal with the way on."""
    found = re.search(r"\((\d+) pixels\) exceeds limit of (\d+)", str(error))
    if found is None:
        return f"refused as a possible decompression bomb ({one_line(error)})"
    pixels, limit = (f"{int(number):,}" for number in found.groups())
    return (
        f"refused as a possible decompression bomb: expected at most {limit} pixels, got {pixels}; `--max-pixels` of "
        "`cyclegan-hf translate` raises the limit, or `PIL.Image.MAX_IMAGE_PIXELS` in a program"
    )


def _damaged(name: str, error: Exception) -> _PictureError:
    return _PictureError(f"{name}: expected a whole picture, got one that cannot be decoded ({one_line(error)})")


def _load(image: Image.Image, name: str) -> Image.Image:
    """Decodes and converts one picture; `name` is only for messages."""
    if min(image.size) < 1:
        raise _PictureError(f"{name}: expected at least one pixel, got {image.width}x{image.height}")
    profile = image.info.get("icc_profile")
    try:
        image.load()
    except Exception as error:
        raise _damaged(name, error) from error
    try:
        image = ImageOps.exif_transpose(image)
    except Exception as error:  # a broken EXIF block may fail anywhere in its parser, and must not cost the picture
        logger.warning("%s: ignoring unreadable EXIF data (%s)", name, one_line(error))
    colour, alpha = _split_alpha(image, name)
    if profile:
        colour = _to_srgb(colour, profile, name)
    if colour.mode not in ("RGB", "L"):
        colour = _lab_to_rgb(colour) if colour.mode == "LAB" else colour.convert("RGB")
    if alpha is not None:
        white = Image.new(colour.mode, colour.size, "white")
        colour = Image.composite(colour, white, alpha)
    elif colour is image:
        colour = colour.copy()
    colour.info = {}  # orientation, profile and transparency are spent
    return colour


def _split_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Returns 8-bit colour (`L`, `RGB`, `CMYK`, `LAB`, …) and the alpha channel (`L`), or `None` where opaque."""
    match image.mode:
        case "1":
            grey = image.convert("L")
            return grey, None
        case "I" | "I;16" | "I;16B" | "I;16L" | "I;16N":
            return _from_16_bit(image, name), None
        case "F":
            return _from_float(image, name), None
        case "RGBX":
            return image.convert("RGB"), None
        case "La":
            image = image.convert("LA")
        case "RGBa" | "PA":
            image = image.convert("RGBA")
        case "P":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        case "RGB" | "L" if "transparency" in image.info:  # PNG's tRNS: one colour that stands for "nothing"
            image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in ("RGBA", "LA"):
        *bands, alpha = image.split()
        return Image.merge("RGB" if image.mode == "RGBA" else "L", bands), alpha
    return image, None


def _from_16_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey to 8 bits. Mode `I` is how Pillow holds 16-bit PGM files: 0..65535 in 32 bits."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _PictureError(
            f"{name}: expected 16-bit grey values 0..65535 in mode {image.mode}, got {values.min()}..{values.max()}"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _from_float(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN is refused too
        raise _PictureError(
            f"{name}: expected float grey values in [0, 1] in mode F, got {values.min():g} to {values.max():g}"
        )
    return Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    """Converts by the embedded profile; grey stays grey. A profile that is broken or of another space is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image  # the usual case: already there, and a transform would only add rounding
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        logger.warning("%s: ignoring its colour profile (%s)", name, one_line(error))
        return image
    assert converted is not None  # only in-place conversions return nothing
    return converted.convert("L") if image.mode == "L" else converted


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def iterate_images(images: Any) -> Iterator[Any]:
    """Yields single pictures from one picture, a batch array or tensor, or an iterable of any of these."""
    if isinstance(images, np.ndarray) or is_tensor(images):
        if images.ndim == 4:
            yield from images
        else:
            yield images
    elif is_image_source(images):
        yield images
    elif isinstance(images, Iterable):
        for image in images:
            yield from iterate_images(image)
    else:
        raise ValueError(f"expected a picture or a list of pictures, got {type(images).__name__}")


def picture_values(image: Any) -> np.ndarray:
    """One picture in any form to float32 channels `(C, H, W)` in [0, 1].

    Args:
        image: what [`open_image`] takes, a NumPy array of shape `(H, W)` or `(H, W, C)`, or a torch tensor of shape
            `(C, H, W)`; both uint8 in 0..255 or floating point in [0, 1].

    Raises:
        ValueError: another form, shape, type or range.
    """
    if isinstance(image, np.ndarray):
        hwc = image[..., None] if image.ndim == 2 else image
        return _unit_values(hwc, "an array of shape (H, W[, C])").transpose(2, 0, 1)
    if is_tensor(image):
        values = image.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # NumPy has no bfloat16
        return _unit_values(values.numpy(), "a tensor of shape (C, H, W)")
    return decoded_values(open_image(image))


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor, without importing torch: who holds a tensor has imported it already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def decoded_values(image: Image.Image) -> np.ndarray:
    """An `RGB` or `L` picture to float32 `(3 or 1, H, W)` in [0, 1]."""
    pixels = np.asarray(image)
    channels = (pixels if pixels.ndim == 3 else pixels[..., None]).transpose(2, 0, 1)
    values = np.ascontiguousarray(channels).astype(np.float32)
    values /= 255
    return values


def _unit_values(values: np.ndarray, expected: str) -> np.ndarray:
    """Checks an array picture and brings it to float32 in [0, 1]."""
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"expected {expected}, got shape {values.shape}")
    if values.dtype == np.uint8:
        return values.astype(np.float32) / 255
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"expected pixels as uint8 in 0..255 or floating point in [0, 1], got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):  # written so that NaN is refused too
        raise ValueError(f"expected floating point pixels in [0, 1], got values from {low:g} to {high:g}")
    return np.clip(values.astype(np.float32), 0, 1)
