"""The models of the page: what they are, from their small files; loaded when first used, dropped when memory is short.

Visitors name models by their names on the page. What a name stands for, a folder for one, they never learn.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import logging
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pieces import in_pieces
from PIL import Image
from settings import HERE, MAX_TRANSLATED_PIXELS, MAX_WEIGHTS, PICTURE_BYTES, PIECE_BYTES
from uploads import Refusal

import cyclegan_hf
from cyclegan_hf.hub_info import describe
from cyclegan_hf.pipelines.folders import find_folder, is_hub_id


logger = logging.getLogger(__name__)

ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
GPU_SECONDS = 60  # of one call on ZeroGPU
HUB_ID = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
GENERATORS = [name for name in cyclegan_hf.__all__ if name.endswith("Generator")]
BYTES_A_VALUE = 4
MAPS_AT_ONCE = 6  # of the first layer's channels, in float32: what a network needs for a pixel (measured: 750 bytes)


@dataclass(frozen=True)
class Checkpoint:
    """A model, before it is loaded.

    Attributes:
        name: what visitors call it.
        source: folder, Hub id, or `None` for the bundled weights.
        facts: `describe`'s.
        domains: (source, target) of each direction that it has.
        revision: the commit that a visitor's model was looked at.
    """

    name: str
    source: str | None
    facts: dict[str, Any]
    domains: dict[str, tuple[str, str]]
    revision: str | None = None

    @classmethod
    def look_up(cls, name: str, source: str | None, revision: str | None = None) -> "Checkpoint":
        """Reads a model's small files.

        Raises:
            ValueError: there is no such model.
        """
        is_hub_id(source)  # or else it says what it should be
        try:
            facts = describe(source, revision=revision)
        except ValueError:
            if (folder := downloaded(source, revision)) is None:
                raise
            facts = describe(folder) | {"model": source, "commit": folder.name}
        for network in facts["generators"].values():
            if network["class"] not in GENERATORS:
                raise ValueError(f"{name}: expected a generator of this library, got {network['class']!r}")
        a, b = facts["domains"]["a"], facts["domains"]["b"]
        every = {"a2b": (a, b), "b2a": (b, a)}
        domains = {key: pair for key, pair in every.items() if f"generator_{key}" in facts["generators"]}
        return cls(name, source, facts, domains, revision)

    @property
    def labels(self) -> dict[str, str]:
        """What each direction is called on the page."""
        return {key: " → ".join(map(title_case, pair)) for key, pair in self.domains.items()}

    @property
    def title(self) -> str:
        return next(iter(self.labels.values())).replace("→", "↔" if len(self.domains) == 2 else "→")

    @property
    def size(self) -> int:
        """Bytes of the loaded weights."""
        return BYTES_A_VALUE * sum(network["values"] for network in self.facts["generators"].values())

    @property
    def has_graphs(self) -> bool:
        return all(f"{name}/model.onnx" in self.facts["files"] for name in self.facts["generators"])

    @functools.cached_property
    def reach(self) -> tuple[int | None, int]:
        """How far a result's pixel sees (`None`: over the whole picture), and what sides must be a multiple of."""
        networks = self.skeletons()
        radii = [getattr(network, "receptive_radius", None) for network in networks]
        multiple = math.lcm(*(network.size_multiple for network in networks))
        return None if None in radii else max(radii), multiple

    def skeletons(self) -> list[Any]:
        """The generators without their weights."""
        import torch

        with torch.device("meta"):
            return [
                getattr(cyclegan_hf, network["class"])(**network["config"])
                for network in self.facts["generators"].values()
            ]

    def check_sizes(self) -> None:
        """A stranger's settings must be those of the stranger's weights, before anything of their size is built.

        Raises:
            ValueError: they are not.
        """
        numbers = [value for network in self.facts["generators"].values() for value in leaves(network["config"])]
        if max((value for value in numbers if isinstance(value, int)), default=0) > 4096:
            raise ValueError("settings out of range")
        for network, facts in zip(self.skeletons(), self.facts["generators"].values(), strict=True):
            if sum(value.numel() for value in network.state_dict().values()) > facts["values"]:
                raise ValueError("settings of a larger network than the weights are of")

    @property
    def bytes_per_pixel(self) -> int:
        configs = [network["config"] for network in self.facts["generators"].values()]
        return BYTES_A_VALUE * MAPS_AT_ONCE * max(config.get("block_out_channels", [64])[0] for config in configs)

    def most_pixels(self, pixels: int) -> int:
        """The largest photo that may be translated, where one of so many pixels is asked for."""
        whole = PICTURE_BYTES // self.bytes_per_pixel
        return whole if pixels <= whole or self.reach[0] is None else MAX_TRANSLATED_PIXELS


class Shelf:
    """All models that visitors may use.

    Args:
        sources: the owner's; the first one is the page's. Those that cannot be had are left out with a line in the
            log, the first one may not be missing.
        any_model: visitors may name models of the Hub.
        budget: bytes of the weights that stay loaded; the model in use always does.

    Raises:
        ValueError: the first model cannot be had.
    """

    def __init__(self, sources: list[str | None], *, any_model: bool = False, budget: int) -> None:
        self.any_model, self.budget = any_model, budget
        self.checkpoints: dict[str, Checkpoint] = {}
        self._visitors: OrderedDict[str, Checkpoint] = OrderedDict()
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._examples: dict[str, list[Image.Image]] = {}
        self._lock = threading.Lock()
        self._compute = on_gpu(self._compute)  # type: ignore[method-assign]
        for source in sources:
            name = unused(display_name(source), self.checkpoints)
            try:
                self.checkpoints[name] = Checkpoint.look_up(name, source)
            except ValueError as error:
                if not self.checkpoints:
                    raise
                logger.warning("left out the model %s: %s", source, error)

    @property
    def first(self) -> Checkpoint:
        return next(iter(self.checkpoints.values()))

    def find(self, name: str | None) -> Checkpoint:
        """A model by its name on the page; by default the first.

        Raises:
            Refusal: there is none of that name, or visitors may not use it.
        """
        if not name:
            return self.first
        if (found := self.checkpoints.get(name)) is not None:
            return found
        if not self.any_model:
            raise Refusal(f"The model must be one of {', '.join(self.checkpoints)}.")
        return self._visitors.get(name) or self._admit(name)

    def _admit(self, name: str) -> Checkpoint:
        """Looks at a model of the Hub that a visitor named: never a folder here, and nothing that is too large."""
        if not HUB_ID.fullmatch(name) or ".." in name or Path(name).exists():
            raise Refusal("Name a model of the Hub, such as user/name.")
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(name, files_metadata=True)
            files = [file for file in info.siblings or [] if file.rfilename.startswith("generator_")]
            too_large = sum(file.size or 0 for file in files) > MAX_WEIGHTS
            checkpoint = None if too_large else Checkpoint.look_up(name, name, info.sha)
            if checkpoint is not None:
                checkpoint.check_sizes()
        except Exception as error:
            logger.info("refused the model %s: %r", name, error)
            raise Refusal(f"There is no CycleGAN named {name} on the Hub, or it cannot be had now.") from None
        if checkpoint is None:
            raise Refusal(f"This model is too large. {MAX_WEIGHTS // 10**6} MB are the most.")
        self._visitors[name] = checkpoint
        while len(self._visitors) > 50:
            self._visitors.popitem(last=False)
        return checkpoint

    def translate(
        self, checkpoint: Checkpoint, pictures: list[Image.Image], direction: str, *, cycle: bool = False
    ) -> list[list[Image.Image]]:
        """Translates pictures, one at a time, so that others get their turn between two.

        Args:
            checkpoint: the model.
            pictures: of sizes that it takes here.
            direction: `"a2b"` or `"b2a"`.
            cycle: also translate back.

        Returns:
            `list`: for each picture its translation and, where asked for, that one translated back.

        Raises:
            Refusal: the model has no such direction, or failed.
        """
        for wanted in [direction, direction[::-1]] if cycle else [direction]:
            if wanted not in checkpoint.domains:
                raise Refusal(f"The direction must be one of {', '.join(checkpoint.domains)}.")
        keys = [f"{checkpoint.name} {direction} {cycle} {digest}" for digest in map(example_digest, pictures)]
        if all(key in self._examples for key in keys):
            return [self._examples[key] for key in keys]
        try:
            with contextlib.nullcontext() if ZERO_GPU else self._lock:
                results = self._compute(checkpoint, pictures, direction, cycle)
        except Exception as error:  # out of memory, above all: the log has it, the visitor gets advice
            logger.exception("%s %s failed on %s", checkpoint.name, direction, [photo.size for photo in pictures])
            hint = "" if isinstance(error, OSError | ValueError) else " A smaller size may work."
            raise Refusal(f"The translation failed.{hint}") from None
        for key, result in zip(keys, results, strict=True):
            if not key.endswith(" ") and checkpoint.name in self.checkpoints:
                self._examples[key] = result
        return results

    def _compute(
        self, checkpoint: Checkpoint, pictures: list[Image.Image], direction: str, cycle: bool
    ) -> list[list[Image.Image]]:
        """What needs the device; on ZeroGPU another process does it, to which the arguments are sent."""
        pipeline = self._pipeline(checkpoint)

        def run(picture: Image.Image) -> list[Image.Image]:
            output = pipeline(picture, direction=direction, return_cycle=cycle)
            return [output.images[0], *(output.cycles or [])]

        results = []
        for picture in pictures:
            most = PIECE_BYTES // checkpoint.bytes_per_pixel
            if picture.width * picture.height <= most or (radius := checkpoint.reach[0]) is None:
                results.append(run(picture))
                continue
            reach = radius * (2 if cycle else 1)
            results.append(in_pieces(picture, run, reach, multiple=checkpoint.reach[1], most=most))
        return results

    def _pipeline(self, checkpoint: Checkpoint) -> Any:
        """A loaded model; what was not used for the longest time goes where the memory is short."""
        key = f"{checkpoint.name}@{checkpoint.revision}"
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key][0]
        while self._loaded and sum(size for _, size in self._loaded.values()) + checkpoint.size > self.budget:
            name, _ = self._loaded.popitem(last=False)
            logger.info("dropped %s", name)
        self._loaded[key] = (load(checkpoint), checkpoint.size)
        return self._loaded[key][0]

    @property
    def loaded(self) -> list[str]:
        return [name.rpartition("@")[0] for name in self._loaded]


def load(checkpoint: Checkpoint) -> Any:
    """A model on the device that there is: a GPU, or the processor with exported graphs where the model has them.

    On a processor ONNX Runtime took 0.7 of torch's time, in float32 as in bfloat16 (the bundled weights, 512×384).
    """
    import torch

    from cyclegan_hf import CycleGANPipeline

    source, revision = checkpoint.source, checkpoint.revision
    device = "cuda" if ZERO_GPU else torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if str(device) == "cpu" and checkpoint.has_graphs and importlib.util.find_spec("onnxruntime"):
        pipeline = CycleGANPipeline.from_pretrained(source, revision=revision, backend="onnx")
        logger.info("%s: ONNX Runtime on the processor", checkpoint.name)
        return pipeline
    pipeline = CycleGANPipeline.from_pretrained(source, revision=revision).to(device).optimize()
    logger.info("%s: torch on %s", checkpoint.name, device)
    return pipeline


def on_gpu(function: Any) -> Any:
    """ZeroGPU lends a GPU for the time of a call; elsewhere nothing changes."""
    if not ZERO_GPU:
        return function
    return importlib.import_module("spaces").GPU(duration=GPU_SECONDS)(function)


def downloaded(source: str | None, revision: str | None) -> Path | None:
    """Where a model of the Hub lies that was loaded before: without a connection it will do."""
    if source is None or Path(source).exists():
        return None
    with contextlib.suppress(ValueError, OSError):
        return find_folder(
            source, ["generator_a2b", "generator_b2a"], revision=revision, graphs=True, local_files_only=True
        )
    return None


def leaves(value: Any) -> Iterator[Any]:
    """The plain values inside JSON."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


def display_name(source: str | None) -> str:
    if source is None:
        return "bundled"
    return Path(source).resolve().name if Path(source).exists() else source


def unused(name: str, taken: dict[str, Any]) -> str:
    return next(each for each in (name, *(f"{name} ({n})" for n in range(2, 1000))) if each not in taken)


def title_case(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def example_files(domain: str) -> list[Path]:
    """The pictures of a domain that come with the page."""
    return [path for path in _all_examples() if path.parent.name == domain]


@functools.cache
def _all_examples() -> tuple[Path, ...]:
    return tuple(sorted((HERE / "examples").glob("*/*.jpg")))


def example_digest(picture: Image.Image) -> str:
    """Names a picture that comes with the page by its pixels; a visitor's own has no name, and no result is kept."""
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return digest if digest in _example_digests() else ""


@functools.cache
def _example_digests() -> frozenset[str]:
    digests = set()
    for path in _all_examples():
        with Image.open(path) as picture:
            digests.add(hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest())
    return frozenset(digests)
