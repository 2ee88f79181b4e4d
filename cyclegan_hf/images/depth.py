"""Images of more than 8 bits a channel: reading all of their bits, mapping their range, writing 16-bit files."""

from __future__ import annotations

import logging
import struct
import sys
import zlib
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile


logger = logging.getLogger(__name__)

InputRange: TypeAlias = "Literal['auto'] | tuple[float, float] | None"
"""The values that become black and white, in the file's own units: a pair, each image's own smallest and largest value
(`"auto"`), or what the file's type can hold (`None`: 0..65535 for integers, 0..1 for floating point)."""

GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of more than 8 bits."""

_NEARLY_BLACK = 2**14  # 16-bit values below it become at most 63 of 255: data of 10, 12 or 14 bits
_warned = False


def check_input_range(value: Any, name: str = "input_range") -> InputRange:
    """Return a range as [`InputRange`] has it, from what a flag or a configuration gives.

    Args:
        value: `None`, `"auto"`, or two numbers, the first of which is smaller.
        name: The setting, for messages.

    Raises:
        ValueError: It is something else.
    """
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    words = value if isinstance(value, list | tuple) else [value]
    if list(words) == ["auto"]:
        return "auto"
    try:
        low, high = (float(word) for word in words)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"`{name}` must be auto or two numbers, LOW below HIGH, got {_joined(words)}")
    return low, high


def has_low_bytes(image: Image.Image) -> bool:
    """Return whether an opened, not yet decoded image has 16 bits a colour channel, of which Pillow drops eight."""
    return image.mode in ("RGB", "RGBA") and any(
        isinstance(word, str) and word.startswith(f"{image.mode};16") for word in _raw_modes(image)
    )


def only_low_bytes(image: ImageFile) -> None:
    """Make Pillow decode the low byte of each 16-bit channel instead of the high one.

    Its 16-bit colour modes take one byte of two, by the byte order that the decoder is told: so the other order gives
    the other byte.

    Args:
        image: One that [`has_low_bytes`], not yet decoded; it is changed.
    """
    other = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}

    def swapped(word: Any) -> Any:
        if isinstance(word, str) and word.startswith(f"{image.mode};16"):
            return image.mode + other[word[len(image.mode) :]]
        return word

    image.tile = [
        tile._replace(args=tuple(map(swapped, tile.args)) if isinstance(tile.args, tuple) else swapped(tile.args))
        for tile in image.tile
    ]


def joined_bytes(high: Image.Image, low: Image.Image) -> np.ndarray:
    """Return the 16-bit values `(H, W, C)` of an image's high and low bytes."""
    values = np.asarray(high).astype(np.uint16)
    values <<= 8
    values |= np.asarray(low)
    return values


def is_nearly_black(image: Image.Image) -> bool:
    """Return whether 8-bit colours, the high bytes of 16 bits, are so dark that the data may have fewer bits."""
    extrema: Any = image.getextrema()
    return max(high for _, high in extrema[:3]) < _NEARLY_BLACK // 256


def to_unit(values: np.ndarray, mode: str, input_range: InputRange, name: str) -> np.ndarray:
    """Map values of more than 8 bits to float32 in [0, 1].

    Args:
        values: `(H, W)` or `(H, W, C)`.
        mode: Pillow's mode, for messages.
        input_range: What becomes black and white.
        name: The image, for messages.

    Raises:
        ValueError: Values that are not finite, or beyond what the type can hold where no range is given.
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name}: expected finite values, in [0, 1] without `input_range`, got NaN or infinity")
    if input_range is None:
        is_float = np.issubdtype(values.dtype, np.floating)
        top = 1 if is_float else 65535
        if low < 0 or high > top:
            expected = "float grey values in [0, 1]" if is_float else "16-bit grey values 0..65535"
            found = f"{low:g} to {high:g}" if is_float else f"{low:.0f}..{high:.0f}"
            raise ValueError(
                f"{name}: expected {expected} in mode {mode}, got {found}; `--input-range {low:g} {high:g}` or "
                "`--input-range auto` (`input_range` in a program, `data.input_range` in training) maps them"
            )
        if not is_float:
            warn_of_range(low, high, name)
        input_range = (0.0, float(top))
    elif input_range == "auto":
        input_range = (low, high)
    bottom, top_value = input_range
    unit = values.astype(np.float32)
    unit -= np.float32(bottom)
    unit /= np.float32(max(top_value - bottom, 1e-30))
    return np.clip(unit, 0, 1, out=unit)


def warn_of_range(low: float, high: float, name: str) -> None:
    """Say once in a process that 16-bit values fill a small part of their range only."""
    global _warned
    if _warned or not 0 < high < _NEARLY_BLACK:
        return
    _warned = True
    bits = max(8, int(high).bit_length())
    logger.warning(
        "%s: its 16-bit values only reach from %.0f to %.0f of 65535, so it is nearly black. If they have %d bits, "
        "`--input-range 0 %d` (`input_range` in a program, `data.input_range` in training) maps them, and "
        "`--input-range auto` stretches each image. Said once; other images may be alike",
        *(name, low, high, bits, 2**bits - 1),
    )


def to_bytes(unit: np.ndarray) -> Image.Image:
    """Return float32 values in [0, 1], `(H, W)` or `(H, W, C)`, as an 8-bit image, rounded to the nearest."""
    scaled = unit * np.float32(255)
    scaled += np.float32(0.5)
    return Image.fromarray(scaled.astype(np.uint8))


def to_16_bits(unit: np.ndarray) -> np.ndarray:
    """Return float values in [0, 1] as uint16, rounded to the nearest."""
    return np.floor(unit.astype(np.float64) * 65535 + 0.5).astype(np.uint16)


def encode_png_16(values: np.ndarray) -> bytes:
    """Return a 16-bit PNG file, which Pillow writes for grey only.

    Args:
        values: uint16 of shape `(H, W, C)`: grey, grey and alpha, RGB or RGBA.
    """
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # each row as the difference from the one above
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    data = zlib.compress(filtered.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encode_tiff_16(values: np.ndarray) -> bytes:
    """Return a 16-bit TIFF file (deflate), which Pillow writes for grey only.

    Args:
        values: uint16 of shape `(H, W, C)`: grey, grey and alpha (written as RGBA, for Pillow reads no such TIFF), RGB
            or RGBA.
    """
    if values.shape[2] == 2:
        values = values[..., [0, 0, 0, 1]]
    height, width, channels = values.shape
    data = zlib.compress(values.astype("<u2").tobytes(), 6)
    alpha = channels == 4
    short, long = 3, 4
    entries: list[tuple[int, int, Sequence[int]]] = [
        (256, long, [width]),
        (257, long, [height]),
        (258, short, [16] * channels),  # bits per sample
        (259, short, [8]),  # Adobe's deflate
        (262, short, [2 if channels >= 3 else 1]),  # RGB, or grey with 0 as black
        (273, long, [8]),  # the strip's place
        (277, short, [channels]),
        (278, long, [height]),  # rows per strip
        (279, long, [len(data)]),
        *([(338, short, [2])] if alpha else []),  # unassociated alpha
    ]
    place = 8 + len(data) + len(data) % 2
    extra_place = place + 2 + 12 * len(entries) + 4
    directory, extra = struct.pack("<H", len(entries)), b""
    for tag, kind, numbers in entries:
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == short else 'I'}", *numbers)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", extra_place + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", place) + data + b"\0" * (len(data) % 2) + directory + b"\0" * 4 + extra


def _raw_modes(image: Image.Image) -> list[Any]:
    found: list[Any] = []
    for tile in getattr(image, "tile", ()):
        found += tile.args if isinstance(tile.args, tuple) else [tile.args]
    return found


def _joined(words: Any) -> str:
    return " ".join(map(str, words)) if isinstance(words, list | tuple) else repr(words)
