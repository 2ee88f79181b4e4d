"""Translations and features on the GPU: the pipeline, `optimize`, strips of large images, evaluation's network."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cyclegan_hf import AffineResidualGenerator, CycleGANPipeline, LocalAffineGenerator, ResnetGenerator
from cyclegan_hf.evaluation.networks import on_device
from cyclegan_hf.feature_networks import VARIANTS, MissingPackageError
from cyclegan_hf.metrics.image_features import load_image_features
from cyclegan_hf.metrics.inception import kid
from cyclegan_hf.pipelines.strips import translate_in_strips
from tests.gpu.support import COMPILES, DEVICE, ON_GPU, relative_error, release, synchronize
from tests.testing_utils import make_picture


pytestmark = pytest.mark.gpu

WIDTHS = (64, 128, 256) if ON_GPU else (4, 6, 8)
SIDE = 4096 if ON_GPU else 256


@pytest.fixture
def pipe() -> CycleGANPipeline:
    torch.manual_seed(0)
    generators = [ResnetGenerator(block_out_channels=WIDTHS, num_res_blocks=2).eval() for _ in range(2)]
    pipe = CycleGANPipeline(*generators)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_pipeline_is_the_cpus(pipe: CycleGANPipeline) -> None:
    images = [make_picture("A", seed, (53, 37)) for seed in range(3)]
    expected = pipe(images, return_cycle=True, output_type="np")
    result = pipe.to(DEVICE)(images, return_cycle=True, output_type="np", batch_size=2)
    for got, wanted in zip(result.images + result.cycles, expected.images + expected.cycles, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("compiled", [False, True])
def test_optimize_is_near(pipe: CycleGANPipeline, compiled: bool, record_property: Callable[..., None]) -> None:
    if compiled and not COMPILES:
        pytest.skip("compiles on a GPU, or with CYCLEGAN_GPU_COMPILE=1")
    images = [make_picture("A", seed, 64) for seed in range(3)]
    expected = np.stack(pipe(images, output_type="np").images)
    pipe.to(DEVICE).optimize(compile=compiled)
    if ON_GPU:
        assert pipe.dtype == torch.bfloat16
    if ON_GPU or compiled:
        assert pipe.generator_a2b.conv_in[1].weight.is_contiguous(memory_format=torch.channels_last)
    difference = np.abs(np.stack(pipe(images, output_type="np").images) - expected)
    record_property("levels_of_255", round(255 * float(difference.mean()), 3))
    assert difference.mean() < 0.01
    assert difference.max() < 0.15


@pytest.mark.parametrize("architecture", [ResnetGenerator, LocalAffineGenerator, AffineResidualGenerator])
def test_strips_of_a_large_image_are_the_whole(architecture: type, record_property: Callable[..., None]) -> None:
    torch.manual_seed(0)
    generator = architecture(block_out_channels=WIDTHS, num_res_blocks=2).eval().to(DEVICE)
    coarse = torch.rand(1, 3, SIDE // 32, SIDE // 32, device=DEVICE) * 2 - 1
    image = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    peaks = {}

    def measured(name: str, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        release()
        before = torch.cuda.memory_allocated() if ON_GPU else 0
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            result = run().cpu()
        synchronize()
        if ON_GPU:
            peaks[name] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
        return result

    whole = measured("whole", lambda: generator(image).sample)
    strips = measured("strips", lambda: translate_in_strips(generator, image, None if ON_GPU else 64))
    record_property("peak_gib", peaks)
    record_property("relative_error", float(f"{relative_error(strips, whole):.3g}"))
    assert relative_error(strips, whole) < 1e-3
    if ON_GPU:
        assert peaks["strips"] < 0.5 * peaks["whole"]


@pytest.mark.parametrize("name", VARIANTS)
def test_evaluation_features_are_the_cpus(name: str, record_property: Callable[..., None]) -> None:
    try:
        network = load_image_features(name)
    except MissingPackageError as error:
        pytest.skip(str(error))
    images = torch.stack(
        [torch.from_numpy(np.asarray(make_picture("A", seed, 64)) / np.float32(255)) for seed in range(24)]
    ).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network.describe(images).features
        result = on_device(network, DEVICE).describe(images).features  # from the CPU and back, as evaluations do
    error = relative_error(result, expected)
    distances = [kid(found[:12], found[12:], subset_size=10)[0] for found in (result, expected)]
    record_property("relative_error", float(f"{error:.3g}"))
    assert error < 1e-3
    assert distances[0] == pytest.approx(distances[1], rel=1e-2, abs=1e-6)
