"""Settings that are impossible together are refused at the start, by name and with what would work."""

import pytest

from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import DataConfig, TrainConfig
from cyclegan_hf.training.config_groups import LossConfig
from tests.training.tiny import DISCRIMINATOR, GENERATOR


DUAL = {"_class_name": "DualHeadDiscriminator", "block_out_channels": [4, 8]}


def build(losses: dict, generator: dict | None = None, discriminator: dict | None = None) -> None:
    build_networks(
        TrainConfig(
            data=DataConfig(image_size=32, load_size=(32, 32)),
            losses=LossConfig(**{"lambda_identity": 0} | losses),
            generator=GENERATOR | (generator or {}),
            discriminator=discriminator or DISCRIMINATOR,
        )
    )


GREY = {"in_channels": 1}
TANH = DISCRIMINATOR | {"output_activation": "tanh"}
BATCH_NORM = DISCRIMINATOR | {"norm_type": "batch"}


@pytest.mark.parametrize(
    ("losses", "networks", "message"),
    [
        ({"lambda_identity": 1}, {"generator": GREY}, "`losses.lambda_identity` must be 0 where .* differ \\(1 and 3"),
        ({"lambda_edge": 1}, {"generator": GREY}, "`losses.lambda_edge` must be 0 where .* differ"),
        ({"lambda_color": 1}, {"generator": GREY}, "`losses.lambda_color` must be 0 where .* differ"),
        ({"lambda_source": 1}, {"generator": GREY}, "`losses.lambda_source` must be 0 where .* differ"),
        ({"adversarial": "vanilla"}, {"discriminator": TANH}, "unbounded .*'tanh'; `losses.adversarial: lsgan` takes"),
        (
            {"adversarial": "relativistic"},
            {"discriminator": TANH},
            "`losses.adversarial: relativistic` takes unbounded",
        ),
        ({"lambda_feature": 5}, {}, "`losses.lambda_feature` must be 0: PatchDiscriminator gives no features; `disc"),
        ({"lambda_penalty": 10}, {"discriminator": BATCH_NORM}, "`losses.lambda_penalty` must be 0 with batch norm"),
        ({"adversarial": "wgan"}, {}, "`losses.adversarial: wgan` needs `losses.lambda_penalty` above 0"),
        ({"adversarial": "hinge", "adaptive": "dwa"}, {}, "`losses.adaptive: dwa` weighs terms that are never negat"),
    ],
)
def test_impossible_together(losses: dict, networks: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(losses, **networks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("losses", "networks"),
    [
        ({}, {"generator": GREY}),
        ({"adversarial": "lsgan"}, {"discriminator": TANH}),
        ({"adversarial": "relativistic", "lambda_feature": 5, "lambda_penalty": 10}, {"discriminator": DUAL}),
        ({"adversarial": "wgan", "lambda_penalty": 10}, {}),
        ({"adversarial": "vanilla", "adaptive": "dwa", "lambda_edge": 1, "lambda_color": 1}, {}),
    ],
)
def test_possible_together(losses: dict, networks: dict) -> None:
    build(losses, **networks)


def test_the_other_domains_pictures_must_have_the_discriminators_size() -> None:
    config = TrainConfig(
        data=DataConfig(image_size=28, image_size_b=32, load_size=(28, 28)),
        losses=LossConfig(lambda_source=0.5),
        generator=GENERATOR | {"in_padding": 5},
        generator_b2a=GENERATOR | {"out_padding": 1},
        discriminator=DISCRIMINATOR,
    )
    with pytest.raises(
        ValueError, match=r"`losses.lambda_source` must be 0 where the domains' sizes differ \(28 and 32"
    ):
        build_networks(config)
