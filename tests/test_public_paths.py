"""Where the public classes live. These paths are written into every saved pipeline: a change here breaks them all."""

import importlib

import pytest

import cyclegan_hf


GOLDEN = {
    "CycleGANPipeline": "cyclegan_hf.pipelines.pipeline_cyclegan",
    "ImageProcessor": "cyclegan_hf.image_processor",
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
