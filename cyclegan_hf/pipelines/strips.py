"""Large pictures through a generator strip by strip: the whole picture's result in a fraction of its memory.

An instance norm needs the mean and the variance of the whole picture, and a strip's own are others. So they are fixed
layer by layer: a first pass over the strips adds up a layer's statistics, the next pass uses them. Maps at the full
and the half resolution are computed anew in each pass and never kept; only those at the lowest resolution are, where
the residual blocks are, which are nine tenths of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.hardware import available_memory
from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.generator_affine_residual import AffineResidualGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.layers import (
    AffineInstanceNorm2d,
    InstanceNorm2d,
    Pad2d,
    SeparableConv2d,
    Upsample2x,
    before_tanh,
)


T = TypeVar("T")
Rows = tuple[int, int]
"""[first, last) rows of a map."""

_WHOLE_MAPS = (
    6  # how many times its widest map a whole picture takes: inputs and outputs of a layer, norm and workspace
)
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, SeparableConv2d)
_STRIP_BYTES = 2**24
_RESIDUAL_PASSES = 3  # over the kept map, of each residual block
_LEAST_ROWS = 16  # fewer would mostly be computed anew for their neighbours
_LEAST_LOW_ROWS = 4  # the same, of maps at the lower resolutions
_KEPT_BYTES = 2**29  # both kept maps; above it they are in half precision


@dataclass
class _Moments:
    """A layer's mean and variance over all strips so far (Chan, Golub and LeVeque 1983)."""

    count: int = 0
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, strip: torch.Tensor) -> None:
        """Count a strip's pixels in."""
        variance, mean = torch.var_mean(strip.float(), dim=(2, 3), correction=0, keepdim=True)
        variance, mean = variance.double(), mean.double()
        here = strip.shape[2] * strip.shape[3]
        total = self.count + here
        difference = mean - self.mean
        self.squares = self.squares + variance * here + difference.square() * (self.count * here / total)
        self.mean = self.mean + difference * (here / total)
        self.count = total

    def normalize(self, strip: torch.Tensor, eps: float) -> torch.Tensor:
        """Return (x - mean) / sqrt(var + eps)."""
        scale = (self.squares / self.count + eps).rsqrt()
        return torch.addcmul(-(self.mean * scale).float(), strip.float(), scale.float()).to(strip.dtype)


class _Layer:
    """A convolution with what stands before and behind it, on some of its rows.

    Args:
        modules: Padding or upsampling, the convolution, norm, activation, in the generator's order.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        conv = next(module for module in modules if isinstance(module, _CONVOLUTIONS))
        place = list(modules).index(conv)
        self.pointwise = conv.pointwise if isinstance(conv, SeparableConv2d) else None
        self.conv = conv.depthwise if isinstance(conv, SeparableConv2d) else conv
        self.doubled = any(isinstance(module, Upsample2x) for module in modules[:place])
        pads = [module for module in modules[:place] if isinstance(module, Pad2d)]
        self.padding = pads[0].padding if pads else int(self.conv.padding[0])
        self.mode = pads[0].padding_mode if pads else "zero"
        self.rest = list(modules[place + 1 :])
        self.moments = _Moments()

    @property
    def normalizes(self) -> bool:
        """Return whether it needs the whole image's statistics."""
        return any(isinstance(module, InstanceNorm2d) for module in self.rest)

    def height(self, height: int) -> int:
        """Return the number of output rows for so many input rows."""
        if isinstance(self.conv, nn.ConvTranspose2d):
            return 2 * height
        padded = (2 * height if self.doubled else height) + 2 * self.padding
        return (padded - self.conv.kernel_size[0]) // self.conv.stride[0] + 1

    def needs(self, rows: Rows, height: int) -> Rows:
        """Return the input rows that these output rows see, of an input of that height."""
        first, last = rows
        if isinstance(self.conv, nn.ConvTranspose2d):  # 3×3, stride 2: an odd row also sees the next one
            return first // 2, min(height, (last + 1) // 2 + 1)
        stride = self.conv.stride[0]
        low = max(0, first * stride - self.padding)
        high = (last - 1) * stride - self.padding + self.conv.kernel_size[0]
        if self.doubled:
            return max(0, low // 2), min(height, -(-high // 2))
        return low, min(height, high)

    def convolve(self, strip: torch.Tensor, at: Rows, rows: Rows, height: int) -> torch.Tensor:
        """Return the convolution's output in `rows` from the input's rows `at`, of an input of that height."""
        if isinstance(self.conv, nn.ConvTranspose2d):
            begin = rows[0] - 2 * at[0]
            return self.conv(strip)[:, :, begin : begin + rows[1] - rows[0]]
        first, last = at
        if self.doubled:
            strip, first, last, height = F.interpolate(strip, scale_factor=2), 2 * first, 2 * last, 2 * height
        stride = self.conv.stride[0]
        begin = rows[0] * stride - self.padding  # of the padded input's rows, counted from the picture's first
        end = (rows[1] - 1) * stride - self.padding + self.conv.kernel_size[0]
        above, below = max(0, -begin), max(0, end - height)
        strip = strip[:, :, max(0, begin) - first : min(height, end) - first]
        sides = (self.padding, self.padding, above, below)
        strip = F.pad(strip, sides, mode="reflect") if self.mode == "reflect" else F.pad(strip, sides)
        strip = F.conv2d(strip, self.conv.weight, self.conv.bias, stride, groups=self.conv.groups)
        return strip if self.pointwise is None else self.pointwise(strip)

    def finish(self, strip: torch.Tensor) -> torch.Tensor:
        """Apply norm and activation once the statistics are known."""
        for module in self.rest:
            match module:
                case AffineInstanceNorm2d():
                    strip = module.scale(self.moments.normalize(strip, module.eps))
                case InstanceNorm2d():
                    strip = self.moments.normalize(strip, module.eps)
                case _:
                    strip = module(strip)
        return strip


Source = Callable[[int, int], torch.Tensor]
"""Gives some rows of a map."""


class _Chain:
    """Layers one after the other, on rows of a source of that height."""

    def __init__(self, layers: Sequence[_Layer], source: Source, height: int) -> None:
        self.layers = list(layers)
        self.source = source
        self.heights = [height]
        for layer in layers:
            self.heights.append(layer.height(self.heights[-1]))

    def rows(self, first: int, last: int, depth: int | None = None, raw: bool = False) -> torch.Tensor:
        """Return output rows of the first `depth` layers; `raw`: before the last one's norm."""
        layers = self.layers if depth is None else self.layers[:depth]
        wanted = [(first, last)]
        for layer, height in zip(reversed(layers), self.heights[len(layers) - 1 :: -1], strict=True):
            wanted.append(layer.needs(wanted[-1], height))
        wanted.reverse()
        strip = self.source(*wanted[0])
        for number, layer in enumerate(layers):
            strip = layer.convolve(strip, wanted[number], wanted[number + 1], self.heights[number])
            if not (raw and number == len(layers) - 1):
                strip = layer.finish(strip)
        return strip

    def strips(self, rows: int, depth: int | None = None) -> Iterator[Rows]:
        """Split [0, height) into pieces of so many rows, the last of which may be smaller."""
        heights = self.heights if depth is None else self.heights[: depth + 1]
        return strips(heights[-1], max(_LEAST_LOW_ROWS, rows * heights[-1] // max(heights)))

    def settle(self, rows: int, progress: Progress) -> None:
        """Fix every layer's statistics, one pass over the strips for each layer that has any."""
        for depth, layer in enumerate(self.layers, start=1):
            if layer.normalizes:
                for first, last in progress(self.strips(rows, depth)):
                    layer.moments.add(self.rows(first, last, depth, raw=True))

    def num_pieces(self, rows: int) -> int:
        """Return the number of strips of all passes: those that settle statistics, and the last one."""
        depths = [depth for depth, layer in enumerate(self.layers, start=1) if layer.normalizes]
        return sum(sum(1 for _ in self.strips(rows, depth)) for depth in [*depths, None])


class Progress:
    """Tells somebody how many of a picture's pieces are done.

    Args:
        tell: Takes the numbers of pieces that are done and of all of them.
        total: How many there are.
    """

    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self.tell, self.total, self.done = tell, total, 0

    def __call__(self, pieces: Iterable[T]) -> Iterator[T]:
        """Yield pieces; each is done when the next one is asked for."""
        for piece in pieces:
            yield piece
            self.done += 1
            if self.tell is not None:
                self.tell(self.done, self.total)


def strips(height: int, rows: int) -> Iterator[Rows]:
    """Split [0, height) into pieces of so many rows, the last of which may be smaller."""
    for first in range(0, height, rows):
        yield first, min(height, first + rows)


def fits(generator: Any, sample: torch.Tensor, budget: int) -> bool:
    """Estimate whether an image passes a generator whole within so many bytes."""
    return bytes_whole(generator, sample) <= budget


def bytes_whole(generator: Any, sample: torch.Tensor) -> int:
    """Estimate the memory that an image takes in a generator as a whole."""
    widths = generator.config.get("block_out_channels", (64,))
    pixels = sample.shape[0] * sample.shape[2] * sample.shape[3]
    return int(_WHOLE_MAPS * pixels * widths[0] * generator.dtype.itemsize)


def bytes_in_strips(generator: Any, sample: torch.Tensor) -> int:
    """Estimate the memory that an image takes in a generator in strips: the part that grows with it."""
    encoder = _encoder(generator, sample)
    width = sample.shape[3] * encoder.heights[-1] // sample.shape[2]
    numbers = len(sample) * generator.config["block_out_channels"][-1] * encoder.heights[-1] * width
    large = sample.dtype == torch.float32 and 2 * numbers * sample.itemsize > _KEPT_BYTES
    kept = 2 * numbers * (2 if large and len(generator.mid_blocks) else sample.itemsize)
    return int(kept + sample.nbytes + _STRIP_BYTES * _WHOLE_MAPS)


def takes_strips(generator: Any) -> bool:
    """Tell if this module knows a generator: one of affine fields, or a `ResnetGenerator` that keeps the size."""
    if isinstance(generator, LocalAffineGenerator | AffineResidualGenerator):
        return True
    if not isinstance(generator, ResnetGenerator):
        return False
    return bool(generator.config["in_padding"] == generator.config["out_padding"] == 3)


@torch.inference_mode()
def translate_in_strips(
    generator: Any,
    sample: torch.Tensor,
    rows: int | None = None,
    on_piece: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Translate a batch as `generator(sample).sample` does, in strips.

    Args:
        generator: One that [`takes_strips`], in evaluation mode.
        sample: Pictures `(B, in_channels, H, W)` in [-1, 1], H and W multiples of the generator's `size_multiple`.
        rows: Rows of a strip; by default so many that its widest map has 16 MB.
        on_piece: Told after each strip of each pass how many are done, and of how many.

    Returns:
        `(B, out_channels, H, W)` in [-1, 1], in the sample's dtype.
    """
    if isinstance(generator, AffineResidualGenerator):
        return _with_margins(generator, sample, rows)
    if rows is None:
        row = len(sample) * sample.shape[3] * generator.config["block_out_channels"][0] * sample.itemsize
        rows = max(_LEAST_ROWS, _STRIP_BYTES // row)
    encoder = _encoder(generator, sample)
    low_height = encoder.heights[-1]
    low_rows = max(_LEAST_LOW_ROWS, rows * low_height // sample.shape[2])
    affine = isinstance(generator, LocalAffineGenerator)
    ups = [] if affine else generator.up_blocks
    layers = [*(_Layer(list(block)) for block in ups), _Layer(list(generator.conv_out))]
    decoder = _Chain(layers, lambda first, last: kept[:, :, first:last].to(sample.dtype), low_height)
    total = encoder.num_pieces(rows) + decoder.num_pieces(rows)
    total += _RESIDUAL_PASSES * len(generator.mid_blocks) * -(-low_height // low_rows)
    progress = Progress(on_piece, total)
    encoder.settle(rows, progress)
    kept = _kept(encoder, rows, len(generator.mid_blocks), progress)
    for block in generator.mid_blocks:
        _residual(block, kept, low_rows, progress)
    if affine:
        fields = [decoder.rows(*some) for some in progress(decoder.strips(rows))]
        return _transformed(generator, sample, torch.cat(fields, dim=2), rows)
    decoder.settle(rows, progress)
    result = sample.new_empty(len(sample), generator.config["out_channels"], decoder.heights[-1], sample.shape[3])
    for first, last in progress(decoder.strips(rows)):
        strip = decoder.rows(first, last)
        if generator.config["learn_residual"]:
            strip = strip + before_tanh(sample[:, :, first:last])
        result[:, :, first:last] = torch.tanh(strip)
    return result


def _with_margins(generator: Any, sample: torch.Tensor, rows: int | None) -> torch.Tensor:
    """Translate strips that overlap by all that an output pixel sees; no statistic spans the image."""
    multiple = generator.size_multiple
    margin = -(-generator.receptive_radius // multiple) * multiple
    height = max(multiple, (2 * margin if rows is None else rows) // multiple * multiple)
    result = torch.empty_like(sample)
    for first, last in strips(sample.shape[2], height):
        above, below = max(0, first - margin), min(sample.shape[2], last + margin)
        result[:, :, first:last] = generator.forward(sample[:, :, above:below]).sample[
            :, :, first - above : last - above
        ]
    return result


def _encoder(generator: Any, sample: torch.Tensor) -> _Chain:
    return _Chain(
        [_Layer(list(generator.conv_in)), *(_Layer(list(block)) for block in generator.down_blocks)],
        lambda first, last: sample[:, :, first:last],
        sample.shape[2],
    )


def _transformed(generator: Any, sample: torch.Tensor, field: torch.Tensor, rows: int) -> torch.Tensor:
    """Apply a coarse field to the images; each strip is enlarged with one more row on either side."""
    result, scale = torch.empty_like(sample), generator.size_multiple
    for first, last in strips(field.shape[2], max(1, rows // scale)):
        low, high = max(0, first - 1), min(field.shape[2], last + 1)
        fine = generator.enlarge(field[:, :, low:high])[:, :, (first - low) * scale : (last - low) * scale]
        inner = slice(first * scale, last * scale)
        result[:, :, inner] = generator.transform(sample[:, :, inner], fine)
    return result


def _kept(encoder: _Chain, rows: int, blocks: int, progress: Progress) -> torch.Tensor:
    """Return the encoder's map that is kept, in half precision if two of them would be too large."""
    kept: torch.Tensor | None = None
    for first, last in progress(encoder.strips(rows)):
        strip = encoder.rows(first, last)
        if kept is None:
            batch, channels, _, width = strip.shape
            numbers = batch * channels * encoder.heights[-1] * width
            large = strip.dtype == torch.float32 and 2 * numbers * strip.itemsize > _KEPT_BYTES
            dtype = torch.float16 if large and blocks else strip.dtype
            kept = strip.new_empty(batch, channels, encoder.heights[-1], width, dtype=dtype)
        kept[:, :, first:last] = strip
    assert kept is not None
    return kept


def _residual(block: Any, kept: torch.Tensor, rows: int, progress: Progress) -> None:
    """Run a `ResnetBlock` in place; it needs one more map of the same size."""
    dtype = next(block.parameters()).dtype
    height = kept.shape[2]
    first_layer = _Layer([block.pad, block.conv1, block.norm1, block.activation])
    second_layer = _Layer([block.pad, block.conv2, block.norm2])
    inner = torch.empty_like(kept)
    chain = _Chain([first_layer], lambda first, last: kept[:, :, first:last].to(dtype), height)
    for first, last in progress(strips(height, rows)):
        strip = chain.rows(first, last, raw=True)
        if first_layer.normalizes:
            first_layer.moments.add(strip)
        inner[:, :, first:last] = strip
    above = inner[:, :, :0]  # rows that the second convolution has overwritten and still needs
    for first, last in progress(strips(height, rows)):
        low, high = second_layer.needs((first, last), height)
        fresh = inner[:, :, first:high].clone()
        seen = torch.cat([above[:, :, above.shape[2] - (first - low) :], fresh], dim=2) if low < first else fresh
        above = seen[:, :, : last - low]
        strip = second_layer.convolve(first_layer.finish(seen.to(dtype)), (low, high), (first, last), height)
        if second_layer.normalizes:
            second_layer.moments.add(strip)
        inner[:, :, first:last] = strip
    for first, last in progress(strips(height, rows)):
        total = kept[:, :, first:last].to(dtype) + second_layer.finish(inner[:, :, first:last].to(dtype))
        kept[:, :, first:last] = block.activation(total) if block.activation_after_add else total


def require_memory(sample: torch.Tensor, needed: int) -> None:
    """Refuse a picture that would end this process, or others on the machine, for want of memory."""
    available = available_memory() if sample.device.type == "cpu" else None
    if available is not None and needed > available:
        raise ValueError(
            f"{sample.shape[3]}x{sample.shape[2]} pixels need about {needed / 1e9:.1f} GB of memory with this model, "
            f"and {available / 1e9:.1f} GB are free: translate at a smaller size (`size=`, `--size`), which is "
            "resized back"
        )
