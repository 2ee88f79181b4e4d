"""Large pictures in strips are what they are as a whole, norms included."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf import (
    AffineResidualGenerator,
    CycleGANPipeline,
    EncoderDecoderGenerator,
    LocalAffineGenerator,
    ResnetGenerator,
)
from cyclegan_hf.hardware import available_memory
from cyclegan_hf.pipelines.strips import fits, strips, takes_strips, translate_in_strips
from tests.testing_utils import noise


FORMS: dict[str, dict[str, Any]] = {
    "paper": {},
    "resize_conv": {"upsample_type": "resize_conv"},
    "zero_padding": {"padding_mode": "zero", "upsample_type": "resize_conv"},
    "batch": {"norm_type": "batch"},
    "pixel": {"norm_type": "pixel", "activation_type": "leaky_relu"},
    "none": {"norm_type": "none"},
    "residual": {"learn_residual": True, "activation_after_add": True},
    "norm_on_last": {"norm_on_last": True},
    "separable": {"separable": True, "norm_type": "pixel"},
    "three_levels": {"block_out_channels": (4, 6, 8, 10)},
    "no_blocks": {"num_res_blocks": 0},
    "affine": {"model": LocalAffineGenerator},
    "affine_instance": {"model": LocalAffineGenerator, "norm_type": "instance"},
    "affine_separable": {"model": LocalAffineGenerator, "norm_type": "instance", "separable": True},
    "affine_bins": {"model": LocalAffineGenerator, "num_luma_bins": 3},
    "affine_residual": {"model": AffineResidualGenerator, "block_out_channels": (4, 6), "num_res_blocks": 1},
    "affine_one_level": {"model": LocalAffineGenerator, "block_out_channels": (4,)},
}


def tiny(model: Any = ResnetGenerator, **settings: Any) -> Any:
    generator = model(**{"block_out_channels": (4, 6, 8), "num_res_blocks": 2} | settings).eval()
    for name, buffer in generator.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return generator


@pytest.mark.parametrize("rows", [5, 16, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_strips_give_the_whole_pictures_result(form: str, rows: int) -> None:
    torch.manual_seed(0)
    generator = tiny(**FORMS[form])
    sample = torch.rand(2, 3, 48, 32) * 2 - 1
    with torch.inference_mode():
        expected = generator(sample).sample
    torch.testing.assert_close(translate_in_strips(generator, sample, rows), expected, atol=1e-5, rtol=0)


def test_a_strips_own_statistics_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the two passes are for: the same strips, each with its own norms, are far off."""
    torch.manual_seed(0)
    generator = tiny()
    sample = torch.rand(1, 3, 64, 32) * torch.linspace(-1, 1, 64)[:, None]
    with torch.inference_mode():
        expected = generator(sample).sample
        alone = torch.cat([generator(sample[:, :, first : first + 16]).sample for first in range(0, 64, 16)], dim=2)
    assert (alone - expected).abs().mean() > 100 * (translate_in_strips(generator, sample, 16) - expected).abs().mean()


def test_kept_maps_in_half_precision_are_close(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    generator = tiny()
    sample = torch.rand(1, 3, 48, 48) * 2 - 1
    with torch.inference_mode():
        expected = generator(sample).sample
    monkeypatch.setattr("cyclegan_hf.pipelines.strips._KEPT_BYTES", 0)
    found = translate_in_strips(generator, sample, 16)
    assert 0 < (found - expected).abs().max() < 2 / 255  # one level of 255, in [-1, 1]


@pytest.mark.parametrize("size", [(70, 54), (71, 53)])
def test_the_pipeline_takes_strips_above_its_budget(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    pipeline = CycleGANPipeline(tiny(), tiny())
    picture = noise(*size)
    expected = pipeline(picture, return_cycle=True, output_type="np")
    monkeypatch.setattr("cyclegan_hf.pipelines.strips._STRIP_BYTES", 0)  # the narrowest strips
    pipeline.memory_budget = 10_000
    assert not fits(pipeline.generator_a2b, torch.empty(1, 3, 72, 56), pipeline.memory_budget)
    found = pipeline(picture, return_cycle=True, output_type="np")
    np.testing.assert_allclose(found.images[0], expected.images[0], atol=1e-5)
    np.testing.assert_allclose(found.cycles[0], expected.cycles[0], atol=1e-5)


def test_other_generators_go_through_whole() -> None:
    generator = EncoderDecoderGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    assert not takes_strips(generator)
    assert not takes_strips(tiny(in_padding=5))  # it changes the size
    pipeline = CycleGANPipeline(generator)
    picture = noise(32, 32)
    expected = pipeline(picture, output_type="np").images[0]
    pipeline.memory_budget = 1
    np.testing.assert_array_equal(pipeline(picture, output_type="np").images[0], expected)


def test_strips_cover_every_row_once() -> None:
    assert list(strips(7, 3)) == [(0, 3), (3, 6), (6, 7)]


@pytest.mark.parametrize("norm_type", ["instance", "pixel"])
def test_each_piece_is_told_and_the_last_one_is_the_last(norm_type: str) -> None:
    told: list[tuple[int, int]] = []
    generator = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=2, norm_type=norm_type).eval()
    translate_in_strips(generator, torch.zeros(1, 3, 96, 64), rows=16, on_piece=lambda *piece: told.append(piece))
    total = told[0][1]
    assert total > 6 * 3
    assert told == [(done, total) for done in range(1, total + 1)]


def test_a_picture_that_no_memory_holds_is_refused_with_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = CycleGANPipeline(ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1))
    pipeline.memory_budget = 1
    monkeypatch.setattr("cyclegan_hf.pipelines.strips.available_memory", lambda: 1_000_000)
    with pytest.raises(ValueError, match=r"0\.1 GB of memory.*--size"):
        pipeline(Image.new("RGB", (200, 100)))
    monkeypatch.setattr("cyclegan_hf.pipelines.strips.available_memory", lambda: None)
    assert pipeline(Image.new("RGB", (200, 100))).images[0].size == (200, 100)
    assert available_memory() is None or available_memory() > 10_000_000
