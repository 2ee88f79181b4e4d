from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from tests.models.model_tester import DiscriminatorTester, count


class TestPixelDiscriminator(DiscriminatorTester):
    model_class = PixelDiscriminator
    config: ClassVar = {"block_out_channels": (4, 8)}
    top_level_names: ClassVar = {"conv_in", "block", "conv_out"}
    variants: ClassVar = [{"norm_type": "batch"}, {"norm_type": "none"}]

    @pytest.mark.parametrize("size", [(2, 2), (31, 17)])
    def test_one_score_a_pixel(self, size: tuple[int, int]) -> None:
        with torch.no_grad():
            assert self.make()(self.sample(size=size)).prediction.shape == (2, 1, *size)

    def test_sees_one_pixel(self) -> None:
        model, sample = self.make(norm_type="none"), self.sample(1).requires_grad_()
        assert model.receptive_field == 1
        model(sample).prediction[0, 0, 5, 9].backward()
        assert sample.grad[0].abs().sum(0).nonzero().tolist() == [[5, 9]]

    def test_bad_settings(self) -> None:
        with pytest.raises(ValueError, match=r"must name two widths, got \[4\]"):
            self.make(block_out_channels=(4,))


@pytest.mark.parametrize(
    ("norm_type", "parameters", "tensor_count"),
    [("instance", 8_705, 6), ("batch", 8_705 - 128 + 256 - 1, 4 + 5)],
)
def test_official_sizes(norm_type: str, parameters: int, tensor_count: int) -> None:
    assert count(PixelDiscriminator, norm_type=norm_type) == (parameters, tensor_count)
