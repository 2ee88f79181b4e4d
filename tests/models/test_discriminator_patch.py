from typing import ClassVar

import pytest
import torch

from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from tests.models.model_tester import DiscriminatorTester, count


class TestPatchDiscriminator(DiscriminatorTester):
    model_class = PatchDiscriminator
    config: ClassVar = {"block_out_channels": (4, 6, 8, 8)}
    top_level_names: ClassVar = {"conv_in", "blocks", "conv_out"}
    variants: ClassVar = [{"norm_type": "batch"}, {"norm_type": "none"}, {"output_activation": "sigmoid"}]

    def test_256_pixels_make_30_by_30_patches(self) -> None:
        with torch.no_grad():
            assert self.make()(self.sample(1, size=(256, 256))).prediction.shape == (1, 1, 30, 30)

    @pytest.mark.parametrize(("widths", "field"), [((2, 2), 16), ((2, 2, 2), 34), ((2, 2, 2, 2), 70), ((2,) * 6, 286)])
    def test_receptive_field(self, widths: tuple[int, ...], field: int) -> None:
        # A norm would see the whole picture. Equal positive weights: no two paths cancel.
        model = self.make(block_out_channels=widths, norm_type="none")
        assert model.receptive_field == field
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        sample = torch.ones(1, 3, 640, 320, dtype=torch.float64, requires_grad=True)
        prediction = model.double()(sample).prediction
        prediction[0, 0, prediction.shape[2] // 2, prediction.shape[3] // 2].backward()
        rows, columns = sample.grad[0, 0].nonzero().unbind(1)
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == field
        assert len(rows) == field**2

    @pytest.mark.parametrize("widths", [(4, 6), (4, 6, 8), (4, 6, 8, 8), (4, 6, 8, 8, 8)])
    def test_nothing_smaller_than_the_smallest_size_works(self, widths: tuple[int, ...]) -> None:
        model = self.make(block_out_channels=widths)
        with torch.no_grad():
            assert model(self.sample(size=(model.min_size,) * 2)).prediction.shape[-2:] == (1, 1)
            with pytest.raises(ValueError):
                model(self.sample(size=(model.min_size - 1,) * 2))

    @pytest.mark.parametrize(("activation", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
    def test_output_activation(self, activation: str, low: float, high: float) -> None:
        plain, bounded = self.make(), self.make(output_activation=activation)
        for model in (plain, bounded):
            torch.nn.init.constant_(model.conv_out.weight, 3.0)
        with torch.no_grad():
            scores, output = plain(self.sample()).prediction, bounded(self.sample()).prediction
        assert scores.abs().max() > 1
        assert low <= output.min() and output.max() <= high
        torch.testing.assert_close(output, getattr(torch, activation)(scores))

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": (64,)}, r"at least two widths, got \[64\]"),
            ({"output_activation": "relu"}, "`output_activation` must be .* got 'relu'"),
            ({"norm_type": "layer"}, "`norm_type` must be .* got 'layer'"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [
        ({}, 2_764_737, 10),
        ({"norm_type": "batch"}, 2_764_737 - 896 + 2 * 896, 8 - 1 + 3 * 5),  # batch norms in the place of biases
    ],
)
def test_official_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert count(PatchDiscriminator, **config) == (parameters, tensor_count)
