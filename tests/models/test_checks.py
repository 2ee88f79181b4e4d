"""Arguments that no architecture can work with: each class refuses them in one line, before it builds anything."""

from typing import Any

import pytest
from diffusers import ModelMixin

from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.generator_attention import AttentionGenerator
from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
from cyclegan_hf.models.layers import Pad2d, ResnetBlock


GENERATORS = [
    AttentionGenerator,
    EncoderDecoderGenerator,
    LocalAffineGenerator,
    MaxPoolUnetGenerator,
    ResnetGenerator,
    UnetGenerator,
]
DISCRIMINATORS = [DualHeadDiscriminator, PatchDiscriminator, PixelDiscriminator]


@pytest.mark.parametrize("model_class", GENERATORS + DISCRIMINATORS)
@pytest.mark.parametrize("widths", [(8, 0), (-8, 8), (8, 8.0), ("8", 8)])
def test_widths(model_class: type[ModelMixin], widths: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError) as error:
        model_class(block_out_channels=widths)
    assert str(error.value) == f"`block_out_channels` must be integers above 0, got {list(widths)}."


@pytest.mark.parametrize(
    ("model_class", "name"),
    [
        *((model_class, "in_channels") for model_class in GENERATORS + DISCRIMINATORS),
        *((model_class, "out_channels") for model_class in [*GENERATORS, PatchDiscriminator, PixelDiscriminator]),
    ],
)
def test_channels(model_class: type[ModelMixin], name: str) -> None:
    with pytest.raises(ValueError) as error:
        model_class(block_out_channels=(16, 16), **{name: 0})
    assert str(error.value) == f"`{name}` must be at least 1, got 0."


@pytest.mark.parametrize(
    ("model_class", "bad", "message"),
    [
        (ResnetGenerator, {"num_res_blocks": -1}, "`num_res_blocks` must be at least 0, got -1."),
        (ResnetGenerator, {"num_res_blocks": 2.5}, "`num_res_blocks` must be an integer, got 2.5."),
        (ResnetGenerator, {"num_res_blocks": "six"}, "`num_res_blocks` must be an integer, got 'six'."),
        (ResnetGenerator, {"in_padding": -1}, "`in_padding` must be at least 0, got -1."),
        (ResnetGenerator, {"out_padding": -3}, "`out_padding` must be at least 0, got -3."),
        (ResnetGenerator, {"dropout_prob": 1.0, "num_res_blocks": 0}, "`dropout_prob` must be in [0, 1), got 1.0."),
        (UnetGenerator, {"dropout_prob": -0.1}, "`dropout_prob` must be in [0, 1), got -0.1."),
        (UnetGenerator, {"dropout_prob": "half"}, "`dropout_prob` must be in [0, 1), got 'half'."),
        (EncoderDecoderGenerator, {"num_res_blocks": -1}, "`num_res_blocks` must be at least 0, got -1."),
        (LocalAffineGenerator, {"num_res_blocks": -1}, "`num_res_blocks` must be at least 0, got -1."),
        (AttentionGenerator, {"num_res_blocks": -1}, "`num_res_blocks` must be at least 0, got -1."),
    ],
)
def test_numbers(model_class: type[ModelMixin], bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        model_class(block_out_channels=(16, 16), **bad)
    assert str(error.value) == message


def test_layers() -> None:
    with pytest.raises(ValueError, match="`padding` must be at least 0, got -1"):
        Pad2d(-1)
    with pytest.raises(ValueError, match="`channels` must be at least 1, got 0"):
        ResnetBlock(0)
    with pytest.raises(ValueError, match=r"`dropout_prob` must be in \[0, 1\), got 1"):
        ResnetBlock(4, dropout_prob=1)
