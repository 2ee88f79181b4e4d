"""ONNX graphs over the weight files that are there already.

A graph is some tens of kilobytes beside `diffusion_pytorch_model.safetensors`: its initialisers are external data,
byte ranges of that file, which ONNX Runtime and OpenVINO read in place.
"""

import contextlib
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.errors import install_command
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.pipeline_exported import FACTS
from cyclegan_hf.saved_format import GENERATORS, GRAPH_NAME, weights_name


logger = logging.getLogger(__name__)

WEIGHTS_NAME = weights_name(None)
OPSET = 18
PARITY_TOLERANCE = 1e-3  # in [-1, 1]: an eighth of one of 255 steps
LEVELS = 127.5  # steps of 255 in one unit of [-1, 1]

_DTYPES: dict[str, Any] = {"F16": np.float16, "F32": np.float32}
_MAX_INLINE = 4096  # bytes; constants of the graph itself, such as the widths of a padding


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """Result of exporting one generator.

    Attributes:
        path: The graph.
        num_bytes: Its size.
        num_tensors: Initialisers that lie in the safetensors file; 0 where they are in the graph.
        max_difference: Largest difference between ONNX Runtime's output and torch's, in [-1, 1], over two input sizes;
            `None` where ONNX Runtime is not installed.
        mean_difference: Its mean over all values.
    """

    path: Path
    num_bytes: int
    num_tensors: int
    max_difference: float | None
    mean_difference: float | None = None

    def __str__(self) -> str:
        weights = f"over {self.num_tensors} tensors" if self.num_tensors else "with its weights"
        size = f"{self.path}: {self.num_bytes:,} bytes {weights}"
        if self.max_difference is None or self.mean_difference is None:
            return f"{size}, not compared: no onnxruntime"
        levels = [f"{difference * LEVELS:.2g}" for difference in (self.max_difference, self.mean_difference)]
        return (
            f"{size}, differs from torch by at most {self.max_difference:.1e}, on average {self.mean_difference:.1e} "
            f"in [-1, 1]: {levels[0]} and {levels[1]} of 255 levels"
        )


def export_onnx(pipeline_folder: str | os.PathLike[str], *, embed_weights: bool = False) -> list[OnnxReport]:
    """Write `model.onnx` beside the weights of each generator of a saved pipeline.

    Input `sample` of shape `(batch, in_channels, height, width)` and output `translation` are float32 in [-1, 1];
    batch, height and width are free within what the generator takes (its `size_multiple` and `min_size`). float16
    weights stay as they are in the file, and the graph casts them. Only standard operators, opset 18.

    A graph holds for weight files with the same tensors at the same places: new weights of the same architecture and
    precision may take the old ones' place, anything else needs a new graph. OpenVINO wants both files in one folder,
    and no links to elsewhere as in the Hub's cache.

    Args:
        pipeline_folder: A folder that [`CycleGANPipeline.save_pretrained`] wrote.
        embed_weights: Put the weights into the graphs, in the file's precision: `model.onnx` then needs no other file.

    Returns:
        One report a generator.

    Raises:
        ImportError: The extra `export` is not installed.
        ValueError: The folder is no pipeline, its weights are neither float16 nor float32, or a graph does not give
            what torch gives. No graph is written for that generator.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"exporting needs the extra `export`: {install_command('export')} ({error})") from error
    folder = Path(pipeline_folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of a saved pipeline, found no such folder")
    pipeline = CycleGANPipeline.from_pretrained(folder)
    generators = {name: getattr(pipeline, name) for name in GENERATORS}
    return [_export(model, folder / name, embed_weights) for name, model in generators.items() if model is not None]


def _export(generator: Any, folder: Path, embed_weights: bool) -> OnnxReport:
    noise = torch.Generator().manual_seed(0)  # leaves the caller's random state alone
    samples = [torch.rand(shape, generator=noise) * 2 - 1 for shape in _shapes(generator)]
    model = _traced(generator, samples[0])
    num_tensors = _refer(model, folder / WEIGHTS_NAME)
    if embed_weights:
        from onnx.external_data_helper import load_external_data_for_model

        load_external_data_for_model(model, str(folder))
    for fact in FACTS:
        value = getattr(generator, fact, None)
        model.metadata_props.add(key=fact, value="" if value is None else str(value))
    path = folder / GRAPH_NAME
    with whole_file(path) as temporary:  # beside the weights, so that it finds them
        temporary.write_bytes(model.SerializeToString())
        differences = _differences(generator, temporary, samples)
    largest, mean = differences or (None, None)
    return OnnxReport(
        path=path,
        num_bytes=path.stat().st_size,
        num_tensors=0 if embed_weights else num_tensors,
        max_difference=largest,
        mean_difference=mean,
    )


def _shapes(generator: Any) -> list[tuple[int, int, int, int]]:
    """Return two input shapes. In the first, all axes differ and none is 1: tracing merges equal axes."""
    channels, multiple = generator.config["in_channels"], generator.size_multiple

    def fitted(side: int) -> int:
        return -(-max(side, generator.min_size) // multiple) * multiple

    return [(2, channels, fitted(64), fitted(64) + fitted(32)), (1, channels, fitted(256), fitted(256))]


class _Translation(torch.nn.Module):
    """A generator with one input and one output, as a graph has them."""

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        translation: torch.Tensor = self.generator(sample, return_dict=False)[0]
        return translation


def _traced(generator: Any, sample: torch.Tensor) -> Any:
    """Trace a generator to an `onnx.ModelProto` with its weights inside."""
    from onnxscript import optimizer

    with _quiet_exporter():
        program = torch.onnx.export(
            _Translation(generator),
            (sample,),
            input_names=["sample"],
            output_names=["translation"],
            dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None  # it is `None` only without `dynamo`
        # Only the arithmetic on shapes. The exporter's whole optimiser also folds batch norms into convolutions, whose
        # weights are then no longer those of the file.
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output):
        del part.metadata_props[:]  # stack traces, with this machine's paths
        part.doc_string = ""
    for axis, name in ((2, "output_height"), (3, "output_width")):  # formulas in the tracer's own notation
        graph.output[0].type.tensor_type.shape.dim[axis].dim_param = name
    return model


def _refer(model: Any, weights: Path) -> int:
    """Turn a graph's weights into references to the safetensors file that holds them; return their number."""
    import onnx

    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")  # of the tensors, behind the header and its length
    header = json.loads(data[8:start])
    renamed: dict[str, str] = {}
    casts = []
    for initializer in model.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        name = initializer.name.removeprefix("generator.")
        if name not in header:
            if values.nbytes > _MAX_INLINE:
                raise ValueError(f"{weights}: expected every weight of the graph in this file, but `{name}` is not")
            continue
        dtype, (begin, end) = header[name]["dtype"], header[name]["data_offsets"]
        if dtype not in _DTYPES:
            raise ValueError(f"{weights}: expected float16 or float32 weights, got {dtype} in `{name}`")
        stored = np.frombuffer(data[start + begin : start + end], _DTYPES[dtype]).reshape(header[name]["shape"])
        if not np.array_equal(stored.astype(np.float32), values):
            raise ValueError(
                f"{weights}: expected the graph's weights as they are, but `{name}` was changed by tracing"
            )
        renamed[initializer.name] = name
        initializer.CopyFrom(
            onnx.TensorProto(
                name=name,
                data_type=onnx.helper.np_dtype_to_tensor_dtype(stored.dtype),
                dims=stored.shape,
                data_location=onnx.TensorProto.EXTERNAL,
                external_data=[
                    onnx.StringStringEntryProto(key="location", value=weights.name),
                    onnx.StringStringEntryProto(key="offset", value=str(start + begin)),
                    onnx.StringStringEntryProto(key="length", value=str(end - begin)),
                ],
            )
        )
        if dtype == "F16":
            renamed[f"generator.{name}"] = f"{name}.float32"
            casts.append(onnx.helper.make_node("Cast", [name], [f"{name}.float32"], to=onnx.TensorProto.FLOAT))
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *body])
    return len(renamed)


def compare(
    run: Callable[[np.ndarray], np.ndarray], generator: Any, samples: Iterable[np.ndarray]
) -> tuple[float, float]:
    """Return the largest and mean difference between a graph's output and a generator's, in [-1, 1].

    Args:
        run: The graph.
        generator: The generator, in float32.
        samples: Inputs of shape `(B, C, H, W)`, float32.

    Returns:
        Infinity, where an output has another shape.
    """
    largest, total, count = 0.0, 0.0, 0
    for sample in samples:
        with torch.inference_mode():
            expected = generator(torch.from_numpy(sample)).sample.numpy()
        found = run(sample)
        if found.shape != expected.shape:
            return math.inf, math.inf
        difference = np.abs(found - expected)
        largest = float(np.maximum(largest, difference.max()))  # NaN stays NaN
        total, count = total + float(difference.sum(dtype=np.float64)), count + difference.size
    return largest, total / count


def _differences(generator: Any, path: Path, samples: list[torch.Tensor]) -> tuple[float, float] | None:
    try:
        import onnxruntime
    except ImportError:
        logger.warning("the graph was not compared with torch; ONNX Runtime is missing: %s", install_command("export"))
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest, mean = compare(
        lambda sample: session.run(["translation"], {"sample": sample})[0],
        generator,
        [sample.numpy() for sample in samples],
    )
    if not largest <= PARITY_TOLERANCE:  # written so that NaN is refused too
        raise ValueError(
            f"{path.parent}: ONNX Runtime's output differs from torch's by {largest:.1e}, "
            f"expected at most {PARITY_TOLERANCE:.0e}"
        )
    return largest, mean


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Suppress the exporter's remarks about deprecations and missing torchvision."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
