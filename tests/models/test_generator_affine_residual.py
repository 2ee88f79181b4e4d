from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.generator_affine_residual import AffineResidualGenerator
from tests.models.model_tester import GeneratorTester, count


class TestAffineResidualGenerator(GeneratorTester):
    model_class = AffineResidualGenerator
    config: ClassVar = {"block_out_channels": (4, 6, 8), "num_res_blocks": 2}
    top_level_names: ClassVar = {
        "conv_in",
        "down_blocks",
        "mid_blocks",
        "conv_field",
        "up_blocks",
        "conv_residual",
    }
    variants: ClassVar = [{"num_luma_bins": 1}, {"draw_residual": False, "block_out_channels": (4,)}]

    def make(self, **overrides) -> AffineResidualGenerator:
        model = super().make(**overrides)
        for parameter in model.parameters():  # the initial zeros would hide most of the network
            torch.nn.init.normal_(parameter, 0, 0.1)
        return model

    @pytest.mark.parametrize("channels", [1, 4])
    def test_channels(self, channels: int) -> None:
        with torch.no_grad():
            output = self.make(in_channels=channels, out_channels=channels)(self.sample(in_channels=channels)).sample
        assert output.shape == (2, channels, 32, 32) and output.abs().max() <= 1

    def test_other_sizes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="multiples of 8"):
            self.make()(self.sample(size=(36, 32)))

    @pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10)])
    def test_any_depth(self, widths: tuple[int, ...]) -> None:
        model = self.make(block_out_channels=widths, num_res_blocks=1)
        side = model.min_size
        assert model.size_multiple == 2 ** len(widths)
        with torch.no_grad():
            assert model(self.sample(1, size=(side, 2 * side))).sample.shape == (1, 3, side, 2 * side)


def test_parameters() -> None:
    # The convolution in, two strided ones, six blocks, the field, two steps up with a block each, the residual.
    conv_in, down = 9 * 12 * 48 + 48, 9 * 48 * 96 + 96 + 9 * 96 * 192 + 192
    mid = 6 * (5 * 5 * 192 + 192 + 192 * 384 + 384 + 384 * 192 + 192)
    up = 192 * 96 + 96 + 96 * 48 + 48
    up += 9 * 96 + 96 + 96 * 192 + 192 + 192 * 96 + 96 + 9 * 48 + 48 + 48 * 96 + 96 + 96 * 48 + 48
    assert count(AffineResidualGenerator)[0] == conv_in + down + mid + (9 * 192 * 48 + 48) + up + (9 * 48 * 3 + 3)


def test_it_starts_as_the_identity() -> None:
    model = AffineResidualGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    sample = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    assert (model(sample).sample - sample).abs().max() < 0.0101


@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("draws", [False, True])
def test_nothing_beyond_the_receptive_radius_changes_a_pixel(blocks: int, draws: bool) -> None:
    generator = AffineResidualGenerator(block_out_channels=(4, 4), num_res_blocks=blocks, draw_residual=draws)
    for parameter in generator.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.02)  # nothing cancels out
    reached = 0
    for place in range(80, 84):
        sample = torch.zeros(1, 3, 160, 16).requires_grad_()
        generator(sample).sample[0, 0, place, 8].backward()
        assert sample.grad is not None
        rows = sample.grad[0, 0].abs().sum(1).nonzero()[:, 0]
        reached = max(reached, place - int(rows.min()), int(rows.max()) - place)
    assert generator.receptive_radius - 8 <= reached <= generator.receptive_radius
