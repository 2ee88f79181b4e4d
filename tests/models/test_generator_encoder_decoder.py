from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
from tests.models.model_tester import GeneratorTester, count


class TestEncoderDecoderGenerator(GeneratorTester):
    model_class = EncoderDecoderGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "num_res_blocks": 2, "norm_type": "instance"}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "mid_blocks", "up_blocks", "conv_out"}
    variants: ClassVar = [{"norm_type": "batch"}, {"norm_type": "none", "activation_type": "leaky_relu"}]

    def test_any_size(self) -> None:
        assert not EncoderDecoderGenerator.resize_to_training_size
        model = self.make()
        assert (model.size_multiple, model.min_size) == (8, 16)
        with torch.no_grad():
            assert model(self.sample(size=(40, 88))).sample.shape == (2, 3, 40, 88)

    @pytest.mark.parametrize("size", [(33, 32), (32, 36)])
    def test_other_sizes_are_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=f"must be multiples of 8, got {size[0]}×{size[1]}"):
            self.make()(self.sample(size=size))

    @pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10)])
    @pytest.mark.parametrize("num_res_blocks", [0, 1])
    def test_any_depth(self, widths: tuple[int, ...], num_res_blocks: int) -> None:
        model = self.make(block_out_channels=widths, num_res_blocks=num_res_blocks)
        assert model.size_multiple == 2 ** len(widths)
        with torch.no_grad():
            assert model(self.sample(1)).sample.shape == (1, 3, 32, 32)

    def test_the_smallest_size_trains_with_batch_norm(self) -> None:
        model = self.make(norm_type="batch").train()  # a batch norm refuses a single value a channel
        assert model(self.sample(1, size=(model.min_size, model.min_size))).sample.isfinite().all()

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": ()}, "`block_out_channels` must name at least one width, got an empty sequence"),
            ({"norm_type": "layer"}, "`norm_type` must be .* got 'layer'"),
            ({"activation_type": "gelu"}, "`activation_type` must be 'relu' or 'leaky_relu', got 'gelu'"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


def test_shapes_of_the_report() -> None:
    """128×128×3 to 16×16×256 and back (the report's generator V1); the residual blocks keep the shape."""
    with torch.device("meta"):
        model, sample = EncoderDecoderGenerator(), torch.empty(16, 3, 128, 128)
    assert len(model.mid_blocks) == 3
    seen = []
    for block in model.mid_blocks:
        block.register_forward_hook(lambda _module, inputs, output: seen.extend([inputs[0].shape, output.shape]))
    assert model(sample).sample.shape == (16, 3, 128, 128)
    assert seen == [(16, 256, 16, 16)] * 6


def test_parameters_of_the_default() -> None:
    # 4×4 down:  3·64·16 + 64 = 3,136; 64·128·16 + 2·128 (batch norm) = 131,328; 128·256·16 + 2·256 = 524,800
    # blocks:    3 · 2 · (256·256·9 + 2·256) = 3,542,016
    # 4×4 up:    256·128·16 + 2·128 = 524,544; 128·64·16 + 2·64 = 131,200; 64·3·16 + 3 = 3,075
    parameters = 3_136 + 131_328 + 524_800 + 3_542_016 + 524_544 + 131_200 + 3_075
    assert parameters == 4_860_099
    # tensors: two of conv_in, two of conv_out, and 10 pairs of one weight and the five of a batch norm
    assert count(EncoderDecoderGenerator) == (parameters, 2 + 2 + 10 * 6)
