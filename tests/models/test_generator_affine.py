from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.layers import before_tanh
from tests.models.model_tester import GeneratorTester, count


class TestLocalAffineGenerator(GeneratorTester):
    model_class = LocalAffineGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "num_res_blocks": 2}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "mid_blocks", "conv_out"}
    variants: ClassVar = [
        {"norm_type": "instance"},
        {"norm_type": "batch", "padding_mode": "zero"},
        {"norm_type": "none", "activation_type": "relu"},
        {"separable": True},
        {"num_luma_bins": 3},
    ]

    def test_other_sizes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be multiples of 4, got 33×32"):
            self.make()(self.sample(size=(33, 32)))

    @pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10)])
    @pytest.mark.parametrize("num_res_blocks", [0, 1])
    def test_any_depth(self, widths: tuple[int, ...], num_res_blocks: int) -> None:
        model = self.make(block_out_channels=widths, num_res_blocks=num_res_blocks)
        assert model.size_multiple == 2 ** (len(widths) - 1)
        side = model.min_size
        with torch.no_grad():
            assert model(self.sample(1, size=(side, 2 * side))).sample.shape == (1, 3, side, 2 * side)

    @pytest.mark.parametrize("channels", [1, 6])
    def test_channels(self, channels: int) -> None:
        with torch.no_grad():
            output = self.make(in_channels=channels, out_channels=channels)(self.sample(in_channels=channels)).sample
        assert output.shape == (2, channels, 32, 32) and output.abs().max() <= 1

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_transform_for_each_level_of_brightness(self, channels: int) -> None:
        model = self.make(in_channels=channels, out_channels=channels, num_luma_bins=3)
        samples = torch.tensor([-1.0, -0.5, 0.0, 0.5, 0.9])[:, None, None, None].expand(-1, channels, 4, 4)
        field = torch.zeros(5, 3, channels, channels + 1)
        field = field.transpose(2, 3).contiguous()  # (B, bins, in + 1, out): of each bin only what is added everywhere
        field[:, :, -1] = torch.tensor([0.1, 0.2, -0.4])[:, None]
        field = field.flatten(1)[..., None, None].expand(-1, -1, 4, 4)
        # Dark, a quarter of the way, the middle, three quarters, and 0.95: by hand from the bins' 0.1, 0.2 and -0.4.
        expected = torch.tensor([0.1, 0.15, 0.2, -0.1, -0.34])[:, None, None, None]
        torch.testing.assert_close(
            model.transform(samples, field), torch.tanh(before_tanh(samples) + expected), atol=1e-6, rtol=0
        )

    def test_the_same_transform_at_every_level_is_one(self) -> None:
        sample, field = torch.rand(2, 3, 8, 8) * 2 - 1, torch.randn(2, 12, 8, 8)
        one = self.make().transform(sample, field)
        torch.testing.assert_close(self.make(num_luma_bins=4).transform(sample, field.repeat(1, 4, 1, 1)), one)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"out_channels": 1}, "as many channels out as in, got `in_channels` 3 and `out_channels` 1"),
            ({"num_luma_bins": 0}, "`num_luma_bins` must be at least 1, got 0"),
            ({"norm_type": "layer"}, "`norm_type` must be .* got 'layer'"),
            ({"activation_type": "gelu"}, "`activation_type` must be 'relu' or 'leaky_relu', got 'gelu'"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


def test_parameters() -> None:
    """7·7·3·32+32 = 4,736; 3·3·32·64+64 = 18,496; 3·3·64·128+128 = 73,856; 12 · (3·3·128·128+128) = 1,771,008;
    3·3·128·12+12 = 13,836."""
    assert count(LocalAffineGenerator) == (4_736 + 18_496 + 73_856 + 1_771_008 + 13_836, 32)


def test_parameters_of_the_separable_form() -> None:
    """Its blocks have 12 · (3·3·128 + 128·128+128) = 211,968 where the other has 1,771,008."""
    separable, tensors = count(LocalAffineGenerator, separable=True)
    assert (separable, tensors) == (4_736 + 18_496 + 73_856 + 211_968 + 13_836, 32 + 12)


def test_a_field_of_zeros_returns_the_picture() -> None:
    model = LocalAffineGenerator(block_out_channels=(4, 8), num_res_blocks=0)
    torch.nn.init.zeros_(model.conv_out[1].weight)
    torch.nn.init.zeros_(model.conv_out[1].bias)
    sample = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    assert (model(sample).sample - sample).abs().max() < 0.0101


def test_the_fields_transform() -> None:
    """One place: red out gets 0.5 · green in, green out -0.25 · red in + 0.1, blue out nothing; the change is added to
    atanh(0.2) = 0.2027, atanh(-0.4) = -0.4236 and 0: tanh(0.2027 - 0.2) = 0.0027,
    tanh(-0.4236 - 0.05 + 0.1) = -0.3572, and 0."""
    model = LocalAffineGenerator(block_out_channels=(4, 8), num_res_blocks=0)
    field = torch.zeros(1, 12, 1, 1)
    field[0, 3] = 0.5  # of the second channel in, to the first out
    field[0, 1] = -0.25
    field[0, 10] = 0.1
    picture = model.transform(torch.tensor([0.2, -0.4, 0.0]).reshape(1, 3, 1, 1), field)
    torch.testing.assert_close(picture.flatten(), torch.tensor([0.0027, -0.3572, 0.0]), atol=1e-4, rtol=0)


def test_no_line_is_drawn_finer_than_the_field() -> None:
    """On a picture of one colour, whatever the weights, neighbours differ at most by what a field's cell gives."""
    torch.manual_seed(0)
    model = LocalAffineGenerator(block_out_channels=(4, 6, 8), num_res_blocks=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    sample = torch.zeros(1, 3, 64, 64)
    seen: list[torch.Tensor] = []
    model.conv_out.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        result = model(sample).sample
    steps = (seen[0][:, 9:, :, 1:] - seen[0][:, 9:, :, :-1]).abs().max() / 4  # a quarter of a cell's step a pixel
    assert (result[..., 1:] - result[..., :-1]).abs().max() <= steps + 1e-5


@pytest.mark.parametrize("widths", [(4, 6), (4, 6, 8), (4, 6, 8, 10)])
def test_a_field_is_enlarged_as_interpolation_does(widths: tuple[int, ...]) -> None:
    model, field = LocalAffineGenerator(block_out_channels=widths), torch.randn(2, 12, 5, 7)
    expected = torch.nn.functional.interpolate(field, scale_factor=float(model.size_multiple), mode="bilinear")
    torch.testing.assert_close(model.enlarge(field), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_compiled_it_learns_too(compiled: bool) -> None:
    """With `F.interpolate` in it, the compiler gave gradients of 0 at this size."""
    torch.manual_seed(0)
    torch.compiler.reset()
    model = LocalAffineGenerator(block_out_channels=(8, 16, 32), num_res_blocks=1)
    run = torch.compile(model) if compiled else model
    (run(torch.rand(2, 3, 64, 64) * 2 - 1, return_dict=False)[0] - 1).square().mean().backward()
    assert model.conv_out[1].bias.grad is not None and model.conv_out[1].bias.grad[9:].abs().min() > 1e-3
