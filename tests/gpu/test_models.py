"""Every model on the GPU against the same one on the CPU: output, gradient of the images, gradients of the weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan_hf.feature_networks import MissingPackageError
from cyclegan_hf.training.builders import DISCRIMINATORS, GENERATORS
from tests.gpu.support import COMPILES, DEVICE, ON_GPU, relative_error, set_tf32, synchronize


pytestmark = pytest.mark.gpu

MODELS = GENERATORS | DISCRIMINATORS
WIDTHS: dict[str, Any] = {"block_out_channels": (32, 64, 128) if ON_GPU else (4, 6, 8)}
SMALL: dict[str, dict[str, Any]] = {
    "AffineResidualGenerator": {**WIDTHS, "num_res_blocks": 2},
    "AttentionGenerator": {**WIDTHS, "num_res_blocks": 2, "reduction": 2},
    "EncoderDecoderGenerator": {**WIDTHS, "num_res_blocks": 2, "norm_type": "instance"},
    "LocalAffineGenerator": {**WIDTHS, "num_res_blocks": 2},
    "MaxPoolUnetGenerator": {**WIDTHS, "output_activation": "tanh"},
    "ResnetGenerator": {**WIDTHS, "num_res_blocks": 2},
    "UnetGenerator": {"block_out_channels": (*WIDTHS["block_out_channels"], WIDTHS["block_out_channels"][-1])},
    "DualHeadDiscriminator": WIDTHS,
    "FeatureDiscriminator": {"num_channels": 8},
    "PatchDiscriminator": WIDTHS,
    "PixelDiscriminator": {"block_out_channels": WIDTHS["block_out_channels"][:2]},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResnetGenerator, batch norm": ("ResnetGenerator", {"norm_type": "batch"}),
    "ResnetGenerator, resize": ("ResnetGenerator", {"padding_mode": "zero", "upsample_type": "resize_conv"}),
    "ResnetGenerator, separable": ("ResnetGenerator", {"separable": True, "norm_type": "pixel"}),
    "AttentionGenerator, codes": ("AttentionGenerator", {"num_codes": 8}),
    "LocalAffineGenerator, levels": ("LocalAffineGenerator", {"num_luma_bins": 3}),
    "PatchDiscriminator, spectral": ("PatchDiscriminator", {"norm_type": "none", "spectral_norm": True}),
}
CASES = {name: (name, dict[str, Any]()) for name in SMALL} | VARIANTS
SIZE = 128 if ON_GPU else 32

Passes = dict[str, torch.Tensor]


def make(case: str) -> tuple[nn.Module, torch.Tensor]:
    """A model in evaluation mode with random weights, and a batch of images for it, on the CPU."""
    name, settings = CASES[case]
    torch.manual_seed(0)
    try:
        model = MODELS[name](**SMALL[name] | settings).eval()
    except MissingPackageError as error:
        pytest.skip(str(error))
    with torch.no_grad():
        for weight in model.parameters():  # some generators start as the identity, with zeros
            weight.add_(0.02 * torch.randn_like(weight))
    # Blurred noise: among neighbours of one value, a maximum's place depends on rounding.
    images = nn.functional.interpolate(torch.rand(2, 3, 8, 8) * 2 - 1, (SIZE, SIZE), mode="bicubic").clamp(-1, 1)
    return model, images


def passes(model: nn.Module, images: torch.Tensor, scale: float = 1.0) -> Passes:
    """Forward and backward: outputs, the images' gradient, and all weights' as one vector, on the CPU in float64."""
    images = images.clone().requires_grad_()
    output, *_ = model(images, return_dict=False)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.device)
    (scale * (output.float() * weights).mean()).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    synchronize()
    found = {
        "output": output,
        "image gradient": images.grad / scale,
        "weight gradient": torch.cat([gradient.double().flatten() for gradient in gradients]) / scale,
    }
    return {name: tensor.detach().double().cpu() for name, tensor in found.items()}


def check(result: Passes, expected: Passes, limits: tuple[float, float], record: Callable[..., None]) -> None:
    """Hold outputs to the first limit and gradients to the second, as relative errors; keep what was found."""
    errors = {name: relative_error(result[name], expected[name]) for name in expected}
    record("relative_error", {name: float(f"{error:.3g}") for name, error in errors.items()})
    assert all(torch.isfinite(tensor).all() for tensor in result.values())
    assert errors["output"] < limits[0], errors
    assert max(errors["image gradient"], errors["weight gradient"]) < limits[1], errors


@pytest.mark.parametrize("case", CASES)
def test_float32_is_the_cpus(case: str, record_property: Callable[..., None]) -> None:
    model, images = make(case)
    expected = passes(copy.deepcopy(model), images)
    check(passes(model.to(DEVICE), images.to(DEVICE)), expected, (1e-4, 1e-3), record_property)


@pytest.mark.parametrize("case", SMALL)
def test_channels_last_is_the_cpus(case: str, record_property: Callable[..., None]) -> None:
    model, images = make(case)
    expected = passes(copy.deepcopy(model), images)
    layout = torch.channels_last
    result = passes(model.to(DEVICE, memory_format=layout), images.to(DEVICE, memory_format=layout))
    check(result, expected, (1e-4, 1e-3), record_property)


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize(
    ("precision", "limits"), [("tf32", (5e-3, 5e-2)), ("bf16", (5e-2, 0.35)), ("fp16", (1e-2, 0.2))]
)
def test_reduced_precision_is_near(
    case: str, precision: str, limits: tuple[float, float], record_property: Callable[..., None]
) -> None:
    """As in training: autocast with float32 weights, and fp16's loss scaled."""
    model, images = make(case)
    expected = passes(copy.deepcopy(model), images)
    set_tf32(precision == "tf32")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.bfloat16)
    with torch.autocast(DEVICE.type, dtype, enabled=precision != "tf32"):
        result = passes(model.to(DEVICE), images.to(DEVICE), scale=1024.0 if precision == "fp16" else 1.0)
    check(result, expected, limits, record_property)


@pytest.mark.skipif(not COMPILES, reason="compiles on a GPU, or with CYCLEGAN_GPU_COMPILE=1")
@pytest.mark.parametrize("case", SMALL)
def test_compiled_is_the_cpus(case: str, record_property: Callable[..., None]) -> None:
    """Compiled as the trainer does, with channels innermost."""
    model, images = make(case)
    expected = passes(copy.deepcopy(model), images)
    model.to(DEVICE, memory_format=torch.channels_last)
    model.compile(dynamic=False)
    result = passes(model, images.to(DEVICE, memory_format=torch.channels_last))
    check(result, expected, (1e-3, 1e-2), record_property)


@pytest.mark.skipif(not ON_GPU, reason="needs CUDA: the CPU has no graphs")
def test_replayed_graphs_are_the_cpus(record_property: Callable[..., None]) -> None:
    """`reduce-overhead`, which `benchmark.py` times; the first calls warm up and record, the last ones replay."""
    model, images = make("ResnetGenerator")
    expected = passes(copy.deepcopy(model), images)
    model.to(DEVICE)
    model.compile(dynamic=False, mode="reduce-overhead")
    for _ in range(4):
        torch.compiler.cudagraph_mark_step_begin()
        model.zero_grad()
        result = passes(model, images.to(DEVICE))
    check(result, expected, (1e-3, 1e-2), record_property)
