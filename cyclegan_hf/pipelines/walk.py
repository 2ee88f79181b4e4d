"""The one walk of a picture through a model, whatever computes it: fitted, translated, restored. Needs no torch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cyclegan_hf.image_processor import ImageInput, ImageProcessor, OutputType, Rounding
from cyclegan_hf.images.io import iterate_images


Domain = Literal["a", "b"]


class Network(Protocol):
    """The interface of a generator that translation uses."""

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be a multiple of it."""

    @property
    def min_size(self) -> int:
        """The smallest height and width."""

    @property
    def resize_to_training_size(self) -> bool:
        """Whether pictures go through at the size that it was trained at."""


@dataclass
class Walked:
    """Results in input order.

    Attributes:
        images: The translations.
        cycles: Each translated back, where asked for.
        sizes: The (height, width) at which each went through the generator.
    """

    images: list[Any] = field(default_factory=list)
    cycles: list[Any] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def domains_of(direction: str, domain_a: str, domain_b: str) -> tuple[Domain, Domain]:
    """Return the source and the target of a direction.

    Args:
        direction: `"a2b"`, `"b2a"`, or the same with the domains' names.
        domain_a: Name of domain a.
        domain_b: Name of domain b.

    Raises:
        ValueError: It is another word.
    """
    if direction in ("a2b", f"{domain_a}2{domain_b}"):
        return "a", "b"
    if direction in ("b2a", f"{domain_b}2{domain_a}"):
        return "b", "a"
    names = dict.fromkeys(("a2b", "b2a", f"{domain_a}2{domain_b}", f"{domain_b}2{domain_a}"))
    raise ValueError(f"`direction` must be one of {', '.join(names)}; got {direction!r}")


def require(network: Any, source: Domain, target: Domain, domain_a: str, domain_b: str) -> Any:
    """Return the generator of a direction.

    Raises:
        ValueError: The pipeline goes one way only, and this is the other.
    """
    if network is None:
        names = {"a": domain_a, "b": domain_b}
        raise ValueError(
            f"this pipeline has no `generator_{source}2{target}`: it only translates {target}2{source} "
            f"({names[target]} to {names[source]})"
        )
    return network


def walk(
    image: ImageInput | Iterable[ImageInput],
    chain: Sequence[Network],
    run: Callable[[Any, Any], Any],
    source: tuple[Domain, ImageProcessor],
    target: tuple[Domain, ImageProcessor],
    *,
    size: int | tuple[int, int] | None,
    batch_size: int,
    output_type: OutputType,
    rounding: Rounding,
    progress: Callable[[int], AbstractContextManager[Any]],
) -> Walked:
    """Translate images; the arguments that aren't here are `CycleGANPipeline.__call__`'s.

    Args:
        image: One picture or many.
        chain: The generator, and the one that goes back where cycles are asked for.
        run: Takes a network and its input, `(B, C, H, W)` in model space, and returns its output.
        source: The domain that the pictures come from, and its processor.
        target: The one that they go to.
        size: What the pictures are to fit into.
        batch_size: The most pictures at once.
        output_type: Of the results.
        rounding: Of their pixels.
        progress: Makes a progress bar for so many pictures.

    Raises:
        ValueError: As `CycleGANPipeline.__call__`.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer, got {batch_size!r}")
    if size is None and any(network.resize_to_training_size for network in chain):
        size = source[1].size
        if size is None:
            raise ValueError(
                f"{type(chain[0]).__name__} runs at its training size: pass `size=`, "
                f"or store it as `size` in `image_processor_{source[0]}`"
            )
    pictures = list(iterate_images(image))
    if not pictures:
        raise ValueError("expected at least one picture, got an empty list")
    nothing: list[Any] = [None] * len(pictures)
    walked = Walked(images=[*nothing], cycles=[*nothing] if len(chain) > 1 else [], sizes=[*nothing])
    batches = source[1].batches(
        pictures,
        batch_size=batch_size,
        size=size,
        size_multiple=math.lcm(*(network.size_multiple for network in chain)),
        min_size=max(network.min_size for network in chain),
    )
    bar = progress(len(pictures)) if len(pictures) > 1 else contextlib.nullcontext()
    with bar as shown:
        for batch in batches:
            sample = batch.pixel_values  # (B, C, H, W) in model space
            ends = ((walked.images, target[1]), (walked.cycles, source[1]))
            for network, (results, processor) in zip(chain, ends, strict=False):
                sample = run(network, sample)
                found = processor.postprocess(sample, batch.geometries, output_type=output_type, rounding=rounding)
                for index, result in zip(batch.indices, found, strict=True):
                    results[index] = result
            for index, geometry in zip(batch.indices, batch.geometries, strict=True):
                walked.sizes[index] = geometry.model_size
            if shown is not None:
                shown.update(len(batch.indices))
    return walked
