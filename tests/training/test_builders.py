"""From a configuration to networks, and what cannot be built."""

from typing import Any

import pytest
import torch

from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.training.builders import build_networks, image_processors, mixes_batch
from cyclegan_hf.training.config import DataConfig, TrainConfig
from cyclegan_hf.training.config_groups import LossConfig
from tests.training.tiny import DISCRIMINATOR, GENERATOR


def config(
    generator: dict[str, Any] | None = None,
    discriminator: dict[str, Any] | None = None,
    image_size: int = 32,
    **groups: Any,
) -> TrainConfig:
    return TrainConfig(
        generator=GENERATOR | (generator or {}),
        discriminator=DISCRIMINATOR | (discriminator or {}),
        data=DataConfig(image_size=image_size, load_size=(image_size, image_size)),
        **groups,
    )


def test_both_directions_and_both_judges_fit_the_domains_channels() -> None:
    settings = config({"in_channels": 1, "out_channels": 3}, losses=LossConfig(lambda_identity=0))
    networks = build_networks(settings)
    channels = [(network.config.in_channels, network.config.out_channels) for network in networks.generators]
    assert channels == [(1, 3), (3, 1)]
    assert networks.discriminator_a.config.in_channels == 1
    assert networks.discriminator_b.config.in_channels == 3
    assert [processor.num_channels for processor in image_processors(settings)] == [1, 3]


DIGITS = {"in_channels": 1, "out_channels": 3, "in_padding": 5}  # 28² to 32²
HOUSE_NUMBERS = {"in_padding": 3, "out_padding": 1}  # 32² to 28²


def digits(generator_b2a: dict[str, Any] = HOUSE_NUMBERS, image_size_b: int | None = 32) -> TrainConfig:
    return TrainConfig(
        generator=GENERATOR | DIGITS,
        generator_b2a=generator_b2a,
        discriminator=DISCRIMINATOR,
        losses=LossConfig(lambda_identity=0),
        data=DataConfig(image_size=28, load_size=(28, 28), image_size_b=image_size_b),
    )


def test_domains_of_unequal_sizes_and_channels() -> None:
    settings = digits()
    networks = build_networks(settings)
    with torch.no_grad():
        forward = networks.generator_a2b(torch.zeros(1, 1, 28, 28)).sample
        assert forward.shape == (1, 3, 32, 32)
        assert networks.generator_b2a(forward).sample.shape == (1, 1, 28, 28)
    assert [processor.size for processor in image_processors(settings)] == [(28, 28), (32, 32)]


def test_processors_take_the_pictures_statistics() -> None:
    statistics = {"a": {"mean": [0.1], "std": [0.2]}, "b": {"mean": [0.3, 0.4, 0.5], "std": [0.6, 0.7, 0.8]}}
    processor_a, processor_b = image_processors(digits(), statistics)
    assert (processor_a.mean, processor_a.std, processor_a.num_channels) == ((0.1,), (0.2,), 1)
    assert (processor_b.mean, processor_b.std) == ((0.3, 0.4, 0.5), (0.6, 0.7, 0.8))


def test_other_architectures() -> None:
    networks = build_networks(
        TrainConfig(
            generator={"_class_name": "UnetGenerator", "block_out_channels": [4, 8, 8]},
            discriminator={"_class_name": "PixelDiscriminator"},
        )
    )
    assert isinstance(networks.generator_a2b, UnetGenerator)
    assert isinstance(networks.discriminator_b, PixelDiscriminator)


def test_weights_are_drawn_as_the_recipe_says() -> None:
    settings = config({"block_out_channels": [32, 64]})
    settings.init.gain = 0.5
    weight = build_networks(settings).generator_b2a.down_blocks[0][0].weight
    assert weight.std().item() == pytest.approx(0.5, rel=0.03)  # 18,432 numbers: 0.5 %
    settings.init.type = "orthogonal"
    weight = build_networks(settings).generator_b2a.down_blocks[0][0].weight.flatten(1)
    assert torch.allclose(weight @ weight.T, 0.25 * torch.eye(64), atol=1e-5)


def test_a_generator_of_residuals_starts_as_the_identity() -> None:
    networks = build_networks(config({"learn_residual": True, "norm_type": "pixel", "activation_type": "leaky_relu"}))
    sample = torch.rand(1, 3, 32, 32) * 1.9 - 0.95
    for generator in networks.generators:
        torch.testing.assert_close(generator(sample).sample, sample, rtol=0, atol=1e-5)


@pytest.mark.parametrize("which", ["generator", "discriminator"])
def test_batch_norm_forbids_to_put_passes_together(which: str) -> None:
    assert not mixes_batch(build_networks(config()))
    assert mixes_batch(build_networks(config(**{which: {"norm_type": "batch"}})))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (config({"_class_name": "ResNet"}), "`generator._class_name` must be one of .*ResnetGenerator.*got 'ResNet'"),
        (config(discriminator={"_class_name": None}), "`discriminator._class_name` must be one of"),
        (config({"ngf": 64}), "`generator.ngf` is no argument of ResnetGenerator; it takes in_channels, "),
        (config({"norm_type": "layer"}), "`norm_type` must be"),
        (config({"num_res_blocks": "six"}), "`generator`: ResnetGenerator cannot be built from .*'six'"),
        (config({"out_channels": 1}), "`losses.lambda_identity` must be 0 .*channels differ \\(3 and 1\\)"),
        (config({"in_channels": 4, "out_channels": 4}), "`generator.in_channels` must be 1 or 3.*got 4"),
        (config(image_size=30 + 3), "`data.image_size` must be a multiple of 2 .*got 33"),
        (config({"block_out_channels": [4, 4, 4, 4]}, image_size=8), "at least 16 for ResnetGenerator, got 8"),
        (config(discriminator={"block_out_channels": [4] * 6}), "at least 96 for PatchDiscriminator, got 32"),
        (digits({}), "from B to A must turn 32² into 28² .* it makes 36² of it: .* `generator_b2a`"),
        (digits(image_size_b=None), "from A to B must turn 28² into 28² .* it makes 32² of it"),
        (digits(image_size_b=33), "`data.image_size_b` must be a multiple of 2 .*got 33"),
        (digits({"in_channels": 3}), "`generator_b2a.in_channels` is not to be set"),
        (digits({"padding": 1}), "`generator_b2a.padding` is no argument of ResnetGenerator"),
        (
            TrainConfig(
                generator=GENERATOR,
                discriminator=DISCRIMINATOR,
                data=DataConfig(image_size=32, load_size=(32, 32), normalization="dataset"),
            ),
            "`data.normalization: dataset` needs an output without bounds, and ResnetGenerator ends in tanh",
        ),
        (
            config(discriminator={"output_activation": "sigmoid"}, losses=LossConfig(adversarial="vanilla")),
            "takes unbounded scores: `discriminator.output_activation` must be 'none', got 'sigmoid'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(settings: TrainConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build_networks(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("block", "count"),
    [
        ({"block_out_channels": [20000] * 3}, "parameters"),
        ({"block_out_channels": [4, 8], "num_res_blocks": 10**9}, "more than"),
        ({"block_out_channels": [1] * 100_000}, "more than"),
    ],
)
def test_a_network_that_no_memory_holds_is_refused_before_it_takes_any(block: dict[str, object], count: str) -> None:
    config = TrainConfig(generator={"_class_name": "ResnetGenerator"} | block)
    with pytest.raises(ValueError, match=f"`generator`: ResnetGenerator .* has .*{count}.* at most 1,000,000,000"):
        build_networks(config)
