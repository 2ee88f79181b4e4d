"""A pipeline's folder with exported graphs, in one format or the other."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cyclegan_hf.export import OnnxReport, export_onnx
from cyclegan_hf.pipelines.folders import OPENVINO_NAME
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.pipeline_exported import GraphNetwork, openvino_core
from cyclegan_hf.pipelines.storage import whole_folder


GENERATORS = ("generator_a2b", "generator_b2a")


def export_pipeline(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Literal["onnx", "openvino"] = "onnx",
    *,
    revision: str | None = None,
    subfolder: str | None = None,
) -> list[OnnxReport]:
    """Writes a pipeline whose generators have graphs, whole or not at all.

    Args:
        model: A folder or a Hub id.
        output: The folder to write: half-precision weights and graphs. The model's own folder keeps its weights.
        format: `"onnx"`, or `"openvino"` for OpenVINO's own files (`model.xml`, and weights in `model.bin`).
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.

    Returns:
        One report a generator. OpenVINO's difference is that of its default precision, which is bfloat16 where the
        processor computes in it.

    Raises:
        ImportError: The extra `export` is not installed.
        ValueError: There is no such pipeline, a weight is too large for half precision, or a graph does not give what
            torch gives.
    """
    output = Path(output)
    source = Path(model) / (subfolder or ".")
    if source.is_dir() and source.resolve() == output.resolve():
        if format != "onnx":
            raise ValueError(f"{output}: OpenVINO's files come with weights of their own; name another folder")
        return export_onnx(output)
    pipeline = CycleGANPipeline.from_pretrained(model, revision=revision, subfolder=subfolder)
    pipeline.to(dtype=torch.float16)
    for name in GENERATORS:
        generator = getattr(pipeline, name)
        if generator is not None and not all(tensor.isfinite().all() for tensor in generator.state_dict().values()):
            raise ValueError(f"{model}: a weight of `{name}` is too large for half precision")
    with whole_folder(output) as folder:
        pipeline.save_pretrained(folder)
        reports = export_onnx(folder)
        if format == "openvino":
            reports = [_to_openvino(report, getattr(pipeline, report.path.parent.name)) for report in reports]
        return [dataclasses.replace(report, path=output / report.path.relative_to(folder)) for report in reports]


def _to_openvino(report: OnnxReport, generator: Any) -> OnnxReport:
    """The same generator in OpenVINO's own files, in the place of the ONNX graph."""
    try:
        import openvino
    except ImportError as error:
        raise ImportError(f"exporting needs `pip install 'cyclegan_hf[export]'` ({error})") from error
    path = report.path.with_name(OPENVINO_NAME)
    openvino.save_model(openvino_core().read_model(report.path), path, compress_to_fp16=True)
    report.path.unlink()
    network = GraphNetwork(path, "openvino")
    side = -(-max(64, network.min_size) // network.size_multiple) * network.size_multiple
    sample = torch.rand(1, generator.config["in_channels"], side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = generator.float()(sample * 2 - 1).sample.numpy()
    difference = float(np.abs(network(sample.numpy() * 2 - 1) - expected).max())
    if not difference <= 0.2:  # of [-1, 1]: bfloat16's rounding, layer after layer; a wrong graph is far off
        raise ValueError(f"{path}: OpenVINO's output differs from torch's by {difference:.1e}")
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return dataclasses.replace(report, path=path, num_bytes=size, max_difference=difference)
