import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.layers import InstanceNorm2d, Pad2d, ResnetBlock, SeparableConv2d, Upsample2x, make_norm
from tests.models.model_tester import GraphRecorder


def compiled_and_eager(layer: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], set[str]]:
    """Output and gradient of the compiled and the plain layer, and the operators that the compiler saw."""
    torch.compiler.reset()
    recorder, results = GraphRecorder(), []
    for run in (torch.compile(layer, backend=recorder, fullgraph=True), layer):
        leaf = x.clone().requires_grad_()
        output = run(leaf)
        output.mul(torch.arange(output.numel(), dtype=x.dtype).reshape(output.shape).cos()).sum().backward()
        results += [output.detach(), leaf.grad]
    return results, recorder.operators


@pytest.mark.parametrize("padding", [1, 3, 7])
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_compiled_reflection_is_the_stock_reflection(padding: int, size: tuple[int, int]) -> None:
    results, operators = compiled_and_eager(Pad2d(padding), torch.randn(2, 3, *size))
    output, gradient, stock_output, stock_gradient = results
    assert "cat" in operators and "pad" not in operators
    assert torch.equal(output, stock_output)
    torch.testing.assert_close(gradient, stock_gradient, rtol=0, atol=1e-5)  # sums of up to four cosines


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (100.0, 1.0), (0.0, 1e-3)])
def test_compiled_instance_norm_is_the_stock_one(offset: float, scale: float) -> None:
    x = torch.randn(2, 3, 17, 13) * scale + offset
    results, operators = compiled_and_eager(InstanceNorm2d(), x)
    output, gradient, stock_output, stock_gradient = results
    assert "rsqrt" in operators and "instance_norm" not in operators
    torch.testing.assert_close(output, stock_output, rtol=0, atol=1e-4)
    torch.testing.assert_close(gradient, stock_gradient, rtol=0, atol=1e-4 * stock_gradient.abs().max().item())


def test_compiled_instance_norm_in_bf16_keeps_its_statistics_in_fp32() -> None:
    x = (torch.randn(1, 2, 64, 64) + 10).bfloat16()
    (output, *_), _ = compiled_and_eager(InstanceNorm2d(), x)
    assert output.dtype == torch.bfloat16
    expected = F.instance_norm(x.float())
    assert (output.float() - expected).abs().max() < 0.02  # bf16's own step at 4 is 0.03


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_compiled_pixel_norm_is_the_stock_one(scale: float) -> None:
    results, operators = compiled_and_eager(make_norm("pixel", 5), torch.randn(2, 5, 17, 13) * scale)
    output, gradient, stock_output, stock_gradient = results
    assert "rsqrt" in operators
    torch.testing.assert_close(output, stock_output, rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient, stock_gradient, rtol=0, atol=1e-4 * stock_gradient.abs().max().item())


@pytest.mark.slow  # half a minute of compilation each
@pytest.mark.parametrize("norm_type", ["instance", "pixel", "none"])
def test_compiled_half_precision_gradients_are_finite_and_right(norm_type: str) -> None:
    # torch 2.13's own gradient of sliced reflections was NaN here, on processors, next to pixel norm.
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        *(ResnetBlock(32, norm_type, activation_type="leaky_relu") for _ in range(2)),
        nn.Sequential(Upsample2x(), Pad2d(1), nn.Conv2d(32, 16, 3), make_norm(norm_type, 16), nn.LeakyReLU(0.2)),
        nn.Sequential(Pad2d(3), nn.Conv2d(16, 3, 7)),
    ).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 32, 32).to(memory_format=torch.channels_last)
    gradients = []
    for half in (False, True):
        model.zero_grad()
        run = torch.compile(model) if half else model
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            run(x).float().square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert gradients[1].isfinite().all()
    assert F.cosine_similarity(*gradients, dim=0) > 0.99


def test_an_exporter_sees_the_standard_operators() -> None:
    program = torch.export.export(nn.Sequential(Pad2d(1), InstanceNorm2d()), (torch.randn(1, 3, 8, 8),))
    operators = {str(node.target) for node in program.graph.nodes}
    assert "aten.instance_norm.default" in operators
    assert not any("flip" in name or "rsqrt" in name for name in operators)


def test_instance_norm_leaves_mean_0_and_variance_1() -> None:
    output = InstanceNorm2d()(torch.randn(2, 3, 32, 32) * 5 + 7)
    torch.testing.assert_close(output.mean((2, 3)), torch.zeros(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.var((2, 3), correction=0), torch.ones(2, 3), rtol=0, atol=1e-4)


def test_pixel_norm_divides_each_pixel_by_its_own_root_mean_square() -> None:
    x = torch.tensor([3.0, 4.0, 0.0, 0.0]).view(1, 4, 1, 1) * torch.tensor([[1.0, 10.0], [-1.0, 0.0]])
    # the mean square is (9 + 16) / 4, its root 2.5: the scale of a pixel goes, its sign and the zeros stay
    expected = torch.tensor([1.2, 1.6, 0.0, 0.0]).view(1, 4, 1, 1) * torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(make_norm("pixel", 4)(x), expected)


def test_padding() -> None:
    row = torch.tensor([1.0, 2.0, 3.0]).expand(1, 1, 3, 3)
    assert Pad2d(1, "reflect")(row)[0, 0, 0].tolist() == [2, 1, 2, 3, 2]
    assert Pad2d(1, "zero")(row)[0, 0, 1].tolist() == [0, 1, 2, 3, 0]
    assert Pad2d(0)(row) is row


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_takes_gradients_in_either_layout(batch_size: int, layout: torch.memory_format) -> None:
    x, gradient = (torch.randn(batch_size, 8, 16, 12, dtype=torch.float64) for _ in range(2))
    exact = x.clone().requires_grad_()
    var, mean = torch.var_mean(exact, dim=(2, 3), correction=0, keepdim=True)
    (expected,) = torch.autograd.grad((exact - mean) / (var + 1e-5).sqrt(), exact, gradient)
    leaf = x.float().contiguous(memory_format=layout).requires_grad_()
    for given in (torch.contiguous_format, torch.channels_last):
        (found,) = torch.autograd.grad(InstanceNorm2d()(leaf), leaf, gradient.float().contiguous(memory_format=given))
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_upsampling_repeats_pixels() -> None:
    assert Upsample2x()(torch.tensor([[[[1.0, 2.0]]]])).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def test_resnet_block_adds_to_its_input() -> None:
    block, x = ResnetBlock(4, norm_type="none"), torch.randn(1, 4, 8, 8)
    for parameter in block.conv2.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)  # no activation after the sum: negative values come through
    block.activation_after_add = True
    assert torch.equal(block(x), x.relu())


def test_an_activation_of_a_residual_block() -> None:
    block, x = ResnetBlock(4, norm_type="none", activation_type="leaky_relu"), torch.randn(1, 4, 8, 8)
    hidden = F.leaky_relu(block.conv1(F.pad(x, (1, 1, 1, 1), mode="reflect")), 0.2)
    expected = x + block.conv2(F.pad(hidden, (1, 1, 1, 1), mode="reflect"))
    torch.testing.assert_close(block(x), expected)


def test_a_separable_convolution_is_one_with_the_product_of_its_kernels() -> None:
    conv, x = SeparableConv2d(4), torch.randn(2, 4, 9, 8)
    kernel = conv.pointwise.weight * conv.depthwise.weight.transpose(0, 1)  # (out, in, 1, 1) · (1, in, 3, 3)
    torch.testing.assert_close(conv(x), F.conv2d(x, kernel, conv.pointwise.bias))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`norm_type` must be .* got 'group'"):
        make_norm("group", 4)
