from typing import ClassVar

import pytest
import torch
from torch import nn

from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
from tests.models.model_tester import GeneratorTester, count


class TestMaxPoolUnetGenerator(GeneratorTester):
    model_class = MaxPoolUnetGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "output_activation": "tanh"}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "upsamplers", "up_blocks", "conv_out"}
    variants: ClassVar = [{"output_activation": "none"}, {"layers_per_block": 1}]

    def test_runs_at_its_training_size(self) -> None:
        assert MaxPoolUnetGenerator.resize_to_training_size
        model = self.make()
        assert model.size_multiple == model.min_size == 4

    @pytest.mark.parametrize("size", [(4, 4), (12, 40)])
    def test_multiples_keep_their_size(self, size: tuple[int, int]) -> None:
        with torch.no_grad():
            assert self.make()(self.sample(size=size)).sample.shape == (2, 3, *size)

    @pytest.mark.parametrize("size", [(33, 32), (32, 42)])
    def test_other_sizes_are_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=f"must be multiples of 4, got {size[0]}×{size[1]}"):
            self.make()(self.sample(size=size))

    def test_mean_std_space_has_no_bounds(self) -> None:
        linear, bounded = self.make(output_activation="none"), self.make()
        for model in (linear, bounded):
            nn.init.constant_(model.conv_out[1].bias, 3.0)
        with torch.no_grad():
            output = linear(self.sample()).sample
            assert output.min() > 1
            torch.testing.assert_close(bounded(self.sample()).sample, torch.tanh(output))

    def test_a_skip_can_copy_the_input(self) -> None:
        """The report's finding: with nothing but the outermost skip, the network is able to learn the identity."""
        model = self.make(block_out_channels=(6, 6), layers_per_block=1, output_activation="none")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            for channel in range(3):  # x = relu(x) - relu(-x): one feature each, passed on at the kernels' centres
                model.conv_in[0].weight[channel, channel, 1, 1] = 1
                model.conv_in[0].weight[channel + 3, channel, 1, 1] = -1
                model.conv_out[1].weight[channel, channel, 1, 1] = 1
                model.conv_out[1].weight[channel, channel + 3, 1, 1] = -1
            for feature in range(6):  # skips come first in the concatenation
                model.up_blocks[0][0].weight[feature, feature, 1, 1] = 1
            assert torch.equal(model(self.sample()).sample, self.sample())

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": (4,)}, r"at least two widths, got \[4\]"),
            ({"layers_per_block": 0}, "`layers_per_block` must be at least 1, got 0"),
            ({"output_activation": "sigmoid"}, "`output_activation` must be 'none' or 'tanh', got 'sigmoid'"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


def test_layers_of_the_report() -> None:
    """Figure 1 of the report: 96² to 6² and back; conv-relu-conv-relu-conv a level, four convolutions in the last."""
    with torch.device("meta"):
        model, sample = MaxPoolUnetGenerator(), torch.empty(2, 3, 96, 96)
    sizes = []
    for block in model.down_blocks:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    assert model(sample).sample.shape == (2, 3, 96, 96)
    assert sizes == [(128, 48, 48), (256, 24, 24), (512, 12, 12), (1024, 6, 6)]
    level = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d]
    assert [type(layer) for layer in model.conv_in] == level
    assert all([type(layer) for layer in block] == [nn.MaxPool2d, *level] for block in model.down_blocks)
    assert all([type(layer) for layer in block] == level for block in model.up_blocks)
    assert [type(layer) for layer in model.conv_out] == [nn.ReLU, nn.Conv2d]


def test_parameters_of_the_default() -> None:
    def convolutions(narrow: int, wide: int) -> int:
        return narrow * wide * 9 + wide + 2 * (wide * wide * 9 + wide)

    # down: 75,648 (64) + 369,024 (128) + 1,475,328 (256) + 5,899,776 (512) + 23,596,032 (1024)
    # transposed 2×2: 1024·512·4 + 512 = 2,097,664; 524,544; 131,200; 32,832
    # up: 9,438,720 (1024 to 512) + 2,360,064 + 590,208 + 147,648 (128 to 64); last: 64·3·9 + 3 = 1,731
    assert [convolutions(3, 64), convolutions(512, 1024)] == [75_648, 23_596_032]
    assert [convolutions(1024, 512), convolutions(128, 64)] == [9_438_720, 147_648]
    down, transposed, up = 31_415_808, 2_786_240, 12_538_371
    assert down + transposed + up == 46_740_419
    # tensors: weight and bias of 5·3 + 4 + 4·3 + 1 = 32 convolutions
    assert count(MaxPoolUnetGenerator) == (46_740_419, 64)
