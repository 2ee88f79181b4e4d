"""The models of the page: looked up when it starts, loaded when first used, dropped when memory is short.

Visitors name models by their names on the page. What a name stands for, a folder for one, they never learn.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from checkpoints import Checkpoint, import_library
from example_pictures import example_digest
from official import OFFICIAL_FILE
from pieces import in_pieces
from PIL import Image
from settings import MAX_SETTINGS, MAX_WEIGHTS, PHOTO_SECONDS, PIECE_BYTES
from uploads import Refusal

from cyclegan_hf.saved_files import INDEX_NAME


logger = logging.getLogger(__name__)

ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
GPU_SECONDS = 60  # of one call on ZeroGPU
HUB_ID = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")


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
                self.checkpoints[name] = Checkpoint.look_up(name, source, official=True)
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
            checkpoint = Checkpoint.look_up(name, name, info.sha)
            checkpoint.check_sizes()
        except Refusal:
            raise
        except Exception as error:
            logger.info("refused the model %s: %r", name, error)
            raise Refusal(f"There is no CycleGAN named {name} on the Hub, or it cannot be had now.") from None
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
            Refusal: the model has no such direction, failed, or took too long.
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
        except Refusal:
            raise
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
        deadline = time.monotonic() + PHOTO_SECONDS

        def run(picture: Image.Image) -> list[Image.Image]:
            if time.monotonic() > deadline:
                raise Refusal(f"This takes longer than {PHOTO_SECONDS} seconds here. Choose a smaller size.")
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
        # A stranger's graph would be a program of any size and shape: of those, only the weights are read.
        graphs = checkpoint.has_graphs and checkpoint.name in self.checkpoints
        self._loaded[key] = (load(checkpoint, graphs=graphs), checkpoint.size)
        return self._loaded[key][0]

    @property
    def loaded(self) -> list[str]:
        return [name.rpartition("@")[0] for name in self._loaded]


def load(checkpoint: Checkpoint, *, graphs: bool) -> Any:
    """A model on the device that there is: a GPU, or the processor with exported graphs where those may be used.

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
