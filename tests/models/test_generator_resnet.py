from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from tests.models.model_tester import GeneratorTester, count


class TestResnetGenerator(GeneratorTester):
    model_class = ResnetGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "num_res_blocks": 2}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "mid_blocks", "up_blocks", "conv_out"}
    variants: ClassVar = [
        {"norm_type": "batch"},
        {"norm_type": "none"},
        {"padding_mode": "zero", "upsample_type": "resize_conv"},
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

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": ()}, "`block_out_channels` must name at least one width, got an empty sequence"),
            ({"upsample_type": "bilinear"}, "`upsample_type` must be .* got 'bilinear'"),
            ({"padding_mode": "same"}, "`padding_mode` must be .* got 'same'"),
            ({"norm_type": "layer"}, "`norm_type` must be .* got 'layer'"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [({}, 11_378_179, 48), ({"num_res_blocks": 6}, 7_837_699, 36), ({"dropout_prob": 0.5}, 11_378_179, 48)],
)
def test_official_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert count(ResnetGenerator, **config) == (parameters, tensor_count)
