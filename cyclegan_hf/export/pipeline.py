"""A pipeline's folder with exported graphs, in one format or the other."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.errors import install_command
from cyclegan_hf.export.int8 import COMPARED, MAX_MEAN_DIFFERENCE, calibration_files, quantize, samples
from cyclegan_hf.export.onnx import OnnxReport, compare, export_onnx
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.pipeline_exported import GraphNetwork, openvino_core
from cyclegan_hf.pipelines.storage import cast
from cyclegan_hf.saved_format import GENERATORS, OPENVINO_NAME


def export_pipeline(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Literal["onnx", "openvino"] = "onnx",
    *,
    embed_weights: bool = False,
    int8: bool = False,
    calibration: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
) -> list[OnnxReport]:
    """Write a pipeline whose generators have graphs, whole or not at all.

    Args:
        model: A folder or a Hub id.
        output: The folder to write: half-precision weights and graphs. The model's own folder keeps its weights.
        format: `"onnx"`, or `"openvino"` for OpenVINO's own files (`model.xml`, and weights in `model.bin`).
        embed_weights: Put the weights into the ONNX graphs, which then need no other file.
        int8: Compute the convolutions in 8-bit integers, in OpenVINO's files.
        calibration: Folder of pictures that show the ranges of the values; see `int8.calibration_files`.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.

    Returns:
        One report a generator. OpenVINO's difference is that of its default precision, which is bfloat16 where the
        processor computes in it; of 8-bit integers it is that on some of the calibration's pictures.

    Raises:
        ImportError: The extra `export`, or `int8`, is not installed.
        ValueError: There is no such pipeline, a weight is too large for half precision, a graph does not give what
            torch gives, or the calibration is missing or without pictures.
    """
    output = Path(output)
    if int8 and format != "openvino":
        raise ValueError(f"8-bit integers are of OpenVINO's files: expected the format openvino, got {format}")
    if embed_weights and format != "onnx":
        raise ValueError(f"embedded weights are of ONNX graphs: expected the format onnx, got {format}")
    if int8 != (calibration is not None):
        raise ValueError("8-bit integers and a folder of pictures to calibrate with belong together, got one of them")
    source = Path(model) / (subfolder or ".")
    if source.is_dir() and source.resolve() == output.resolve():
        if format != "onnx":
            raise ValueError(f"{output}: OpenVINO's files come with weights of their own; name another folder")
        return export_onnx(output, embed_weights=embed_weights)
    pipeline = CycleGANPipeline.from_pretrained(model, revision=revision, subfolder=subfolder)
    files = {}
    if calibration is not None:
        domains = {"a": pipeline.config["domain_a"], "b": pipeline.config["domain_b"]}
        files = {
            name: calibration_files(Path(calibration), name[len("generator_")], domains)
            for name in GENERATORS
            if getattr(pipeline, name) is not None
        }
    for name in GENERATORS:
        generator = getattr(pipeline, name)
        if generator is None:
            continue
        cast(generator, dtype=torch.float16)
        if not all(tensor.isfinite().all() for tensor in generator.state_dict().values()):
            raise ValueError(f"{model}: a weight of `{name}` is too large for half precision")
    with whole_folder(output) as folder:
        pipeline.save_pretrained(folder)
        reports = export_onnx(folder, embed_weights=embed_weights)
        if format == "openvino":
            reports = [_to_openvino(report, pipeline, files.get(report.path.parent.name)) for report in reports]
        return [dataclasses.replace(report, path=output / report.path.relative_to(folder)) for report in reports]


def _to_openvino(report: OnnxReport, pipeline: Any, files: list[Path] | None) -> OnnxReport:
    """Replace the ONNX graph by OpenVINO's own files; in 8 bits if files are given."""
    try:
        import openvino
    except ImportError as error:
        raise ImportError(f"exporting needs the extra `export`: {install_command('export')} ({error})") from error
    path = report.path.with_name(OPENVINO_NAME)
    name = path.parent.name
    generator = cast(getattr(pipeline, name), dtype=torch.float32)
    model = openvino_core().read_model(report.path)
    if files is None:
        shown, limit = [_noise(generator)], 0.2  # bfloat16's rounding, layer after layer; a wrong graph is far off
    else:
        processor = getattr(pipeline, f"image_processor_{name[len('generator_')]}")
        shown = list(samples(files, processor, generator.size_multiple, generator.min_size))
        model = quantize(model, shown)
        shown, limit = shown[:COMPARED], math.inf
    openvino.save_model(model, path, compress_to_fp16=True)
    report.path.unlink()
    largest, mean = compare(GraphNetwork(path, "openvino"), generator, shown)
    if not (largest <= limit and mean <= MAX_MEAN_DIFFERENCE):
        raise ValueError(
            f"{name}: OpenVINO's output differs from torch's by {mean:.1e} on average (expected at most "
            f"{MAX_MEAN_DIFFERENCE}) and by {largest:.1e} at most"
        )
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return dataclasses.replace(report, path=path, num_bytes=size, max_difference=largest, mean_difference=mean)


def _noise(generator: Any) -> np.ndarray:
    side = -(-max(64, generator.min_size) // generator.size_multiple) * generator.size_multiple
    shape = (1, generator.config["in_channels"], side, side)
    sample: np.ndarray = torch.rand(shape, generator=torch.Generator().manual_seed(0)).numpy() * 2 - 1
    return sample
