"""Where the public classes live. These paths are written into every saved pipeline: a change here breaks them all."""

import importlib
import json
from pathlib import Path

import pytest

import cyclegan_hf


GOLDEN = {
    "AffineResidualGenerator": "cyclegan_hf.models.generator_affine_residual",
    "AttentionGenerator": "cyclegan_hf.models.generator_attention",
    "CycleGANPipeline": "cyclegan_hf.pipelines.pipeline_cyclegan",
    "DualHeadDiscriminator": "cyclegan_hf.models.discriminator_dual_head",
    "EncoderDecoderGenerator": "cyclegan_hf.models.generator_encoder_decoder",
    "ExportedPipeline": "cyclegan_hf.pipelines.pipeline_exported",
    "FeatureDiscriminator": "cyclegan_hf.models.discriminator_feature",
    "ImageProcessor": "cyclegan_hf.image_processor",
    "LocalAffineGenerator": "cyclegan_hf.models.generator_affine",
    "MaxPoolUnetGenerator": "cyclegan_hf.models.generator_unet_maxpool",
    "PatchDiscriminator": "cyclegan_hf.models.discriminator_patch",
    "PixelDiscriminator": "cyclegan_hf.models.discriminator_pixel",
    "ResnetGenerator": "cyclegan_hf.models.generator_resnet",
    "UnetGenerator": "cyclegan_hf.models.generator_unet",
    "convert_official_checkpoint": "cyclegan_hf.conversion",
}


@pytest.mark.parametrize(("name", "module"), GOLDEN.items())
def test_module_path(name: str, module: str) -> None:
    public = getattr(cyclegan_hf, name)
    assert (public.__module__, public.__name__) == (module, name)
    assert getattr(importlib.import_module(module), name) is public


def test_all_names_are_listed_here() -> None:
    assert set(cyclegan_hf.__all__) - {"__version__"} == set(GOLDEN)
    assert set(cyclegan_hf.__all__) <= set(dir(cyclegan_hf))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("AffineResidualGenerator", {"block_out_channels": (4, 8), "num_res_blocks": 1}),
        ("AttentionGenerator", {"block_out_channels": (8, 16), "num_res_blocks": 1}),
        ("ResnetGenerator", {"block_out_channels": (4, 8), "num_res_blocks": 1}),
        ("UnetGenerator", {"block_out_channels": (4, 8, 8)}),
        ("EncoderDecoderGenerator", {"block_out_channels": (4, 8), "num_res_blocks": 1}),
        ("LocalAffineGenerator", {"block_out_channels": (4, 8), "num_res_blocks": 1}),
        ("MaxPoolUnetGenerator", {"block_out_channels": (4, 8), "layers_per_block": 1}),
    ],
)
def test_saved_index_names_them(name: str, config: dict[str, object], tmp_path: Path) -> None:
    generator = getattr(cyclegan_hf, name)(**config)
    cyclegan_hf.CycleGANPipeline(generator_a2b=generator).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "CycleGANPipeline"]
    assert index["generator_a2b"] == [GOLDEN[name], name]
    assert index["generator_b2a"] == [None, None]
