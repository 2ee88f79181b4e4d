from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.layers import InstanceNorm2d
from tests.models.model_tester import DiscriminatorTester, count


class Report(NamedTuple):
    """One system's discriminator: settings, input sizes with the shapes they give, receptive field, parameters."""

    config: dict[str, Any]
    shapes: list[tuple[int, tuple[int, int, int]]]
    receptive_field: int
    parameters: int
    num_blocks: int = 4


MNIST2SVHN = {
    "last_stride": 2,
    "padding": "same",
    "norm_on_first": True,
    "head_padding": "same",
    "output_activation": "tanh",
}
# Convolutions of the paper's, 3 to 64 to 128 to 256 to 512, with biases: 3,136 + 131,200 + 524,544 + 2,097,664 =
# 2,756,544. Its head: 512·16 + 1 = 8,193. The receptive fields are 1 + 3·(the product of the strides before), summed.
REPORTS = {
    # 1 + 3·(1 + 2 + 4 + 8 + 8) = 70
    "summer2winter": Report({}, [(256, (1, 30, 30))], 70, 2_756_544 + 8_193),
    "selfie2anime": Report({"out_channels": 3}, [(256, (3, 30, 30))], 70, 2_756_544 + 3 * 8_193),
    # 1 + 3·(1 + 2 + 4 + 8 + 16) = 94: more than the whole picture. Grey: 2·64·16 weights fewer in the first.
    "mnist2svhn_a": Report(MNIST2SVHN | {"in_channels": 1}, [(28, (1, 2, 2))], 94, 2_756_544 - 2_048 + 8_193),
    "mnist2svhn_b": Report(MNIST2SVHN, [(32, (1, 2, 2))], 94, 2_756_544 + 8_193),
    # 1 + 3·(1 + 2 + 4 + 8) + 7·16 = 158: the whole picture. Three batch norms (128 + 256 + 512 channels) give a scale
    # and a shift for each bias; the head has 512·64 + 1 parameters.
    "summer2winter_v1": Report(
        {
            "norm_type": "batch",
            "activation_type": "relu",
            "last_stride": 2,
            "head_kernel_size": 8,
            "head_padding": 0,
        },
        [(128, (1, 1, 1))],
        158,
        2_756_544 + 896 + 32_769,
    ),
    # 1 + 3·(1 + 2 + 4 + 8) = 46, and not 70. 3,136 + 131,200 + 524,544, and 256·16 + 1 in the head.
    "human2anime_unet": Report(
        {
            "block_out_channels": (64, 128, 256),
            "norm_type": "none",
            "activation_type": "relu",
            "last_stride": 2,
            "head_stride": 2,
            "output_activation": "sigmoid",
            "pool_output": True,
        },
        [(96, (1, 1, 1))],
        46,
        662_977,
        3,
    ),
}


class TestPatchDiscriminator(DiscriminatorTester):
    model_class = PatchDiscriminator
    config: ClassVar = {"block_out_channels": (4, 6, 8, 8)}
    top_level_names: ClassVar = {"conv_in", "blocks", "conv_out"}
    variants: ClassVar = [
        {"norm_type": "batch", "norm_on_first": True, "activation_type": "relu", "head_kernel_size": 2},
        {"norm_type": "none", "head_stride": 2, "output_activation": "sigmoid", "pool_output": True},
        {"last_stride": 2, "padding": "same", "norm_on_first": True, "head_padding": "same"},
        {"norm_type": "none", "spectral_norm": True},
    ]

    def test_training_brings_the_spectral_norm_of_each_convolution_to_1(self) -> None:
        model = self.make(spectral_norm=True)
        for _ in range(100):
            model(self.sample(1))
        model.eval()
        for conv in (model.conv_in[0], *(block[0] for block in model.blocks), model.conv_out):
            assert torch.linalg.svdvals(conv.weight.flatten(1))[0].item() == pytest.approx(1.0, abs=1e-3)

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

    @pytest.mark.parametrize("name", REPORTS)
    def test_the_smallest_size_of_each_report(self, name: str) -> None:
        model = self.make(**REPORTS[name].config | {"block_out_channels": (4, 6, 8, 8)[: REPORTS[name].num_blocks]})
        channels, smallest = model.config["in_channels"], model.min_size
        assert smallest <= min(size for size, _ in REPORTS[name].shapes)
        with torch.no_grad():
            assert model.train()(self.sample(1, channels, (smallest, smallest))).prediction.isfinite().all()
            with pytest.raises((ValueError, RuntimeError)):
                model(self.sample(1, channels, (smallest - 1, smallest - 1)))

    @pytest.mark.parametrize("size", [(28, 28), (7, 7), (9, 12), (5, 6)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_same_padding_is_tensorflows(self, size: tuple[int, int], stride: int) -> None:
        """Stride 1: one pixel before, two after. Stride 2: one on each side, of odd lengths two after."""
        model = self.make(padding="same", last_stride=stride, norm_type="none")
        conv = model.blocks[-1][0]
        hidden = torch.randn(2, 8, *size)
        bottom, right = (2 if stride == 1 or length % 2 else 1 for length in size)
        padded = F.pad(hidden, (1, right, 1, bottom))
        torch.testing.assert_close(conv(hidden), F.conv2d(padded, conv.weight, conv.bias, stride))
        assert conv(hidden).shape[-2:] == tuple(-(-length // stride) for length in size)

    def test_plain_padding_fails_where_same_padding_does_not(self) -> None:
        plain, same = ({"last_stride": 2, "padding": padding} for padding in (1, "same"))
        with torch.no_grad(), pytest.raises(ValueError, match="more than 1 spatial element"):
            self.make(**plain)(self.sample(size=(28, 28)))  # 28, 14, 7, 3, 1
        assert self.make(**plain).min_size == 32
        assert self.make(**same).min_size == 17  # 17, 9, 5, 3, 2

    def test_a_pooled_verdict_is_the_mean_of_the_patches(self) -> None:
        settings = {"output_activation": "sigmoid", "head_stride": 2}
        patches, pooled = self.make(**settings), self.make(**settings, pool_output=True)
        for model in (patches, pooled):
            torch.nn.init.normal_(model.conv_out.weight, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            scores, verdict = (model(self.sample(size=(64, 96))).prediction for model in (patches, pooled))
        assert scores.shape[-2:] == (3, 5) and scores.std() > 0.1  # so that the order of mean and sigmoid matters
        torch.testing.assert_close(verdict, scores.mean((2, 3), keepdim=True))

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
            ({"activation_type": "gelu"}, "`activation_type` must be 'relu' or 'leaky_relu', got 'gelu'"),
            ({"last_stride": 3}, "`last_stride` must be 1 or 2, got 3"),
            ({"padding": "valid"}, "`padding` must be 0, a number of pixels or 'same', got 'valid'"),
            ({"head_padding": -1}, "`head_padding` must be 0, a number of pixels or 'same', got -1"),
            ({"head_kernel_size": 0}, "`head_kernel_size` must be at least 1, got 0"),
            ({"head_stride": 0}, "`head_stride` must be at least 1, got 0"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


@pytest.mark.parametrize("name", REPORTS)
def test_discriminators_of_the_reports(name: str) -> None:
    report = REPORTS[name]
    with torch.device("meta"):
        model = PatchDiscriminator(**report.config)
        for size, expected in report.shapes:
            sample = torch.empty(2, model.config["in_channels"], size, size)
            assert model(sample).prediction.shape == (2, *expected)
    assert model.receptive_field == report.receptive_field
    assert count(PatchDiscriminator, **report.config)[0] == report.parameters


def test_layers_of_the_reports() -> None:
    """28 to 14, 7, 4, 2 with `mnist2svhn`; 96 to 6×6 before the pooling with `human2anime_unet`; norms where named."""
    sizes: list[int] = []

    def built(name: str, **overrides: Any) -> PatchDiscriminator:
        sizes.clear()
        model = PatchDiscriminator(**REPORTS[name].config | overrides)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
        return model

    def norms(model: PatchDiscriminator, kind: type[nn.Module]) -> list[bool]:
        return [any(isinstance(layer, kind) for layer in block) for block in (model.conv_in, *model.blocks)]

    with torch.device("meta"):
        model = built("mnist2svhn_a")
        model(torch.empty(1, 1, 28, 28))
        assert sizes == [14, 7, 4, 2, 2]
        assert norms(model, InstanceNorm2d) == [True] * 4

        model = built("summer2winter_v1")
        model(torch.empty(16, 3, 128, 128))
        assert sizes == [64, 32, 16, 8, 1]
        assert norms(model, nn.BatchNorm2d) == [False, True, True, True]
        assert norms(model, nn.ReLU) == [True] * 4

        model = built("human2anime_unet", pool_output=False)
        assert model(torch.empty(32, 3, 96, 96)).prediction.shape == (32, 1, 6, 6)
        assert sizes == [48, 24, 12, 6]
        assert norms(model, nn.ReLU) == [True] * 3


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [
        ({}, 2_764_737, 10),
        ({"norm_type": "batch"}, 2_764_737 - 896 + 2 * 896, 8 - 1 + 3 * 5),  # batch norms in the place of biases
    ],
)
def test_official_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert count(PatchDiscriminator, **config) == (parameters, tensor_count)
