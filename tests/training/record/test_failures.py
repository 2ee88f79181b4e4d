"""Warning signs: networks and pictures made to show each one, and those that must not."""

import math

import pytest
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch.nn import functional as F

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.evaluation.failure_checks import measure, present
from cyclegan_hf.metrics.artifacts import change, luma_agreement, noise_gain, regular_pattern
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.training.record.failures import LONG, SIGNS, Signals
from tests.testing_utils import make_picture


class PixelFunction(ModelMixin, ConfigMixin):
    """A generator that does one simple thing to pictures in [-1, 1]."""

    resize_to_training_size, size_multiple, min_size = False, 1, 1

    @register_to_config
    def __init__(self, kind: str, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput:
        return GeneratorOutput(self.translated(sample))

    def translated(self, sample: torch.Tensor) -> torch.Tensor:
        match self.config.kind:
            case "identity":
                return sample
            case "negative":
                return -sample
            case "tint":  # what a season's colours do: brighter, bluer, flatter
                return (0.8 * sample + torch.tensor([0.1, 0.15, 0.25])[:, None, None]).clamp(-1, 1)
            case "grid":
                grid = torch.tensor([1.0, -1.0]).repeat(sample.shape[-1] // 2)
                return sample + 0.03 * grid * torch.tensor([1.0, -1.0, 0.0])[:, None, None]
            case "hide":  # a picture of one grey, with the input in its last bits
                return 0.02 * sample
            case "reveal":
                return (50 * sample).clamp(-1, 1)
        raise AssertionError(self.config.kind)


def pictures(count: int = 4, size: int = 64) -> torch.Tensor:
    """Landscapes with texture, `(count, 3, size, size)` in [0, 1]."""
    noise = torch.Generator().manual_seed(0)
    stack = []
    for seed in range(count):
        pixels = torch.tensor(list(make_picture("A", seed, size).tobytes()), dtype=torch.float32)
        stack.append(pixels.view(size, size, 3).permute(2, 0, 1) / 255)
    images = torch.stack(stack)
    return (images + 0.02 * torch.randn(images.shape, generator=noise)).clamp(0, 1)


def measured(there: str, back: str = "identity", accuracy: float = 0.7) -> dict[str, float]:
    pipe = CycleGANPipeline(PixelFunction(there).eval(), PixelFunction(back).eval())
    return {"accuracy": accuracy, "steps_ahead": 0.0, "steps_behind": 0.0} | measure(pipe, pictures(), "a2b")


def shown(measures: dict[str, float]) -> set[str]:
    return set(present(measures, SIGNS))


def test_a_healthy_translation_shows_nothing() -> None:
    for accuracy in (0.6, 0.9):
        assert shown(measured("tint", accuracy=accuracy)) == set()


@pytest.mark.parametrize(("accuracy", "signs"), [(0.84, {"identity"}), (0.55, set())])
def test_no_change_is_a_collapse_only_while_the_discriminator_sees_it(accuracy: float, signs: set[str]) -> None:
    assert shown(measured("identity", accuracy=accuracy)) == signs


def test_inverted_colours() -> None:
    assert shown(measured("negative", "negative")) == {"inversion"}


def test_inverted_parts() -> None:
    images = pictures(size=128)
    translations = images.clone()
    translations[..., :64, :] = images[..., :64, :].mean() * 2 - images[..., :64, :]  # the upper half
    stronger = (images - 0.5) * 4 + 0.5  # so that the tiles have contrast
    whole, inverted = luma_agreement(stronger, 4 * (translations - 0.5) + 0.5)
    assert inverted > 0.25
    assert SIGNS["inversion"].shows({"luma_correlation": whole, "inverted_tiles": inverted})
    assert luma_agreement(stronger, stronger) == (pytest.approx(1, abs=1e-5), 0)


def test_a_hidden_signal_does_not_survive_noise() -> None:
    measures = measured("hide", "reveal")
    assert measures["noise_gain"] > 10  # the way back multiplies by 50, and clips
    assert "hidden_signal" in shown(measures)


def test_the_gain_of_a_way_back_that_changes_nothing_is_one() -> None:
    images, noise = pictures(), 0.01 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    gain, growth = noise_gain(images, images, images + noise, noise)
    assert gain == pytest.approx(1, rel=1e-3)  # the undisturbed error is 0
    assert growth > 1000
    assert not SIGNS["hidden_signal"].shows({"noise_gain": gain, "cycle_growth": growth})


def test_a_coloured_grid_of_two_pixels() -> None:
    measures = measured("grid")
    # 0.03 of [-1, 1] is 0.015 of [0, 1], in two channels of three: the root of the mean power is 0.015 · √(2/3).
    assert measures["pattern"] == pytest.approx(0.015 * math.sqrt(2 / 3), rel=0.02)
    assert shown(measures) == {"pattern"}


def test_a_checkerboard_of_strided_transposed_convolution_and_none_without() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.rand(3, 3, 3, 3, generator=generator) / 10  # an uneven overlap (Odena et al. 2016)
    coarse = F.avg_pool2d(pictures(), 2)
    uneven = F.conv_transpose2d(coarse, kernel, stride=2, padding=1, output_padding=1)
    even = F.conv2d(F.interpolate(coarse, scale_factor=2), kernel, padding=1)
    for translations, shows in ((uneven, True), (even, False)):
        pattern, ratio = regular_pattern(pictures(), translations)
        assert SIGNS["pattern"].shows({"pattern": pattern, "pattern_ratio": ratio}) == shows


def test_domains_of_other_channels_and_sizes_can_be_measured() -> None:
    grey = torch.rand(2, 1, 28, 28)
    colour = F.interpolate(grey, 32, mode="bilinear").expand(-1, 3, -1, -1)
    assert change(grey, colour) < 0.25
    assert luma_agreement(grey, colour)[0] > 0.5
    assert regular_pattern(grey, colour)[0] >= 0
    tiny = torch.rand(2, 3, 8, 8)
    assert regular_pattern(tiny, tiny) == (0, 0)
    assert luma_agreement(tiny, tiny)[1] == 0


def measures(accuracy: float = 0.7, **changes: float) -> dict[str, dict[str, float]]:
    healthy = {"change": 0.1, "luma_correlation": 0.9, "inverted_tiles": 0, "noise_gain": 0, "cycle_growth": 1}
    return {"a2b": {"accuracy": accuracy, "pattern": 0, "pattern_ratio": 1} | healthy | changes}


def test_a_sign_is_said_once_and_at_the_second_look() -> None:
    signals = Signals()
    assert signals.look(500, 500, measures(luma_correlation=-0.9)) == []
    said = signals.look(1000, 500, measures(luma_correlation=-0.9))
    assert len(said) == 1
    assert said[0].startswith("a2b: light turns dark (luma correlation -0.90")
    assert "\n" not in said[0]
    assert signals.look(1500, 500, measures(luma_correlation=-0.9)) == []
    assert signals.since == {"inversion_a2b": 1000}
    assert list(signals.present()) == ["inversion_a2b"]
    signals.look(2000, 500, measures())
    assert signals.present() == {}


def test_what_only_the_last_look_showed_is_left_to_be_said() -> None:
    signals = Signals()
    signals.look(500, 500, measures(luma_correlation=-0.9))
    (left,) = signals.unsaid()
    assert left.startswith("a2b: light turns dark")
    signals.look(1000, 500, measures(luma_correlation=-0.9))  # said now
    assert signals.unsaid() == []


def test_what_passes_is_not_said() -> None:
    signals = Signals()
    for step in range(10):
        assert signals.look(step, 1, measures(luma_correlation=-0.9 if step % 2 else 0.9)) == []


@pytest.mark.parametrize(("accuracy", "sign"), [(0.99, "discriminator_ahead"), (0.505, "discriminator_behind")])
def test_a_discriminator_out_of_balance_for_long(accuracy: float, sign: str) -> None:
    signals = Signals()
    said = [signals.look(step, 500, measures(accuracy)) for step in range(500, LONG + 1001, 500)]
    assert [len(lines) for lines in said] == [0] * (LONG // 500) + [1, 0]  # two looks in a row
    assert list(signals.since) == [f"{sign}_a2b"]
    assert signals.look(9999, 500, measures(0.8)) == []
    assert signals.measures["a2b"]["steps_ahead"] == signals.measures["a2b"]["steps_behind"] == 0


def test_what_was_seen_survives_a_restart() -> None:
    signals, resumed = Signals(), Signals()
    signals.look(500, 500, measures(0.99, luma_correlation=-0.9))
    resumed.load_state_dict(signals.state_dict())
    for one in (signals, resumed):
        assert len(one.look(1000, 1500, measures(0.99, luma_correlation=-0.9))) == 1
        assert len(one.look(1500, 500, measures(0.99, luma_correlation=-0.9))) == 1
    assert signals.state_dict() == resumed.state_dict()
