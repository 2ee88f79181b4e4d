"""CycleGAN for the Hugging Face stack.

Importing the package is light: a name loads its module, and with it torch and diffusers, when it is first used
(PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from cyclegan_hf.conversion import convert_official_checkpoint
    from cyclegan_hf.image_processor import ImageProcessor
    from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
    from cyclegan_hf.models.discriminator_feature import FeatureDiscriminator
    from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
    from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
    from cyclegan_hf.models.generator_affine import LocalAffineGenerator
    from cyclegan_hf.models.generator_affine_residual import AffineResidualGenerator
    from cyclegan_hf.models.generator_attention import AttentionGenerator
    from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
    from cyclegan_hf.models.generator_resnet import ResnetGenerator
    from cyclegan_hf.models.generator_unet import UnetGenerator
    from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
    from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
    from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline

__version__ = "0.1.0"

__all__ = [
    "AffineResidualGenerator",
    "AttentionGenerator",
    "CycleGANPipeline",
    "DualHeadDiscriminator",
    "EncoderDecoderGenerator",
    "ExportedPipeline",
    "FeatureDiscriminator",
    "ImageProcessor",
    "LocalAffineGenerator",
    "MaxPoolUnetGenerator",
    "PatchDiscriminator",
    "PixelDiscriminator",
    "ResnetGenerator",
    "UnetGenerator",
    "__version__",
    "convert_official_checkpoint",
]

# Module paths are written into every saved `model_index.json`: they are public.
_MODULES = {
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


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
