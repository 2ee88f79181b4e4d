import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.kernels import winograd
from cyclegan_hf.models.kernels.winograd import Conv3x3, prefers_winograd, winograd_conv3x3
from cyclegan_hf.models.layers import ResnetBlock
from tests.models.model_tester import GraphRecorder


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def uncompiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's sums as they are written: compiling them takes half a minute."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(winograd, "_compiled", lambda function: function)


@pytest.mark.parametrize("size", [(8, 8), (2, 2), (9, 13), (1, 3)])
def test_it_is_the_convolution_with_its_gradients(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, size[0] + 2, size[1] + 2, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, requires_grad=True)
    ours, expected = winograd_conv3x3(x, weight), F.conv2d(x, weight)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)  # of values of about 7
    direction = torch.randn_like(expected)
    gradients = (torch.autograd.grad(output, (x, weight), direction) for output in (ours, expected))
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


def test_bf16_is_as_near_to_fp32_as_bf16s_own_convolution_within_a_factor_of_five() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 128, 18, 18), torch.randn(128, 128, 3, 3) / 34
    half = [value.bfloat16().requires_grad_() for value in (x, weight)]
    full = [value.detach().float().requires_grad_() for value in half]
    direction = torch.randn(1, 128, 16, 16).bfloat16()
    results = []
    for convolve, inputs in ((F.conv2d, full), (F.conv2d, half), (winograd_conv3x3, half)):
        output = convolve(*inputs)
        gradients = torch.autograd.grad(output, inputs, direction.to(output.dtype))
        results.append([output.detach().float(), *(gradient.float() for gradient in gradients)])
    for expected, stock, ours in zip(*results, strict=True):
        assert (ours - expected).abs().mean() < 5 * (stock - expected).abs().mean()


def operators(
    layer: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    prefers: bool = True,
) -> set[str]:
    """The operators that the compiler sees of a layer, on a processor that prefers Winograd's way or not."""
    monkeypatch.setattr(Conv3x3, "winograd", prefers)
    torch.compiler.reset()
    recorder = GraphRecorder()
    torch.compile(layer, backend=recorder, fullgraph=True)(x).float().sum().backward()
    return recorder.operators


OPERATOR = "winograd.default"


def zeros(channels: int = 128, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.zeros(1, channels, 6, 6, dtype=dtype).to(memory_format=torch.channels_last)


def test_compiled_wide_half_precision_layers_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = operators(Conv3x3(128, 128).bfloat16(), zeros(), monkeypatch)
    assert OPERATOR in found and "conv2d" not in found
    with torch.autocast("cpu", torch.bfloat16):  # fp32 weights, as in training
        assert OPERATOR in operators(Conv3x3(128, 128, bias=False), zeros(dtype=torch.float32), monkeypatch)
        assert OPERATOR in operators(ResnetBlock(128), zeros(dtype=torch.float32), monkeypatch)


@pytest.mark.parametrize(
    ("channels", "dtype", "prefers"),
    [(128, torch.float32, True), (64, torch.bfloat16, True), (128, torch.bfloat16, False)],
    ids=["fp32", "few channels", "another processor"],
)
def test_all_others_are_the_stock_convolution(
    channels: int, dtype: torch.dtype, prefers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Conv3x3(channels, channels).to(dtype)
    assert OPERATOR not in operators(layer, zeros(channels, dtype), monkeypatch, prefers)


def test_other_layouts_are_the_stock_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OPERATOR not in operators(Conv3x3(128, 128).bfloat16(), zeros().contiguous(), monkeypatch)


@pytest.mark.parametrize("first", [True, False])
def test_the_switch_of_a_layer_holds_beside_others(first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    for switch in (first, not first):
        layer, recorder = Conv3x3(128, 128).bfloat16(), GraphRecorder()
        layer.winograd = switch
        torch.compile(layer, backend=recorder, fullgraph=True)(zeros())
        assert (OPERATOR in recorder.operators) is switch


@pytest.mark.parametrize(("value", "expected"), [("", prefers_winograd()), ("1", True), ("0", False)])
def test_the_choice_is_the_processors_or_the_variables_and_breaks_no_graph(value: str, expected: bool) -> None:
    code = """
import torch
from cyclegan_hf.models.kernels.winograd import Conv3x3
from tests.models.model_tester import GraphRecorder
recorder = GraphRecorder()
x = torch.zeros(1, 128, 6, 6, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
torch.compile(Conv3x3(128, 128).bfloat16(), backend=recorder, fullgraph=True)(x)
print("winograd.default" in recorder.operators)
"""
    environment = os.environ | {"CYCLEGAN_WINOGRAD": value}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == str(expected), run.stderr


def test_the_papers_generator_takes_it_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ResnetGenerator(num_res_blocks=1, block_out_channels=(8, 16, 128)).to(
        memory_format=torch.channels_last
    )
    sample = torch.zeros(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert OPERATOR in operators(lambda x: generator(x).sample, sample, monkeypatch)


def test_uncompiled_it_is_the_stock_convolution_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conv3x3, "winograd", True)
    torch.manual_seed(0)
    ours = Conv3x3(128, 128).bfloat16()
    torch.manual_seed(0)
    stock = nn.Conv2d(128, 128, 3).bfloat16()
    stock.load_state_dict(ours.state_dict())
    x = torch.randn(1, 128, 7, 9).bfloat16()
    assert torch.equal(ours(x), stock(x))


@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)], ids=["traced", "compiled"]
)
def test_a_block_is_about_as_exact_as_with_the_stock_convolution(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conv3x3, "winograd", True)
    torch.compiler.reset()
    torch.manual_seed(0)
    block = ResnetBlock(128)
    x = torch.randn(2, 128, 9, 14).to(memory_format=torch.channels_last)
    results = []
    for run, half in ((block, False), (block, True), (torch.compile(block, backend=backend, fullgraph=True), True)):
        block.zero_grad()
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = run(leaf)
        output.float().square().sum().backward()
        results.append((output.float().detach(), leaf.grad, block.conv1.weight.grad, block.conv2.weight.grad))
    for exact, stock, ours in zip(*results, strict=True):
        off, also_off = (1 - F.cosine_similarity(exact.flatten(), some.flatten(), dim=0) for some in (stock, ours))
        assert also_off < 4 * off < 0.01


def test_the_operator_says_what_it_returns_and_differentiates() -> None:
    torch.manual_seed(0)
    arguments = torch.randn(2, 5, 6, 8, requires_grad=True), torch.randn(3, 5, 3, 3, requires_grad=True)
    torch.library.opcheck(torch.ops.cyclegan_hf.winograd, arguments)
