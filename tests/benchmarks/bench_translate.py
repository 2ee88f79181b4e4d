"""How long a generator takes for one picture, in each form that this library offers, against plain fp32.

Plain is the official code's form: torch, fp32, eager. The others are `pipe.optimize()`, `pipe.optimize(compile=True)`,
and the graphs of `cyclegan-hf export`. Where the processor takes Winograd's algorithm, the compiled one is
timed without it too. All take turns in one process: trust the ratios. The difference from plain is
told beside each, as levels of 255 on average: a form that is fast and wrong is no form.

    python tests/benchmarks/bench_translate.py
    python tests/benchmarks/bench_translate.py --model runs/s2w --calibration photos --json results.json
"""

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf import CycleGANPipeline, ResnetGenerator  # noqa: E402
from cyclegan_hf.export.pipeline import export_pipeline  # noqa: E402
from cyclegan_hf.saved_format import PRETRAINED_FOLDER  # noqa: E402
from tests.benchmarks.turns import (  # noqa: E402
    faster_than,
    hold_memory,
    in_turn,
    keep,
    machine_line,
    matmul_rate,
    put_winograd_off,
    spread,
)
from tests.testing_utils import make_picture  # noqa: E402


def main(
    model: str = "resnet9",
    side: int = 256,
    rounds: int = 15,
    calibration: Path | None = None,
    json: Path | None = None,
) -> None:
    """Time one translation A → B in each form.

    Args:
        model: A pipeline's folder, `bundled`, or `resnet9`: the paper's generator with random weights.
        side: Height and width of the picture.
        rounds: Counted turns of each form.
        calibration: Pictures for the 8-bit form; by default computed ones.
        json: Where to keep the figures.
    """
    hold_memory()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if model == "resnet9":
            CycleGANPipeline(ResnetGenerator()).save_pretrained(folder / "model")
            model = str(folder / "model")
        elif model == "bundled":
            model = str(PRETRAINED_FOLDER)
        pictures = calibration or folder / "pictures"
        if calibration is None:
            pictures.mkdir()
            for index in range(16):
                make_picture("A", index, side).save(pictures / f"{index}.png")
        photo = np.asarray(make_picture("A", 99, side), dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        forms = forms_of(model, folder, pictures)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            forms["plain"](photo)
        with torch.inference_mode():
            outputs = {name: run(photo) for name, run in forms.items()}
            seconds = in_turn({name: lambda run=run: run(photo) for name, run in forms.items()}, rounds)
    report(seconds, outputs, side, counter.get_total_flops(), json)


def forms_of(model: str, folder: Path, pictures: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """By name, functions from a `(1, C, H, W)` array in [-1, 1] to its translation."""
    plain = CycleGANPipeline.from_pretrained(model)

    def of_torch(pipe: CycleGANPipeline) -> Callable[[np.ndarray], np.ndarray]:
        generator = pipe.generator_a2b
        return lambda photo: (
            generator(torch.from_numpy(photo).to(generator.device, generator.dtype)).sample.float().cpu().numpy()
        )

    forms = {
        "plain": of_torch(plain),
        "optimize()": of_torch(copy.deepcopy(plain).optimize()),
        "optimize(compile=True)": of_torch(copy.deepcopy(plain).optimize(compile=True)),
    }
    direct = copy.deepcopy(plain)
    if put_winograd_off(direct.generator_a2b):
        forms["optimize(compile=True), without Winograd"] = of_torch(direct.optimize(compile=True))
    export_pipeline(model, folder / "onnx")
    export_pipeline(model, folder / "openvino", "openvino")
    for name, backend in (("onnx", "onnx"), ("openvino", "openvino")):
        forms[name] = of_graph(folder / name, backend)
    try:
        export_pipeline(model, folder / "int8", "openvino", int8=True, calibration=pictures)
    except (ImportError, ValueError) as error:
        print(f"openvino int8 is left out: {error}")
    else:
        forms["openvino int8"] = of_graph(folder / "int8", "openvino")
    return forms


def of_graph(folder: Path, backend: str) -> Callable[[np.ndarray], np.ndarray]:
    """The A → B graph of an exported pipeline."""
    network = CycleGANPipeline.from_pretrained(folder, backend=backend)._networks["generator_a2b"]
    return lambda photo: network(photo)


def report(
    seconds: dict[str, list[float]], outputs: dict[str, np.ndarray], side: int, operations: int, json: Path | None
) -> None:
    """Print the table and what bounds it, and keep both."""
    print(f"{side}², batch 1; {machine_line()}")
    rows = {}
    for name, values in seconds.items():
        times, ratio = spread(values), spread(faster_than(seconds["plain"], values))
        levels = float(np.abs(outputs[name] - outputs["plain"]).mean() * 127.5)
        rows[name] = {"seconds": times, "faster": ratio, "levels": levels}
        print(
            f"{name}: {1000 * times['median']:.0f} ms, {ratio['median']:.2f}x ({ratio['least']:.2f} to "
            f"{ratio['most']:.2f}), {levels:.2f} of 255 levels from plain"
        )
    best = {"bf16": matmul_rate(torch.bfloat16), "int8": matmul_rate(torch.int8)}
    for name, rate in best.items():
        bound = spread([value * rate / operations for value in seconds["plain"]])["median"]
        print(
            f"{operations / 1e9:.0f} G operations at the {rate / 1e12:.2f} T/s of a {name} matrix product of 4096²: "
            f"{1000 * operations / rate:.0f} ms, {bound:.2f}x"
        )
    keep(json, {"side": side, "forms": rows, "operations": operations, "matmul_operations_a_second": best})


if __name__ == "__main__":
    tyro.cli(main)
