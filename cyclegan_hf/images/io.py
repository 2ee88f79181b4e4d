"""Reading pictures: whatever a camera, a scanner, a web page or a program made becomes plain sRGB or grey values."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from cyclegan_hf.errors import one_line
from cyclegan_hf.images.depth import (
    GREY_MODES,
    InputRange,
    check_input_range,
    has_low_bytes,
    is_nearly_black,
    joined_bytes,
    only_low_bytes,
    to_bytes,
    to_unit,
    warn_of_range,
)
from cyclegan_hf.images.formats import describe_content, first_bytes, open_header
from cyclegan_hf.regular_files import require_regular_file


logger = logging.getLogger(__name__)

_RANGE_TOLERANCE = 1e-3  # float pictures that were resized or came from bfloat16 overshoot [0, 1] by a hair

ImageSource = str | os.PathLike[str] | Image.Image | IO[bytes] | bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedImage:
    """An image as it was read, upright and in sRGB or grey.

    Attributes:
        pixels: An 8-bit image in mode `"RGB"` or `"L"`, or float32 `(H, W, C)` in [0, 1] where more bits were asked
            for and are there.
        alpha: Its opacity in mode `"L"`, where it was asked for and is there. The pixels then are as the file has
            them, and white where nothing of them shows; otherwise they are composited on white.
    """

    pixels: Image.Image | np.ndarray
    alpha: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        if isinstance(self.pixels, np.ndarray):
            return self.pixels.shape[0], self.pixels.shape[1]
        return self.pixels.height, self.pixels.width


def open_image(source: ImageSource, *, input_range: InputRange = None) -> Image.Image:
    """Open an image and convert it to 8-bit sRGB colour or 8-bit grey, upright and opaque.

    EXIF orientation is applied. An ICC profile is converted to sRGB (perceptual intent); one that cannot be used is
    ignored with a log line. Transparent pictures are composited on white. Palettes become RGB, CMYK becomes RGB, 1-bit
    and 16-bit grey become 8-bit grey (16 bits are scaled from 0..65535, rounded). Of an animation the first frame is
    taken. The result carries no profile and no orientation, so opening it again changes nothing.

    Args:
        source (`str`, `os.PathLike`, `PIL.Image.Image`, `IO[bytes]` or `bytes`): a file's path, a picture in any mode,
            a binary file object, or the file's bytes.
        input_range: of values of more than 8 bits, what becomes black and white: (low, high) in the file's units, or
            `"auto"` for each picture's own smallest and largest value. By default all that the type can hold, with a
            warning where 16-bit values fill less than a quarter of it.

    Returns:
        `PIL.Image.Image`: a picture in mode `"RGB"`, or `"L"` where the source is grey.

    Raises:
        ValueError: the source is missing, no regular file, empty, damaged, no picture, larger than Pillow's
            decompression-bomb limit, or has values that its type's range does not hold. The message is one line and
            names the source.
    """
    opened = read_image(source, input_range=input_range).pixels
    assert isinstance(opened, Image.Image)
    return opened


def read_image(
    source: ImageSource, *, input_range: InputRange = None, keep_alpha: bool = False, keep_depth: bool = False
) -> OpenedImage:
    """Open an image like [`open_image`], with its opacity and full bit depth if requested.

    Args:
        source: what [`open_image`] takes.
        input_range: see [`open_image`].
        keep_alpha: return the opacity instead of compositing on white.
        keep_depth: return 16-bit and floating point values unrounded. A picture with a colour profile other than sRGB
            is converted in 8 bits.

    Raises:
        ValueError: see [`open_image`].
    """
    reading = _Reading(check_input_range(input_range), keep_alpha, keep_depth)
    if isinstance(source, Image.Image):
        return reading.read(source, str(getattr(source, "filename", "")) or f"picture in mode {source.mode}", None)
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
            return reading.read(image, name, file)
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
    """Return whether [`open_image`] takes this kind of value."""
    # A file is known by its `read`: temporary files and uploads share no base class.
    return isinstance(value, str | bytes | bytearray | os.PathLike | Image.Image) or callable(
        getattr(value, "read", None)
    )


class _PictureError(ValueError):
    """A refusal that already has its one-line message."""


def _too_many_pixels(error: Exception) -> str:
    """Return Pillow's refusal with a way out."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    if found is None or Image.MAX_IMAGE_PIXELS is None:
        return f"refused as a possible decompression bomb ({one_line(error)})"
    return (
        f"refused as a possible decompression bomb: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, got "
        f"{int(found[1]):,}; `--max-pixels` of `cyclegan-hf translate` raises the limit, or "
        "`PIL.Image.MAX_IMAGE_PIXELS` in a program"
    )


def _damaged(name: str, error: Exception) -> _PictureError:
    return _PictureError(f"{name}: expected a whole picture, got one that cannot be decoded ({one_line(error)})")


@dataclass(frozen=True)
class _Reading:
    """Options for reading images; see [`read_image`]."""

    input_range: InputRange
    keep_alpha: bool
    keep_depth: bool

    def read(self, image: Image.Image, name: str, file: Path | IO[bytes] | None) -> OpenedImage:
        """Decode and convert one image.

        Args:
            image: the opened picture.
            name: for messages.
            file: what it was opened from; `None` where its pixels were there already.
        """
        if min(image.size) < 1:
            raise _PictureError(f"{name}: expected at least one pixel, got {image.width}x{image.height}")
        profile = image.info.get("icc_profile")
        drops_bits = file is not None and has_low_bytes(image)
        image = _upright(image, name)
        values: np.ndarray | None = None  # of more than 8 bits, (H, W[, C])
        if image.mode in GREY_MODES:
            values = np.asarray(image)
        elif drops_bits and (self.keep_depth or self.input_range is not None or is_nearly_black(image)):
            values = joined_bytes(image, _low_bytes(cast("Path | IO[bytes]", file), name))
            if not self.keep_depth and self.input_range is None:
                warn_of_range(values[..., :3].min(), values[..., :3].max(), name)
                values = None  # Pillow's own high bytes, as ever
        if values is None:
            colour, alpha = _split_alpha(image)
        else:
            with _refusals(name):
                unit = to_unit(values[..., :3] if values.ndim == 3 else values, image.mode, self.input_range, name)
            colour, alpha = to_bytes(unit), image.getchannel("A") if image.mode == "RGBA" else None
        if profile and not _is_srgb(profile):
            if self.keep_depth and values is not None:
                logger.warning("%s: its colour profile is converted in 8 bits", name)
            colour, values = _to_srgb(colour, profile, name), None
        if colour.mode not in ("RGB", "L"):
            colour = _lab_to_rgb(colour) if colour.mode == "LAB" else colour.convert("RGB")
        if values is not None and self.keep_depth:
            pixels = unit if unit.ndim == 3 else unit[..., None]
            if alpha is None:
                return OpenedImage(pixels=pixels)
            opacity = np.asarray(self._opacity(alpha), np.float32)[..., None] / 255
            return OpenedImage(pixels=pixels * opacity + (1 - opacity), alpha=alpha if self.keep_alpha else None)
        if alpha is not None:
            white = Image.new(colour.mode, colour.size, "white")
            colour = Image.composite(colour, white, self._opacity(alpha))
        colour.info = {}  # orientation, profile and transparency are spent
        return OpenedImage(pixels=colour, alpha=alpha if self.keep_alpha else None)

    def _opacity(self, alpha: Image.Image) -> Image.Image:
        """Composite over white. Hidden colours, often black, would affect their neighbours in a network."""
        return alpha.point(lambda value: 255 if value else 0) if self.keep_alpha else alpha


def _upright(image: Image.Image, name: str) -> Image.Image:
    """Decode an image and apply its orientation; return another image than the given one."""
    try:
        image.load()
    except Exception as error:
        raise _damaged(name, error) from error
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # a broken EXIF block may fail anywhere in its parser, and must not cost the picture
        logger.warning("%s: ignoring unreadable EXIF data (%s)", name, one_line(error))
        return image.copy()


def _low_bytes(file: Path | IO[bytes], name: str) -> Image.Image:
    """Return the low bytes of a 16-bit colour image, upright; Pillow drops them."""
    with open_header(file) as image:
        only_low_bytes(image)
        return _upright(image, name)


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Pass on this library's own messages, which already name the image."""
    try:
        yield
    except ValueError as error:
        raise _PictureError(str(error)) from None


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return 8-bit colour (`L`, `RGB`, `CMYK`, `LAB`, …) and the alpha channel (`L`), `None` if opaque."""
    match image.mode:
        case "1":
            return image.convert("L"), None
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


def _is_srgb(profile: bytes) -> bool:
    """Return whether a profile is sRGB, the usual case, in which a transform would only add rounding."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.getProfileDescription(source).startswith("sRGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False


def _to_srgb(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    """Convert by the embedded profile; grey stays grey. Ignore a profile that is broken or of another space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
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
    """Yield single images from one image, a batch array or tensor, or an iterable of any of these."""
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


def picture_values(image: Any, input_range: InputRange = None) -> np.ndarray:
    """Convert one image in any form to float32 channels `(C, H, W)` in [0, 1].

    Args:
        image: what [`open_image`] takes, a NumPy array of shape `(H, W)` or `(H, W, C)`, or a torch tensor of shape
            `(C, H, W)`; both uint8 in 0..255 or floating point in [0, 1], or other integers where a range is given.
        input_range: of values of more than 8 bits, what becomes 0 and 1; see [`open_image`].

    Raises:
        ValueError: another form, shape, type or range.
    """
    if isinstance(image, np.ndarray):
        hwc = image[..., None] if image.ndim == 2 else image
        return _unit_values(hwc, "an array of shape (H, W[, C])", input_range).transpose(2, 0, 1)
    if is_tensor(image):
        values = image.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # NumPy has no bfloat16
        return _unit_values(values.numpy(), "a tensor of shape (C, H, W)", input_range)
    return decoded_values(open_image(image, input_range=input_range))


def is_tensor(value: Any) -> bool:
    """Return whether `value` is a torch tensor without importing torch: who holds a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def decoded_values(image: Image.Image) -> np.ndarray:
    """Convert an `RGB` or `L` image to float32 `(3 or 1, H, W)` in [0, 1]."""
    pixels = np.asarray(image)
    channels = (pixels if pixels.ndim == 3 else pixels[..., None]).transpose(2, 0, 1)
    values = np.ascontiguousarray(channels).astype(np.float32)
    values /= 255
    return values


def _unit_values(values: np.ndarray, expected: str, input_range: InputRange) -> np.ndarray:
    """Check an image array and convert it to float32 in [0, 1]."""
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"expected {expected}, got shape {values.shape}")
    if values.dtype == np.uint8:
        return values.astype(np.float32) / 255
    if input_range is not None and np.issubdtype(values.dtype, np.integer):
        return to_unit(values, str(values.dtype), input_range, "an array")
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"expected pixels as uint8 in 0..255 or floating point in [0, 1], got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):  # written so that NaN is refused too
        raise ValueError(f"expected floating point pixels in [0, 1], got values from {low:g} to {high:g}")
    return np.clip(values.astype(np.float32), 0, 1)
