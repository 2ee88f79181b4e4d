"""The models of the page: looked up when it starts, loaded when first used, dropped when memory is short.

Visitors name models by their names on the page. What a name stands for, a folder for one, they never learn.
"""

import importlib
import importlib.util
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from checkpoints import Checkpoint, import_library
from official import OFFICIAL_FILE
from pieces import Pieces, WholePicture
from PIL import Image
from settings import MAX_SETTINGS, MAX_WEIGHTS, PHOTO_SECONDS, PIECE_BYTES, WHOLE_BYTES
from turns import Ticket, Turns, waiting
from uploads import Refusal

from cyclegan_hf.hub.timeouts import answer_seconds
from cyclegan_hf.saved_format import INDEX_NAME


logger = logging.getLogger(__name__)

ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
GPU_SECONDS = 60  # of one call on ZeroGPU
HUB_ID = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")


@dataclass(frozen=True)
class Step:
    """How far a picture's translation is.

    Attributes:
        done: pieces that are translated.
        total: pieces of the picture.
        ahead: requests that get their turn before this one; 0 while it is its turn.
        results: at the end, the translation and, where asked for, that one translated back.
    """

    done: int
    total: int
    ahead: int = 0
    results: list[Image.Image] = field(default_factory=list)


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
        self._turns = Turns()
        self._compute = on_gpu(self._compute)  # type: ignore[method-assign]
        for source in sources:
            name = unused(display_name(source), self.checkpoints)
            try:
                self.checkpoints[name] = Checkpoint.look_up(name, source, official=True)
            except ValueError as error:
                if not self.checkpoints:
                    raise
                logger.warning("left out the model %s: %s", source, error)

    @property
    def first(self) -> Checkpoint:
        return next(iter(self.checkpoints.values()))

    def find(self, name: str | None) -> Checkpoint:
        """Return a model by its name on the page; by default the first.

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
        """Look at a model of the Hub that a visitor named: never a folder here, and nothing that is too large."""
        if not HUB_ID.fullmatch(name) or ".." in name:
            raise Refusal("Name a model of the Hub, such as user/name.")
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(name, files_metadata=True, timeout=answer_seconds())
            files = {file.rfilename: file.size or 0 for file in info.siblings or []}
            if INDEX_NAME not in files and any(map(OFFICIAL_FILE.fullmatch, files)):
                raise Refusal(
                    f"{name} holds pickled files of the official code, and models named here are read from "
                    "safetensors files only. `cyclegan-hf convert` makes those."
                )
            settings = (size for file, size in files.items() if file.endswith((".json", ".yaml", ".md")))
            weights = sum(size for file, size in files.items() if file.startswith("generator_"))
            if weights > MAX_WEIGHTS or max(settings, default=0) > MAX_SETTINGS:
                raise Refusal(f"This model is too large. {MAX_WEIGHTS // 10**6} MB are the most.")
            if Path(name).exists():  # the answer must not tell what folders there are here
                raise FileExistsError("a folder of that name is in the way")
            checkpoint = Checkpoint.look_up(name, name, info.sha)
            checkpoint.check_sizes()
        except Refusal:
            raise
        except Exception as error:
            logger.info("refused a model: %s", type(error).__name__)
            raise Refusal(f"There is no CycleGAN named {name} on the Hub, or it cannot be had now.") from None
        self._visitors[name] = checkpoint
        while len(self._visitors) > 50:
            self._visitors.popitem(last=False)
        return checkpoint

    def steps(
        self, checkpoint: Checkpoint, picture: Image.Image, direction: str, *, cycle: bool = False
    ) -> Iterator["Step"]:
        """Translate a picture; yield while it waits and after each piece, so that a caller can show it, or stop.

        Args:
            checkpoint: the model.
            picture: of a size that it takes here.
            direction: `"a2b"` or `"b2a"`.
            cycle: also translate back.

        Yields:
            [`Step`]: the last one has the results.

        Raises:
            Refusal: the model has no such direction, failed, or took too long.
        """
        for wanted in [direction, direction[::-1]] if cycle else [direction]:
            if wanted not in checkpoint.domains:
                raise Refusal(f"The direction must be one of {', '.join(checkpoint.domains)}.")
        if checkpoint.reach[0] is None or picture.width * picture.height <= WHOLE_BYTES // checkpoint.bytes_per_pixel:
            yield from self._pass(checkpoint, WholePicture(picture), direction, cycle)
            return
        # The way back sees twice as far, and its pieces would be margins for the most part: it goes by itself.
        ways, found = [direction, direction[::-1]] if cycle else [direction], [picture]
        for index, way in enumerate(ways):
            for step in self._pass(checkpoint, self._pieces(checkpoint, found[-1]), way, cycle=False):
                if step.results:
                    found += step.results
                else:
                    yield replace(step, done=step.done + index * step.total, total=len(ways) * step.total)
        yield Step(1, 1, results=found[1:])

    def _pieces(self, checkpoint: Checkpoint, picture: Image.Image) -> Pieces:
        radius, multiple = checkpoint.reach
        assert radius is not None
        return Pieces(picture, radius, multiple=multiple, most=PIECE_BYTES // checkpoint.bytes_per_pixel)

    def _pass(
        self, checkpoint: Checkpoint, pieces: Pieces | WholePicture, direction: str, cycle: bool
    ) -> Iterator[Step]:
        """Translate all pieces of a picture, each at its turn."""
        total = len(pieces.tiles)
        at_once = total if ZERO_GPU else 1  # a GPU that is lent takes all of them in one call
        ticket, seconds = Ticket(long=total > 1), 0.0
        for start in range(0, total, at_once):
            self._turns.join(ticket)
            try:
                for _ in waiting(lambda timeout: ZERO_GPU or self._turns.take(ticket, timeout)):
                    yield Step(start, total, ahead=self._turns.ahead(ticket))
            finally:
                self._turns.leave(ticket)
            begin, tiles = time.monotonic(), pieces.tiles[start : start + at_once]
            try:
                found = self._try(checkpoint, [pieces.crop(tile) for tile in tiles], direction, cycle)
            finally:
                if not ZERO_GPU:
                    self._turns.give_back()
            for tile, results in zip(tiles, found, strict=True):
                pieces.paste(tile, results)
            seconds += time.monotonic() - begin
            if start + at_once < total:
                if seconds > PHOTO_SECONDS:
                    raise Refusal(f"This takes longer than {PHOTO_SECONDS} seconds here. Choose a smaller size.")
                yield Step(start + at_once, total)
        yield Step(total, total, results=pieces.results())

    def translate(
        self, checkpoint: Checkpoint, pictures: list[Image.Image], direction: str, *, cycle: bool = False
    ) -> list[list[Image.Image]]:
        """Translate pictures, one at a time; see `steps`.

        Returns:
            `list`: for each picture its translation and, where asked for, that one translated back.
        """
        found = []
        for picture in pictures:
            *_, last = self.steps(checkpoint, picture, direction, cycle=cycle)
            found.append(last.results)
        return found

    def _try(
        self, checkpoint: Checkpoint, pictures: list[Image.Image], direction: str, cycle: bool
    ) -> list[list[Image.Image]]:
        try:
            return self._compute(checkpoint, pictures, direction, cycle)
        except Exception as error:  # out of memory, above all: the log has it, the visitor gets advice
            logger.exception("%s %s failed on %s", checkpoint.name, direction, [photo.size for photo in pictures])
            hint = "" if isinstance(error, OSError | ValueError) else " A smaller size may work."
            raise Refusal(f"The translation failed.{hint}") from None

    def _compute(
        self, checkpoint: Checkpoint, pictures: list[Image.Image], direction: str, cycle: bool
    ) -> list[list[Image.Image]]:
        """Run what needs the device; on ZeroGPU another process does, which gets the arguments."""
        pipeline = self._pipeline(checkpoint)
        results = []
        for picture in pictures:
            output = pipeline(picture, direction=direction, return_cycle=cycle)
            results.append([output.images[0], *(output.cycles or [])])
        return results

    def _pipeline(self, checkpoint: Checkpoint) -> Any:
        """Return a loaded model; drop the least recently used one if memory is short."""
        key = f"{checkpoint.name}@{checkpoint.revision}"
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key][0]
        while self._loaded and sum(size for _, size in self._loaded.values()) + checkpoint.size > self.budget:
            name, _ = self._loaded.popitem(last=False)
            logger.info("dropped %s", name)
        # A stranger's graph would be a program of any size and shape: of those, only the weights are read.
        graphs = checkpoint.has_graphs and checkpoint.name in self.checkpoints
        self._loaded[key] = (load(checkpoint, graphs=graphs), checkpoint.size)
        return self._loaded[key][0]

    @property
    def loaded(self) -> list[str]:
        return [name.rpartition("@")[0] for name in self._loaded]


def load(checkpoint: Checkpoint, *, graphs: bool) -> Any:
    """Load a model on the available device: a GPU, or the CPU with exported graphs if they may be used.

    On a processor ONNX Runtime took a quarter to a half of torch's time (the bundled weights, 512×384, in turn).
    """
    import_library()
    import torch

    from cyclegan_hf import CycleGANPipeline

    source, revision = checkpoint.folder or checkpoint.source, checkpoint.revision
    device = "cuda" if ZERO_GPU else torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if str(device) == "cpu" and graphs and importlib.util.find_spec("onnxruntime"):
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


def display_name(source: str | None) -> str:
    if source is None:
        return "bundled"
    return Path(source).resolve().name if Path(source).exists() else source


def unused(name: str, taken: dict[str, Any]) -> str:
    return next(each for each in (name, *(f"{name} ({n})" for n in range(2, 1000))) if each not in taken)
