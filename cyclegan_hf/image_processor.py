"""The one place where pictures become arrays and back. Needs NumPy and Pillow; torch only where a tensor comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from PIL import Image

from cyclegan_hf.errors import nearest
from cyclegan_hf.images.depth import InputRange, check_input_range
from cyclegan_hf.images.io import ImageSource, decoded_values, iterate_images, picture_values
from cyclegan_hf.images.io import open_image as open_image  # the two go together: open, then `to_array`
from cyclegan_hf.images.luma import LUMA_WEIGHTS


if TYPE_CHECKING:
    import torch


ImageInput: TypeAlias = "ImageSource | np.ndarray | torch.Tensor"
OutputType = Literal["pil", "np", "pt"]
Rounding = Literal["nearest", "truncate"]

_ROWS = 256  # of a picture that are turned from float to 8 bits at a time
_LUMA = np.array(LUMA_WEIGHTS, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes and padding with which an image was fitted to the model, to undo them in the result.

    Attributes:
        original_size: (height, width) of the picture that came in and of the result that goes out.
        model_size: (height, width) at which the picture went through the model, without padding; equals
            `original_size` unless it was resized.
        padding: pixels of reflection added (top, bottom, left, right) around `model_size`.
    """

    original_size: tuple[int, int]
    model_size: tuple[int, int]
    padding: tuple[int, int, int, int]

    @property
    def resized(self) -> bool:
        """Return whether the model saw the image at another size than its own."""
        return self.model_size != self.original_size


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """Pictures of one padded size, ready for a model.

    Attributes:
        indices: the pictures' positions in the input, so that results can be put in input order.
        pixel_values: float32 array of shape `(batch_size, num_channels, height, width)` in model space.
        geometries: one per picture.
    """

    indices: list[int]
    pixel_values: np.ndarray
    geometries: list[Geometry]


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """Convert images to model input and model output to images, for one domain.

    Model space is `(x - mean) / std` of pixel values x in [0, 1]: [-1, 1] with the default mean and std of 0.5.
    Pictures may be anything [`open_image`] takes; NumPy arrays of shape `(H, W)`, `(H, W, C)` or `(B, H, W, C)`; torch
    tensors of shape `(C, H, W)` or `(B, C, H, W)`. Arrays and tensors are uint8 in 0..255 or floating point in [0, 1].
    Colour given to a one-channel model becomes luma (ITU-R BT.601); grey given to a model of more channels is
    repeated.

    Args:
        num_channels: channels of the model's pictures.
        size: (height, width) that the model was trained at; only used where pictures are to be resized to it.
        mean: per-channel mean in [0, 1] units; `None` is 0.5.
        std: per-channel standard deviation in [0, 1] units; `None` is 0.5.
        input_range: of values of more than 8 bits, what becomes black and white: (low, high) in the file's units,
            `"auto"` for each picture's own smallest and largest value, or `None` for all that the type can hold.
    """

    num_channels: int = 3
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_range: InputRange = None

    def __post_init__(self) -> None:
        if not isinstance(self.num_channels, int) or self.num_channels < 1:
            raise ValueError(f"`num_channels` must be a positive integer, got {self.num_channels!r}")
        if self.size is not None:
            _checked_size(self.size)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_channels:
                raise ValueError(f"`{name}` must have {self.num_channels} values, one a channel, got {values!r}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"`std` must be positive, got {self.std!r}")
        check_input_range(self.input_range)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImageProcessor:
        """Build a processor from [`to_config`]'s JSON form.

        Raises:
            ValueError: an unknown key (the message names the nearest valid one) or a value out of range.
        """
        if not isinstance(config, Mapping):
            raise ValueError(f"expected an image processor's settings by name, got {config!r:.60}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in config:
            if key not in known:
                raise ValueError(f"unknown image processor setting `{key}`{nearest(key, known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
        try:
            return cls(**values)
        except (TypeError, LookupError) as error:  # of another kind than the setting's
            raise ValueError(f"image processor settings {config!r:.200} cannot be used ({error})") from error

    def to_config(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        config = dataclasses.asdict(self)
        if self.input_range is None:  # earlier versions refuse a setting that they do not know
            del config["input_range"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}

    def to_array(self, image: Image.Image) -> np.ndarray:
        """Convert one opened image to model space.

        Args:
            image: a picture in mode `"RGB"` or `"L"`, as [`open_image`] returns it.

        Returns:
            `np.ndarray`: float32 of shape `(num_channels, height, width)`.

        Raises:
            ValueError: a picture in another mode.
        """
        if image.mode not in ("RGB", "L"):
            raise ValueError(f"expected a picture in mode RGB or L, as `open_image` returns it, got mode {image.mode}")
        return self._normalize(self._match_channels(decoded_values(image)))

    def preprocess(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        size_multiple: int = 1,
        min_size: int = 1,
        size: int | tuple[int, int] | None = None,
    ) -> list[tuple[np.ndarray, Geometry]]:
        """Prepare images one by one.

        Args:
            images: one picture or a sequence of them, in any of the accepted forms.
            size_multiple: height and width are reflect-padded to a multiple of it.
            min_size: smallest height and width of the model's input; smaller pictures are reflect-padded to it.
            size: where given, pictures are resized to fit into this (height, width), aspect kept, before padding.

        Returns:
            `list`: for each picture its float32 array of shape `(1, num_channels, height, width)` in model space, and
            the [`Geometry`] that [`postprocess`] needs.
        """
        return [
            (batch.pixel_values, batch.geometries[0])
            for batch in self.batches(images, size_multiple=size_multiple, min_size=min_size, size=size)
        ]

    def batches(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int = 1,
        size_multiple: int = 1,
        min_size: int = 1,
        size: int | tuple[int, int] | None = None,
    ) -> Iterator[ImageBatch]:
        """Prepare images lazily in batches of equal padded size.

        Pictures wait until `batch_size` of their size have come; at most four batches' worth wait at a time, so that a
        long list of files is never in memory at once. The arguments are [`preprocess`]'s.

        Yields:
            `ImageBatch`: every picture exactly once, not necessarily in input order.
        """
        waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, Geometry]]] = {}
        for index, image in enumerate(iterate_images(images)):
            array, geometry = self._prepare(image, size_multiple, min_size, size)
            group = waiting.setdefault(array.shape, [])
            group.append((index, array, geometry))
            if len(group) == batch_size:
                yield _stack(waiting.pop(array.shape))
            elif sum(map(len, waiting.values())) >= 4 * batch_size:
                largest = max(waiting, key=lambda shape: len(waiting[shape]))
                yield _stack(waiting.pop(largest))
        for group in waiting.values():
            yield _stack(group)

    def postprocess(
        self,
        sample: np.ndarray | torch.Tensor,
        geometries: Sequence[Geometry] | None = None,
        *,
        output_type: OutputType = "pil",
        rounding: Rounding = "nearest",
    ) -> list[Any]:
        """Turn model output into images: crop the padding, restore size and value range, clip.

        Args:
            sample (`np.ndarray` or `torch.Tensor` of shape `(batch_size, num_channels, height, width)`): model output.
            geometries: one for each picture of the batch; `None` leaves the size as it is.
            output_type: `"pil"`, `"np"` (float32 `(height, width, num_channels)` in [0, 1]) or `"pt"` (float32 tensor
                `(num_channels, height, width)` in [0, 1], on the CPU).
            rounding: of `"pil"` pixels: `"nearest"` (halves upwards), or `"truncate"` as the official code does.

        Returns:
            `list`: one picture for each entry of the batch.

        Raises:
            ValueError: output of another shape, or holding NaN or infinity, or an unknown `output_type` or `rounding`.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'`output_type` must be "pil", "np" or "pt", got {output_type!r}')
        if rounding not in ("nearest", "truncate"):
            raise ValueError(f'`rounding` must be "nearest" or "truncate", got {rounding!r}')
        if output_type == "pil" and self.num_channels not in (1, 3):
            raise ValueError(f'{self.num_channels} channels make no picture: ask for `output_type="np"` or "pt"')
        values = sample if isinstance(sample, np.ndarray) else sample.detach().float().cpu().numpy()
        if values.ndim != 4 or values.shape[1] != self.num_channels:
            raise ValueError(
                f"expected model output of shape (batch, {self.num_channels}, height, width), got {values.shape}"
            )
        if geometries is not None and len(geometries) != len(values):
            raise ValueError(f"expected one geometry a picture, got {len(geometries)} for {len(values)} pictures")
        if not all(
            np.isfinite(picture[:, top : top + _ROWS]).all()
            for picture in values
            for top in range(0, values.shape[2], _ROWS)
        ):
            raise ValueError("the model's output holds NaN or infinite values, expected finite numbers")
        pictures = []
        for index, picture in enumerate(values):
            geometry = None if geometries is None else geometries[index]
            if output_type == "pil":
                pictures.append(self._to_image(picture, geometry, rounding))
                continue
            unit = self._denormalize(picture)
            if geometry is not None:
                unit = _cropped(unit, geometry)
                unit = _resize(unit, geometry.original_size) if geometry.resized else unit
            pictures.append(_to_array(unit, output_type))
        return pictures

    def _prepare(
        self, image: Any, size_multiple: int, min_size: int, size: int | tuple[int, int] | None
    ) -> tuple[np.ndarray, Geometry]:
        """Convert one image in any form to a padded `(C, H, W)` array in model space."""
        unit = self._match_channels(picture_values(image, self.input_range))  # this method's own: changed in place
        original_size = (unit.shape[1], unit.shape[2])
        model_size = original_size if size is None else _fit(original_size, _checked_size(size))
        unit = _resize(unit, model_size)
        padding = (*_pads(model_size[0], size_multiple, min_size), *_pads(model_size[1], size_multiple, min_size))
        top, bottom, left, right = padding
        array = self._normalize(unit)
        if any(padding):  # NumPy repeats the reflection where the pad is longer than the picture
            array = np.pad(array, ((0, 0), (top, bottom), (left, right)), mode="reflect")
        return array, Geometry(original_size=original_size, model_size=model_size, padding=padding)

    def _match_channels(self, channels: np.ndarray) -> np.ndarray:
        match len(channels), self.num_channels:
            case given, wanted if given == wanted:
                return np.ascontiguousarray(channels)
            case 3, 1:
                return np.tensordot(_LUMA, channels, axes=1)[None]
            case 1, wanted:
                return np.repeat(channels, wanted, axis=0)
            case given, wanted:
                raise ValueError(f"expected a picture of {wanted} channels (or grey), got {given} channels")

    def _space(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.mean or (0.5,) * self.num_channels
        std = self.std or (0.5,) * self.num_channels
        return np.asarray(mean, np.float32)[:, None, None], np.asarray(std, np.float32)[:, None, None]

    def _normalize(self, unit: np.ndarray) -> np.ndarray:
        mean, std = self._space()
        unit -= mean  # in place: a large picture is in memory once
        unit /= std
        return unit

    def _denormalize(self, values: np.ndarray) -> np.ndarray:
        mean, std = self._space()
        unit = values * std
        unit += mean
        return np.clip(unit, 0, 1, out=unit)

    def _to_image(self, values: np.ndarray, geometry: Geometry | None, rounding: Rounding) -> Image.Image:
        """Convert model output `(C, H, W)` to an 8-bit image, some rows at a time, without a float32 copy."""
        resized = geometry is not None and geometry.resized
        if geometry is not None:
            values = _cropped(values, geometry)
        if resized:
            values = _resize(self._denormalize(values), cast(Geometry, geometry).original_size)
        channels, height, width = values.shape
        pixels = np.empty((height, width, channels), np.uint8)
        for top in range(0, height, _ROWS):
            rows = values[:, top : top + _ROWS]
            scaled = (rows if resized else self._denormalize(rows)) * np.float32(255)
            if rounding == "nearest":
                scaled += np.float32(0.5)
            pixels[top : top + _ROWS] = scaled.astype(np.uint8).transpose(1, 2, 0)
        return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def _checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"`size` must be a positive integer or (height, width), got {size!r}")
    return sides[0], sides[1]


def _fit(original: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of the original's aspect inside the box; padding then stays within one multiple."""
    scale = min(box[0] / original[0], box[1] / original[1])
    return max(1, round(original[0] * scale)), max(1, round(original[1] * scale))


def _pads(length: int, size_multiple: int, min_size: int) -> tuple[int, int]:
    target = -(-max(length, min_size) // size_multiple) * size_multiple
    return (target - length) // 2, (target - length + 1) // 2


def _resize(unit: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a `(C, H, W)` float array by antialiased bicubic, channel by channel, without rounding to 8 bits."""
    if unit.shape[1:] == size:
        return unit
    height, width = size
    resized = np.empty((len(unit), height, width), np.float32)
    for channel, target in zip(unit, resized, strict=True):
        image = Image.fromarray(np.ascontiguousarray(channel)).resize((width, height), Image.Resampling.BICUBIC)
        target[:] = np.asarray(image)
    return np.clip(resized, 0, 1, out=resized)


def _stack(group: list[tuple[int, np.ndarray, Geometry]]) -> ImageBatch:
    indices, arrays, geometries = zip(*group, strict=True)
    pixel_values = arrays[0][None] if len(arrays) == 1 else np.stack(arrays)  # one picture is not copied
    return ImageBatch(indices=list(indices), pixel_values=pixel_values, geometries=list(geometries))


def _cropped(unit: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Crop the padding.

    Some generators change the size by a constant, such as 28² to 32² between two sets of digits; a picture that was
    not resized keeps that difference.
    """
    height, width = geometry.model_size
    top, bottom, left, right = geometry.padding
    growth = unit.shape[1] - (top + height + bottom)
    if unit.shape[2] - (left + width + right) != growth or height + growth < 1 or width + growth < 1:
        raise ValueError(
            f"expected model output of the input's height and width {(top + height + bottom, left + width + right)} "
            f"or equally larger or smaller on both sides, got {unit.shape[1:]}"
        )
    return unit[:, top : top + height + growth, left : left + width + growth]


def _to_array(unit: np.ndarray, output_type: OutputType) -> Any:
    if output_type == "pt":
        import torch

        return torch.from_numpy(np.ascontiguousarray(unit))
    return np.ascontiguousarray(unit.transpose(1, 2, 0))
