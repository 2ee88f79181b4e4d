"""The data's part of a run's configuration."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from cyclegan_hf.images.depth import InputRange, check_input_range
from cyclegan_hf.training.data.notation import Written
from cyclegan_hf.training.limits import check_least


Source = Annotated[Written, tyro.conf.arg(metavar="SOURCE [SOURCE ...]")]

STREAM_BUFFER = 1000
"""`data.shuffle_buffer` where it is not set."""
MAX_SIDE = 8192
"""Largest side in pixels that a picture is resized to: a square of it takes 0.8 GB as float32."""


@dataclass(kw_only=True)
class DataConfig:
    """The two domains and how a picture becomes a training example."""

    a: Source = None
    """Domain A's training pictures: a folder with its sub-folders, a pattern, a list (.txt), parquet, webdataset or
    arrow files, an address (`hf://`, `https://`) or a data set on the Hub, with options after commas, such as
    `user/name,split=train,column=imageA`; several make a mix. See docs/data-sources.md."""
    b: Source = None
    """Domain B's training pictures."""
    test_a: Source = None
    """Domain A's test pictures, shown in the sample grids; unset, `test_share` of the training pictures, and without
    that training pictures are shown."""
    test_b: Source = None
    """Domain B's test pictures."""
    streaming: bool = False
    """Read data sets as they come, and keep none of them: without it they are downloaded, and mapped into memory."""
    shuffle_buffer: int | None = None
    """Rows that a stream shuffles among themselves (twice as many are held, encoded); unset, 1000. Set, it is how data
    sets that are not streamed are shuffled too, and not as a whole: in the order of a stream of the same shards."""
    stream_samples: int = 100
    """Pictures of each streamed source that are held for sample grids and scores: its test pictures, or some of
    training's."""
    allow_outside_files: bool = False
    """Let tables and lists name files outside of their own folder or repository. A stranger's table could so make you
    train with, and show in your sample grids, private files of yours."""
    test_share: float = 0.0
    """Share of a domain's training pictures that is held out as test pictures, where it has no test folder."""
    validation_share: float | None = None
    """Share of a domain's training images that is held out for validation, drawn by a hash of `split_seed` and the
    file's name; unset, 0.2 where an evaluation chooses by validation images, and else none."""
    validation_fold: int = 0
    """Which part is held out: a cross-validation is three runs with `validation_share` 0.3333 and folds 0, 1, 2."""
    split_seed: int = 0
    """Seed of what is held out, of `limit` and of the pairs: not the run's, which changes from stage to stage."""
    limit: int | None = None
    """Training pictures taken of each domain, drawn by `split_seed`: for quick trials."""
    pairing: Literal["none", "random_capped"] = "none"
    """`random_capped` trains each picture of A with a picture of B of its own, drawn once by `split_seed`."""
    pairs: str | None = None
    """Folder of `a` and `b` with aligned pictures of the same names, such as scenes rendered in both domains; see
    `losses.lambda_pairs`."""
    pairing_cap: int = 6
    """Pictures of A that may share a species of B: a class folder, or without folders the file's name up to the first
    `-`, `_` or space."""
    domain_a: str = "a"
    """Name of domain A. The command line takes it from the folder or data set of `a`, where neither this flag nor a
    recipe with a source of its own names it."""
    domain_b: str = "b"
    """Name of domain B."""
    remove_background_a: bool = False
    """Put domain A's pictures on white, once, before the training; test pictures too."""
    remove_background_b: bool = False
    """Put domain B's pictures on white."""
    background_method: Literal["auto", "rembg", "grabcut"] = "auto"
    """`rembg` (U²-Net), OpenCV's `grabcut`, or `auto`: rembg where its weights are there, else grabcut."""
    normalization: Literal["half", "dataset"] = "half"
    """`half` is [-1, 1]; `dataset` takes each domain's and channel's mean and deviation over the training pictures."""
    input_range: str | list[float] | None = None
    """Values of 16-bit, 32-bit and floating point images that become black and white: two numbers, such as `0 4095`
    for 12 bits, or `auto` for each image's own smallest and largest; unset, all that the type holds. The model keeps
    it."""
    image_size: int = 256
    """Height and width of the training crops, in pixels."""
    image_size_b: int | None = None
    """The same for domain B; unset, as A."""
    load_size: tuple[int, int] = (286, 286)
    """Smallest and largest size a picture is resized to before the crop, in pixels; drawn evenly in between."""
    load_size_b: tuple[int, int] | None = None
    """The same for domain B; unset, in A's proportion to the crop."""
    resize_mode: Literal["squash", "short_side"] = "squash"
    """`squash` resizes to a square (the official code); `short_side` keeps the aspect."""
    horizontal_flip: bool = True
    """Mirror half of the pictures."""
    rotation: float = 0.0
    """Largest turn either way, in degrees."""
    resize_jitter: float = 0.0
    """Largest change of the scale either way, as a share: 0.1 is ±10 %."""
    crop_fraction: float = 0.0
    """Largest share of a crop's width and height that is cut away; the rest is enlarged again."""
    affine: float = 0.0
    """Largest shift, as a share of the crop, and largest shear, either way."""
    color_jitter: float = 0.0
    """Largest change of brightness, contrast and saturation either way, as a share."""
    blur: float = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    posterize_bits: int = 0
    """Fewest bits that a channel keeps, of 8; 0 keeps all."""
    num_workers: int = 2
    """Loader processes for each domain."""
    max_bad_share: float = 0.01
    """Share of a domain's pictures that may be unreadable before the run stops; one always may."""

    def __post_init__(self) -> None:
        check_input_range(self.input_range, "data.input_range")
        check_least(self, "data.", {"image_size": 1, "image_size_b": 1, "limit": 1, "pairing_cap": 1})
        check_least(self, "data.", {"shuffle_buffer": 1, "stream_samples": 1})
        check_least(
            self, "data.", dict.fromkeys(["split_seed", "validation_fold", "num_workers", "max_bad_share", "blur"], 0)
        )
        if self.validation_fold and (self.validation_fold + 1) * (self.validation_share or 0) > 1:
            raise ValueError(
                f"`data.validation_fold` must be below 1 / `data.validation_share`, got {self.validation_fold} with "
                f"{self.validation_share}."
            )
        for name in ("test_share", "validation_share", "resize_jitter", "crop_fraction", "affine"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`data.{name}` must be in [0, 1), got {value}.")
        for name, highest in (("rotation", 180), ("color_jitter", 1), ("posterize_bits", 8)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"`data.{name}` must be in [0, {highest}], got {getattr(self, name)}.")
        if not (self.domain_a and self.domain_b) or self.domain_a == self.domain_b:
            raise ValueError(
                "`data.domain_a` and `data.domain_b` must be two different names, got "
                f"{self.domain_a!r} and {self.domain_b!r}."
            )
        for end, (low, high), size in zip(("", "_b"), self.load_sizes, self.image_sizes, strict=True):
            if not size <= low <= high:
                raise ValueError(
                    f"`data.load_size{end}` must be [smallest, largest] with {size} (`data.image_size{end}`) <= "
                    f"smallest <= largest, got {[low, high]}."
                )
            if high > MAX_SIDE:
                raise ValueError(f"`data.load_size{end}` must be at most {MAX_SIDE}, got {high}.")

    @property
    def values(self) -> InputRange:
        """`input_range` as it is read."""
        return check_input_range(self.input_range, "data.input_range")

    @property
    def buffer(self) -> int:
        """Rows that are shuffled among themselves, where pictures come through a buffer."""
        return STREAM_BUFFER if self.shuffle_buffer is None else self.shuffle_buffer

    @property
    def image_sizes(self) -> tuple[int, int]:
        """Side of the crops of domains A and B, in pixels."""
        return self.image_size, self.image_size if self.image_size_b is None else self.image_size_b

    @property
    def load_sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """`load_size` of domains A and B."""
        if self.load_size_b is not None:
            return self.load_size, self.load_size_b
        size, size_b = self.image_sizes
        low, high = (round(side * size_b / size) for side in self.load_size)
        return self.load_size, (low, high)
