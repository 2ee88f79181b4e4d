"""The verb `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro


def export(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER|ID", help_behavior_hint="")],
    *,
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    format: Literal["onnx", "openvino"] = "onnx",
    embed_weights: bool = False,
    int8: bool = False,
    calibration: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    revision: str | None = None,
    subfolder: str | None = None,
) -> int:
    """Write graphs of a pipeline's generators, for ONNX Runtime, OpenVINO and browsers.

    For example:
        cyclegan-hf export runs/s2w --output runs/s2w
        cyclegan-hf export user/name --embed-weights --output exported/
        cyclegan-hf export user/name --format openvino --output exported/
        cyclegan-hf export user/name --format openvino --int8 --calibration seasons --output exported/

    The output folder is a pipeline like the model's, with half-precision weights, whose generators have graphs. An
    ONNX graph of some kilobytes refers to the weight file beside it. `cyclegan-hf translate --model OUTPUT --backend
    onnx` uses it, without torch. Each graph is compared with torch, and the differences are printed.

    Args:
        model: Folder or Hub id of a pipeline.
        output: Folder for the exported pipeline; the model's own folder keeps its weights and gets ONNX graphs beside
            them.
        format: onnx (opset 18; OpenVINO reads it too), or openvino for its own files.
        embed_weights: Put the weights into the ONNX graphs: each model.onnx is then one file that needs no other.
        int8: Compute the convolutions in 8-bit integers, which is faster and less exact; the difference is printed.
            OpenVINO only, and needs the extra int8.
        calibration: Folder of pictures such as will be translated, for the ranges of 8-bit integers: with trainA and
            trainB, or A and B, or one for both directions. 64 of a domain are taken.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
    """
    from cyclegan_hf.export.pipeline import export_pipeline

    for report in export_pipeline(
        model,
        output,
        format,
        embed_weights=embed_weights,
        int8=int8,
        calibration=calibration,
        revision=revision,
        subfolder=subfolder,
    ):
        print(report)
    return 0
