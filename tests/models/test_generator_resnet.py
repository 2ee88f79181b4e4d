from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from tests.models.model_tester import DropoutTester, count


class TestResnetGenerator(DropoutTester):
    model_class = ResnetGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "num_res_blocks": 2}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "mid_blocks", "up_blocks", "conv_out"}
    variants: ClassVar = [
        {"norm_type": "batch", "norm_on_last": True},
        {"norm_type": "none", "activation_after_add": True},
        {"norm_type": "pixel", "activation_type": "leaky_relu", "learn_residual": True},
        {"padding_mode": "zero", "upsample_type": "resize_conv", "learn_residual": True},
        {"separable": True, "dropout_prob": 0.1},
    ]

    @pytest.mark.parametrize(
        ("size", "expected"), [((254, 256), (256, 256)), ((33, 47), (36, 48)), ((8, 90), (8, 92))]
    )
    def test_sizes_are_rounded_up_to_the_multiple(self, size: tuple[int, int], expected: tuple[int, int]) -> None:
        model = self.make()
        assert model.size_multiple == 4
        with torch.no_grad():
            assert model(self.sample(1, size=size)).sample.shape[-2:] == expected

    @pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10)])
    @pytest.mark.parametrize("num_res_blocks", [0, 1])
    def test_any_depth(self, widths: tuple[int, ...], num_res_blocks: int) -> None:
        model = self.make(block_out_channels=widths, num_res_blocks=num_res_blocks)
        assert model.size_multiple == 2 ** (len(widths) - 1)
        with torch.no_grad():
            assert model(self.sample(1)).sample.shape == (1, 3, 32, 32)

    def test_paddings_change_the_size(self) -> None:
        to_32, to_28 = self.make(in_padding=5), self.make(out_padding=1)
        with torch.no_grad():
            assert to_32(self.sample(size=(28, 28))).sample.shape[-2:] == (32, 32)
            assert to_28(self.sample(size=(32, 32))).sample.shape[-2:] == (28, 28)

    def test_padding_modes_differ_at_the_border_only(self) -> None:
        # Without norms nothing but the convolutions carries a change inwards: 3 pixels, then 1, 1 and twice 1 at a
        # quarter of the resolution, and back: a border of 40 is enough.
        reflect, zero = (self.make(padding_mode=mode, norm_type="none") for mode in ("reflect", "zero"))
        sample = self.sample(1, size=(96, 96))
        with torch.no_grad():
            difference = (reflect(sample).sample - zero(sample).sample).abs()
        assert difference.max() > 1e-4
        assert difference[..., 40:-40, 40:-40].max() == 0

    def test_a_resize_convolution_treats_all_pixels_alike(self) -> None:
        # A flat picture must come out flat: a transposed convolution's overlap draws a grid on it. The strided
        # convolutions' zero padding reaches less than 40 pixels inwards.
        sample = torch.full((1, 3, 96, 96), 0.5)
        spread = {}
        for upsample_type in ("resize_conv", "conv_transpose"):
            with torch.no_grad():
                output = self.make(norm_type="none", upsample_type=upsample_type)(sample).sample[..., 40:-40, 40:-40]
            spread[upsample_type] = output.std(dim=(2, 3)).max().item()
        assert spread["resize_conv"] < 1e-6 < 1e-4 < spread["conv_transpose"]

    def test_a_network_of_zeros_that_learns_the_residual_returns_its_input(self) -> None:
        model = self.make(learn_residual=True)
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        sample = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
        with torch.no_grad():
            output = model(sample).sample
        # The inverse of tanh stops at 0.99: 0.01 is lost at the ends, nothing before.
        torch.testing.assert_close(output, sample.clamp(-0.99, 0.99), rtol=0, atol=1e-5)
        assert (output - sample).abs().max() < 0.0101

    def test_the_residual_is_added_before_the_tanh(self) -> None:
        # A change of 1 before the tanh: tanh(artanh(0.6) + 1) = tanh(0.6931 + 1) = 0.9345, and -0.6 becomes
        # tanh(-0.6931 + 1) = 0.2976.
        model = self.make(learn_residual=True)
        torch.nn.init.zeros_(model.conv_out[1].weight)
        torch.nn.init.ones_(model.conv_out[1].bias)
        with torch.no_grad():
            bright, dark = (model(torch.full((1, 3, 16, 16), value)).sample for value in (0.6, -0.6))
        torch.testing.assert_close(bright, torch.full_like(bright, 0.9345), rtol=0, atol=1e-4)
        torch.testing.assert_close(dark, torch.full_like(dark, 0.2976), rtol=0, atol=1e-4)

    @pytest.mark.parametrize("size", [(33, 32), (32, 47)])
    def test_a_residual_needs_a_size_that_is_kept(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=f"multiples of 4 with `learn_residual`, got {size[0]}×{size[1]}"):
            self.make(learn_residual=True)(self.sample(size=size))

    def test_no_feature_is_negative_after_an_activation_after_the_sum(self) -> None:
        smallest = {}
        for after_add in (False, True):
            model = self.make(activation_after_add=after_add)
            model.mid_blocks[-1].register_forward_hook(
                lambda _module, _inputs, output, key=after_add: smallest.update({key: output.min().item()})
            )
            with torch.no_grad():
                model(self.sample())
        assert smallest[False] < 0 == smallest[True]

    def test_a_norm_on_the_last_convolution_fixes_the_mean_before_the_tanh(self) -> None:
        means = {}
        for on_last in (False, True):
            model = self.make(norm_on_last=on_last)
            torch.nn.init.constant_(model.conv_out[1].bias, -4.0)  # black
            with torch.no_grad():
                means[on_last] = torch.atanh(model(self.sample()).sample.double()).mean().item()
        assert means[False] < -3
        assert abs(means[True]) < 1e-4

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": ()}, "`block_out_channels` must name at least one width, got an empty sequence"),
            ({"upsample_type": "bilinear"}, "`upsample_type` must be .* got 'bilinear'"),
            ({"padding_mode": "same"}, "`padding_mode` must be .* got 'same'"),
            ({"norm_type": "layer"}, "`norm_type` must be .* got 'layer'"),
            ({"learn_residual": True, "in_channels": 1}, "`learn_residual` needs as many channels .* got 1 and 3"),
            ({"learn_residual": True, "in_padding": 5}, "`learn_residual` needs the paddings .* `in_padding` 5 and"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


@pytest.mark.parametrize(
    ("config", "size", "middle", "expected"),
    [
        ({}, 256, (256, 64, 64), (3, 256, 256)),  # the paper; `summer2winter_v2`
        ({"num_res_blocks": 6, "dropout_prob": 0.5}, 256, (256, 64, 64), (3, 256, 256)),  # `selfie2anime`
        ({"in_channels": 1, "in_padding": 5, "activation_after_add": True}, 28, (256, 8, 8), (3, 32, 32)),
        ({"out_channels": 1, "out_padding": 1, "activation_after_add": True}, 32, (256, 8, 8), (1, 28, 28)),
    ],
)
def test_shapes_of_the_reports(config: dict, size: int, middle: tuple, expected: tuple) -> None:
    """The last two are `mnist2svhn`: 1×28×28 to 3×32×32 and back."""
    with torch.device("meta"):
        model, sample = ResnetGenerator(**config), torch.empty(1, config.get("in_channels", 3), size, size)
    seen = []
    model.mid_blocks[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
    assert model(sample).sample.shape == (1, *expected)
    assert seen == [(1, *middle)]


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [
        ({}, 11_378_179, 48),
        ({"num_res_blocks": 6}, 7_837_699, 36),
        ({"dropout_prob": 0.5}, 11_378_179, 48),
        # `mnist2svhn`, 6 blocks: two input channels fewer, or two output channels fewer, each with its bias
        ({"num_res_blocks": 6, "in_channels": 1, "norm_on_last": True}, 7_837_699 - 2 * 64 * 49, 36),
        ({"num_res_blocks": 6, "out_channels": 1, "norm_on_last": True}, 7_837_699 - 2 * (64 * 49 + 1), 36),
        # Batch norm: a scale and a shift for each bias, and on the last convolution too: 49·(3·64 + 64·3) +
        # 9·2·(64·128 + 128·256 + 256·256) weights, and 2·(64 + 128 + 256 + 256 + 256 + 128 + 64 + 3) of the norms.
        ({"num_res_blocks": 1, "norm_type": "batch", "norm_on_last": True}, 18_816 + 1_916_928 + 2_310, 8 * 6),
    ],
)
def test_official_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert count(ResnetGenerator, **config) == (parameters, tensor_count)


@pytest.mark.parametrize("upsample_type", ["conv_transpose", "resize_conv"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_nothing_beyond_the_receptive_radius_changes_a_pixel(blocks: int, upsample_type: str) -> None:
    generator = ResnetGenerator(
        block_out_channels=(4, 4, 4), num_res_blocks=blocks, norm_type="none", upsample_type=upsample_type
    )
    for parameter in generator.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.02)  # nothing cancels out, no ReLU closes
    radius = generator.receptive_radius
    assert radius is not None
    reached = 0
    for place in range(80, 84):  # each place in a cell of four
        sample = torch.zeros(1, 3, 160, 16).requires_grad_()
        generator(sample).sample[0, 0, place, 8].backward()
        assert sample.grad is not None
        rows = sample.grad[0, 0].abs().sum(1).nonzero()[:, 0]
        reached = max(reached, place - int(rows.min()), int(rows.max()) - place)
    assert radius - 4 <= reached <= radius


def test_an_instance_norm_sees_the_whole_picture() -> None:
    assert ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1).receptive_radius is None
