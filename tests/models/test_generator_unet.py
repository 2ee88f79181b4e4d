from typing import ClassVar

import pytest
import torch
from torch import nn

from cyclegan_hf.models.generator_unet import UnetGenerator
from tests.models.model_tester import DropoutTester, count


UNET_256 = (64, 128, 256, 512, 512, 512, 512, 512)
UNET_128 = UNET_256[:-1]


class TestUnetGenerator(DropoutTester):
    model_class = UnetGenerator
    config: ClassVar = {"block_out_channels": (4, 8, 8, 8)}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "up_blocks", "conv_out"}
    variants: ClassVar = [{"norm_type": "batch"}, {"norm_type": "none"}]

    def test_runs_at_its_training_size(self) -> None:
        assert UnetGenerator.resize_to_training_size
        model = self.make()
        assert model.size_multiple == model.min_size == 16

    @pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 16)])
    def test_multiples_keep_their_size(self, size: tuple[int, int]) -> None:
        with torch.no_grad():
            assert self.make()(self.sample(size=size)).sample.shape == (2, 3, *size)

    @pytest.mark.parametrize("size", [(33, 32), (32, 40), (8, 16)])
    def test_other_sizes_are_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=f"must be multiples of 16, got {size[0]}×{size[1]}"):
            self.make()(self.sample(size=size))

    def test_dropout_sits_where_the_official_code_has_it(self) -> None:
        with torch.device("meta"):
            model = UnetGenerator(dropout_prob=0.5)
        dropouts = [layer.p for block in model.up_blocks for layer in block if isinstance(layer, nn.Dropout)]
        assert dropouts == [0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]  # from the innermost outwards

    def test_skips_come_before_what_was_decoded(self) -> None:
        # With the way through the middle cut, the outermost features alone must still reach the output.
        model = self.make(norm_type="none")
        with torch.no_grad():
            model.conv_out[1].weight[4:] = 0  # rows of the decoded features
            before = model(self.sample()).sample
            model.down_blocks[0][1].weight.add_(1)
            assert torch.equal(model(self.sample()).sample, before)
            model.conv_in.weight.add_(0.1)
            assert not torch.equal(model(self.sample()).sample, before)

    def test_one_width_is_too_few(self) -> None:
        with pytest.raises(ValueError, match=r"at least two widths, got \[4\]"):
            self.make(block_out_channels=(4,))


@pytest.mark.parametrize(
    ("widths", "norm_type", "parameters", "tensor_count"),
    [
        (UNET_256, "instance", 54_409_603, 32),
        (UNET_128, "instance", 41_825_667, 28),
        (UNET_256, "batch", 54_413_955, 82),
        (UNET_128, "batch", 41_828_995, 70),
    ],
)
def test_official_sizes(widths: tuple[int, ...], norm_type: str, parameters: int, tensor_count: int) -> None:
    assert count(UnetGenerator, block_out_channels=widths, norm_type=norm_type) == (parameters, tensor_count)


def test_the_default_is_unet_256() -> None:
    assert count(UnetGenerator) == (54_409_603, 32)
