"""A pipeline over exported graphs: ONNX Runtime or OpenVINO computes, and neither torch nor diffusers is loaded."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cyclegan_hf.errors import install_command, one_line
from cyclegan_hf.hub.locate import find_folder
from cyclegan_hf.image_processor import ImageInput, ImageProcessor, OutputType, Rounding
from cyclegan_hf.pipelines.tiles import margin_tiles
from cyclegan_hf.pipelines.walk import domains_of, require, walk
from cyclegan_hf.saved_format import GENERATORS, GRAPH_NAME, INDEX_NAME, OPENVINO_NAME, holds_component, read_json


Backend = Literal["onnx", "openvino"]
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
FACTS = ("size_multiple", "min_size", "resize_to_training_size", "receptive_radius")
"""What a graph notes of its generator; the last one is empty where an output pixel sees the whole picture."""

MAX_PIXELS = 2_000_000
"""Of a picture that goes through a graph whole: about 2 GB with the light model."""
_CORE = 768  # pixels of a piece's side, without its margins


@dataclass
class ExportedOutput:
    """As `CycleGANPipelineOutput`: `images`, `cycles` and `sizes`."""

    images: list[Any]
    cycles: list[Any] | None = None
    sizes: list[tuple[int, int]] | None = None


class NoGraphError(ValueError):
    """The pipeline has no exported graphs."""


class GraphNetwork:
    """One exported generator.

    Args:
        path: The graph; its weights lie beside it.
        backend: What computes it.
        num_threads: Threads; by default as many as the backend likes.

    Raises:
        ValueError: The graph cannot be read, or was exported by an older version that did not note its facts.
    """

    def __init__(self, path: Path, backend: Backend, num_threads: int | None = None) -> None:
        try:
            self._run, notes = _OPENERS[backend](path, num_threads)
        except ImportError:
            raise
        except Exception as error:  # each backend has its own
            raise ValueError(f"{path}: {backend} cannot open this graph ({one_line(error, 300)})") from error
        if any(fact not in notes for fact in FACTS):
            raise ValueError(f"{path}: this graph does not say what sizes it takes; export it again")
        self.size_multiple, self.min_size = int(notes["size_multiple"]), int(notes["min_size"])
        self.resize_to_training_size = notes["resize_to_training_size"] == "True"
        radius = int(notes["receptive_radius"] or 0)
        self._margin = -(-radius // self.size_multiple) * self.size_multiple

    @property
    def in_pieces(self) -> bool:
        """Return whether images of any size run in tiles with margins; otherwise up to `MAX_PIXELS`."""
        return self._margin > 0

    def __call__(self, sample: np.ndarray, on_piece: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Translate `(B, C, H, W)` float32 in model space.

        Args:
            sample: The pictures.
            on_piece: Told after each piece of a large picture how many are done, and of how many.

        Raises:
            ValueError: The picture is too large to go through whole, and pieces of it would differ.
        """
        sample = np.ascontiguousarray(sample, dtype=np.float32)
        height, width = sample.shape[2:]
        if height * width <= MAX_PIXELS:
            return self._run(sample)
        if not self.in_pieces:
            raise ValueError(
                f"{width}x{height} pixels are too many for this graph (at most {MAX_PIXELS:,}); torch translates "
                "pictures of any size"
            )
        core = _CORE // self.size_multiple * self.size_multiple
        result: np.ndarray | None = None
        tiles = margin_tiles(height, width, core, self._margin)
        for done, tile in enumerate(tiles, start=1):
            inner, outer, kept = tile.inner, tile.outer, tile.kept
            piece = sample[:, :, outer.top : outer.bottom, outer.left : outer.right]
            found = self._run(np.ascontiguousarray(piece))
            if result is None:
                result = np.empty((*found.shape[:2], height, width), found.dtype)
            result[:, :, inner.top : inner.bottom, inner.left : inner.right] = found[
                :, :, kept.top : kept.bottom, kept.left : kept.right
            ]
            if on_piece is not None:
                on_piece(done, len(tiles))
        assert result is not None, "a picture has a pixel"
        return result


class ExportedPipeline:
    """Translate with an exported model: `CycleGANPipeline.from_pretrained(..., backend=...)` returns one.

    Attributes:
        config: The pipeline's settings: `domain_a`, `domain_b`, `image_processor_a`, `image_processor_b`.
        backend: `"onnx"` or `"openvino"`.
    """

    def __init__(self, folder: Path, backend: Backend, num_threads: int | None = None) -> None:
        index = read_json(folder / INDEX_NAME)
        self.backend = backend
        self.config = {key: value for key, value in index.items() if key not in GENERATORS and key[0] != "_"}
        self._networks: dict[str, GraphNetwork | None] = {}
        for name in GENERATORS:
            if not holds_component(index, name):
                self._networks[name] = None
                continue
            path = folder / name / (OPENVINO_NAME if backend == "openvino" else GRAPH_NAME)
            if not path.is_file():
                path = path.with_name(GRAPH_NAME)  # which OpenVINO reads too
            if not path.is_file():
                raise NoGraphError(
                    f"{path}: expected an exported graph; make one with `cyclegan-hf export`, or leave `backend` out"
                )
            self._networks[name] = GraphNetwork(path, backend, num_threads)
        self._bar: dict[str, Any] = {}
        self.on_piece: Callable[[int, int], None] | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] | None = None,
        backend: Backend = "onnx",
        *,
        subfolder: str | None = None,
        num_threads: int | None = None,
        **hub: Any,
    ) -> ExportedPipeline:
        """Load the graphs of a pipeline.

        Args:
            model: A folder, a Hub id, or `None` for the weights that come with the library.
            backend: `"onnx"` (ONNX Runtime) or `"openvino"`.
            subfolder: Where the pipeline is inside the folder or the repository.
            num_threads: Threads; by default as many as the backend likes.
            **hub: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`.

        Raises:
            NoGraphError: It has no graphs.
            ValueError: There is no such pipeline.
            ImportError: The backend is not installed.
        """
        if backend not in _PACKAGES:
            raise ValueError(f"`backend` must be one of torch, {', '.join(_PACKAGES)}; got {backend!r}")
        require_backend(backend)
        folder = find_folder(model, list(GENERATORS), subfolder=subfolder, graphs=True, **hub)
        return cls(folder, backend, num_threads)

    def __call__(
        self,
        image: ImageInput | Iterable[ImageInput],
        direction: str = "a2b",
        return_cycle: bool = False,
        size: int | tuple[int, int] | None = None,
        batch_size: int = 1,
        output_type: OutputType = "pil",
        rounding: Rounding = "nearest",
        return_dict: bool = True,
    ) -> ExportedOutput | tuple[list[Any], list[Any] | None]:
        """Translate images; arguments, results and errors are `CycleGANPipeline.__call__`'s."""
        names = self.config["domain_a"], self.config["domain_b"]
        source, target = domains_of(direction, *names)
        ends = [(source, target), (target, source)] if return_cycle else [(source, target)]
        chain = [require(self._networks[f"generator_{start}2{end}"], start, end, *names) for start, end in ends]
        walked = walk(
            image,
            chain,
            lambda network, sample: network(sample, self.on_piece),
            (source, ImageProcessor.from_config(self.config[f"image_processor_{source}"])),
            (target, ImageProcessor.from_config(self.config[f"image_processor_{target}"])),
            size=size,
            batch_size=batch_size,
            output_type=output_type,
            rounding=rounding,
            progress=self._progress,
        )
        cycles = walked.cycles if return_cycle else None
        if not return_dict:
            return walked.images, cycles
        return ExportedOutput(images=walked.images, cycles=cycles, sizes=walked.sizes)

    @property
    def any_size(self) -> bool:
        """Whether pictures of any size go through."""
        return all(network is None or network.in_pieces for network in self._networks.values())

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Configure the progress bar with tqdm's settings."""
        self._bar = settings

    def _progress(self, total: int) -> AbstractContextManager[Any]:
        from tqdm.auto import tqdm

        return tqdm(total=total, **self._bar)


def require_backend(backend: Backend) -> None:
    """Check that a backend is installed.

    Raises:
        ImportError: It is not.
    """
    try:
        importlib.import_module(_PACKAGES[backend])
    except ImportError as error:
        raise ImportError(
            f"`backend={backend!r}` needs the extra `export`: {install_command('export')} ({error})"
        ) from error


def _open_onnx(path: Path, num_threads: int | None) -> tuple[Any, dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Idle threads sleep: where a core is busy elsewhere, spinning for a late one takes its time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    providers = [name for name in ("CUDAExecutionProvider",) if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(path, options, providers=[*providers, "CPUExecutionProvider"])
    notes = session.get_modelmeta().custom_metadata_map
    # The largest picture's memory would stay for good. Giving it back took no measurable time (256 to 1024 pixels).
    settings = onnxruntime.RunOptions()
    settings.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return lambda sample: session.run(["translation"], {"sample": sample}, settings)[0], notes


@functools.cache
def openvino_core() -> Any:
    """Return the process's `openvino.Core`, which must be the only one.

    On processors with AMX, OpenVINO 2026.4 gives the thread that first compiles a model a signal stack of its own, and
    with the core's end the one before. With two cores, ended in the order of their making, that is the other's, which
    is no more: the next signal (Ctrl-C, a child's end) then ends the process without a word.
    """
    import openvino

    return openvino.Core()


def _open_openvino(path: Path, num_threads: int | None) -> tuple[Any, dict[str, str]]:
    core = openvino_core()
    model = core.read_model(path)
    settings = {} if num_threads is None else {"INFERENCE_NUM_THREADS": num_threads}
    compiled = core.compile_model(model, "CPU", settings)
    notes = {fact: str(model.get_rt_info(["framework", fact]).astype(str)) for fact in FACTS if _noted(model, fact)}
    return lambda sample: compiled(sample)[0], notes


def _noted(model: Any, fact: str) -> bool:
    return bool(model.has_rt_info(["framework", fact]))


_OPENERS: dict[str, Any] = {"onnx": _open_onnx, "openvino": _open_openvino}
