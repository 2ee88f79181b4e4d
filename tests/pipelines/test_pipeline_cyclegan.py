"""The pipeline's walk: pictures in every form, both directions, any size."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline, ImageProcessor, ResnetGenerator, UnetGenerator
from tests.testing_utils import make_picture


def resnet(**config):
    return ResnetGenerator(**{"block_out_channels": (4, 8, 16), "num_res_blocks": 1, **config}).eval()


def unet(**config):
    return UnetGenerator(**{"block_out_channels": (4, 8, 8, 8, 8), **config}).eval()  # multiples of 32


@pytest.fixture
def pipe():
    pipe = CycleGANPipeline(resnet(), resnet(), domain_a="summer", domain_b="winter")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels(images):
    return [np.asarray(image) for image in images]


# What comes out


def test_output_is_the_generators(pipe):
    picture = make_picture("A", 0, (48, 40))
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = pipe.generator_a2b((values - 0.5) / 0.5).sample
        cycle = pipe.generator_b2a(expected).sample
    result = pipe(picture, return_cycle=True)
    for image, sample in ((result.images[0], expected), (result.cycles[0], cycle)):
        rounded = ((sample[0] * 0.5 + 0.5).clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        np.testing.assert_array_equal(np.asarray(image), rounded.permute(1, 2, 0))


def test_every_form_of_a_picture_gives_the_same_result(pipe, tmp_path):
    picture = make_picture("A", 0, (53, 37))
    picture.save(tmp_path / "picture.png")
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = np.asarray(pipe(picture).images[0])
    forms = {
        "path": tmp_path / "picture.png",
        "text": str(tmp_path / "picture.png"),
        "bytes": (tmp_path / "picture.png").read_bytes(),
        "uint8": array,
        "float32": array.astype(np.float32) / 255,
        "float64 batch": array[None] / 255,
        "tensor": tensor,
        "float tensor batch": tensor[None] / 255,
        "list": [picture],
        "tuple of paths": (tmp_path / "picture.png",),
    }
    for name, form in forms.items():
        np.testing.assert_array_equal(np.asarray(pipe(form).images[0]), expected, err_msg=name)
    with (tmp_path / "picture.png").open("rb") as file:
        np.testing.assert_array_equal(np.asarray(pipe(file).images[0]), expected)


def test_output_types_agree(pipe):
    picture = make_picture("A", 0, (53, 37))
    (image,) = pipe(picture).images
    (array,) = pipe(picture, output_type="np").images
    (tensor,) = pipe(picture, output_type="pt").images
    assert array.shape == (37, 53, 3)
    assert (array.dtype, tensor.dtype) == (np.float32, torch.float32)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), array)
    np.testing.assert_array_equal(np.floor(array * 255 + 0.5), np.asarray(image))


def test_truncated_rounding_is_the_official_codes(pipe):
    picture = make_picture("A", 0, (32, 32))
    (array,) = pipe(picture, output_type="np").images
    result = pipe(picture, return_cycle=True, rounding="truncate")
    np.testing.assert_array_equal(np.asarray(result.images[0]), np.floor(array * 255))
    assert np.any(np.asarray(result.cycles[0]) != np.asarray(pipe(picture, return_cycle=True).cycles[0]))


def test_tuple_output(pipe):
    picture = make_picture("A", 0)
    images, cycles = pipe(picture, return_dict=False)
    assert (len(images), cycles) == (1, None)
    images, cycles = pipe([picture, picture], return_cycle=True, return_dict=False)
    assert len(images) == len(cycles) == 2


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 53), (250, 254), (64, 64)])
def test_any_size_is_kept(pipe, size):
    result = pipe(make_picture("A", 0, size) if min(size) > 1 else Image.new("RGB", size, "red"), return_cycle=True)
    assert result.images[0].size == result.cycles[0].size == size
    assert result.sizes == [size[::-1]]


def test_padding_does_not_show(pipe):
    """A picture that needs padding is translated as its own reflection continues, not squeezed or shifted."""
    picture = make_picture("A", 0, (50, 46))
    array = np.asarray(picture)
    padded = np.pad(array, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(pipe(array).images[0], np.asarray(pipe(padded).images[0])[1:-1, 1:-1])


# Many pictures


def test_batches_equal_single_pictures_in_input_order(pipe):
    sizes = [(48, 40), (40, 48), (48, 40), (37, 53), (48, 40), (40, 48), (48, 40)]
    pictures = [make_picture("A", seed, size) for seed, size in enumerate(sizes)]
    batched = pipe(pictures, batch_size=3, return_cycle=True, output_type="np")
    for index, picture in enumerate(pictures):
        single = pipe(picture, return_cycle=True, output_type="np")
        np.testing.assert_allclose(batched.images[index], single.images[0], atol=1e-5)
        np.testing.assert_allclose(batched.cycles[index], single.cycles[0], atol=1e-5)
    assert batched.sizes == [size[::-1] for size in sizes]


def test_batch_norm_in_a_training_generator_does_not_mix_pictures():
    pipe = CycleGANPipeline(resnet(norm_type="batch", dropout_prob=0.5).train())
    pipe.set_progress_bar_config(disable=True)
    pictures = [make_picture("A", seed) for seed in range(3)]
    batched = pipe(pictures, batch_size=3, output_type="np").images
    for result, picture in zip(batched, pictures, strict=True):
        np.testing.assert_allclose(result, pipe(picture, output_type="np").images[0], atol=1e-5)
    assert all(module.training for module in pipe.generator_a2b.modules())


def test_a_generator_of_pictures_and_a_batch_tensor(pipe):
    pictures = [make_picture("A", seed) for seed in range(3)]
    batch = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    expected = pixels(pipe(pictures).images)
    for images in ((picture for picture in pictures), batch):
        for result, wanted in zip(pixels(pipe(images).images), expected, strict=True):
            np.testing.assert_array_equal(result, wanted)


def test_progress_bar_only_for_several_pictures(capsys):
    pipe = CycleGANPipeline(resnet())
    pipe(make_picture("A", 0))
    assert capsys.readouterr().err == ""
    pipe([make_picture("A", seed) for seed in range(3)], batch_size=2)
    assert "3/3" in capsys.readouterr().err


# Directions


@pytest.mark.parametrize(
    ("name", "generator"), [("summer2winter", "generator_a2b"), ("winter2summer", "generator_b2a")]
)
def test_directions_by_domain_names(pipe, name, generator):
    picture = make_picture("A", 0)
    expected = pipe(picture, direction=generator[-3:]).images[0]
    np.testing.assert_array_equal(pipe(picture, direction=name).images[0], expected)
    other = "b2a" if generator.endswith("a2b") else "a2b"
    assert np.asarray(pipe(picture, direction=other).images[0]).tolist() != np.asarray(expected).tolist()


def test_unknown_direction(pipe):
    with pytest.raises(ValueError, match="a2b, b2a, summer2winter, winter2summer; got 'spring'"):
        pipe(make_picture("A", 0), direction="spring")


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_one_direction(direction):
    other = direction[::-1]
    pipe = CycleGANPipeline(**{f"generator_{direction}": resnet()}, domain_a="cat", domain_b="dog")
    assert pipe(make_picture("A", 0), direction=direction).images[0].size == (48, 48)
    for options in ({"direction": other}, {"direction": direction, "return_cycle": True}):
        with pytest.raises(ValueError, match=f"no `generator_{other}`: it only translates {direction}"):
            pipe(make_picture("A", 0), **options)


# Sizes that the generator prescribes


def test_unet_runs_at_its_training_size_and_says_so():
    processor = ImageProcessor(size=(64, 64))
    pipe = CycleGANPipeline(unet(), unet(), image_processor_a=processor, image_processor_b=processor)
    pipe.set_progress_bar_config(disable=True)
    result = pipe([make_picture("A", 0, (120, 90)), make_picture("A", 0, (64, 64))], return_cycle=True)
    assert [image.size for image in result.images] == [image.size for image in result.cycles] == [(120, 90), (64, 64)]
    assert result.sizes == [(48, 64), (64, 64)]
    assert pipe(make_picture("A", 0, (120, 90)), size=96).sizes == [(72, 96)]


def test_unet_without_a_training_size():
    pipe = CycleGANPipeline(unet())
    with pytest.raises(ValueError, match="`size=`"):
        pipe(make_picture("A", 0))
    assert pipe(make_picture("A", 0), size=(64, 64)).images[0].size == (48, 48)


def test_cycle_through_generators_of_different_multiples():
    pipe = CycleGANPipeline(resnet(), unet())
    result = pipe(make_picture("A", 0, (37, 53)), return_cycle=True, size=64)
    assert result.images[0].size == result.cycles[0].size == (37, 53)


def test_size_override_resizes_there_and_back(pipe):
    result = pipe(make_picture("A", 0, (100, 50)), size=(64, 32))
    assert result.sizes == [(16, 32)]
    assert result.images[0].size == (100, 50)


def test_generators_between_two_sizes():
    """28² digits to 32² house numbers: the size difference is the translation's own, and the cycle undoes it."""
    pipe = CycleGANPipeline(
        resnet(in_channels=1, in_padding=5), resnet(out_channels=1, out_padding=1), domain_a="mnist", domain_b="svhn"
    )
    digit = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8))
    result = pipe(digit, return_cycle=True)
    assert (result.images[0].size, result.images[0].mode) == ((32, 32), "RGB")
    assert (result.cycles[0].size, result.cycles[0].mode) == ((28, 28), "L")
    assert pipe(result.images[0], direction="b2a").images[0].size == (28, 28)


# Channels and normalisation


def test_colour_and_grey_fit_the_generator():
    pipe = CycleGANPipeline(resnet(in_channels=1, out_channels=3), resnet(in_channels=3, out_channels=1))
    picture = make_picture("A", 0)
    assert pipe(picture).images[0].mode == "RGB"
    assert pipe(picture.convert("L"), direction="b2a").images[0].mode == "L"


def test_stored_normalisation_is_used():
    processor_a = ImageProcessor(mean=(0.2, 0.3, 0.4), std=(0.1, 0.2, 0.3))
    processor_b = ImageProcessor(mean=(0.6, 0.5, 0.4), std=(0.4, 0.3, 0.2))
    pipe = CycleGANPipeline(resnet(), image_processor_a=processor_a, image_processor_b=processor_b.to_config())
    values = torch.rand(3, 16, 16)
    with torch.no_grad():
        sample = pipe.generator_a2b(torch.from_numpy(processor_a.preprocess(values)[0][0])).sample
    expected = sample[0] * torch.tensor([0.4, 0.3, 0.2])[:, None, None] + torch.tensor([0.6, 0.5, 0.4])[:, None, None]
    np.testing.assert_allclose(pipe(values, output_type="pt").images[0], expected.clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither"),
        ({"generator_a2b": {}, "domain_a": "x", "domain_b": "x"}, "two different names"),
        ({"generator_a2b": {}, "domain_a": ""}, "two different names"),
        ({"generator_a2b": {"out_channels": 1}, "generator_b2a": {}}, "same channels in domain b"),
        ({"generator_a2b": {}, "image_processor_b": {"num_channels": 1}}, "1 channels, but the generators have 3"),
        ({"generator_a2b": {}, "image_processor_a": {"number": 1}}, "num_channels"),
    ],
)
def test_wrong_arguments(arguments, words):
    built = {key: resnet(**value) if key.startswith("generator") else value for key, value in arguments.items()}
    with pytest.raises(ValueError, match=words):
        CycleGANPipeline(**built)


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": []}, "at least one picture"),
        ({"image": None}, "NoneType"),
        ({"image": Path("gone.png")}, "gone.png"),
        ({"image": [np.zeros((8, 8, 3)), np.full((8, 8, 3), 7.0)]}, "0, 1"),
        ({"image": np.zeros((8, 8, 3)), "batch_size": 0}, "batch_size"),
        ({"image": np.zeros((8, 8, 3)), "size": -1}, "size"),
        ({"image": np.zeros((8, 8, 3)), "output_type": "jpg"}, "output_type"),
    ],
)
def test_bad_input_is_a_one_line_error(pipe, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        pipe(**options)
    assert "\n" not in str(caught.value)


def test_results_that_are_not_finite(pipe):
    torch.nn.init.constant_(pipe.generator_a2b.conv_out[1].bias, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        pipe(make_picture("A", 0))


# Hardware


def test_optimize(pipe, caplog):
    picture = make_picture("A", 0, (53, 37))
    expected = pipe(picture, output_type="np").images[0]
    with caplog.at_level(logging.INFO, logger="cyclegan_hf"):
        assert pipe.optimize() is pipe
    assert "generator_a2b on cpu" in caplog.text
    np.testing.assert_allclose(pipe(picture, output_type="np").images[0], expected, atol=0.02)
    pipe.optimize(dtype=torch.bfloat16)
    assert pipe.generator_b2a.dtype == torch.bfloat16
    result = pipe(picture, output_type="np").images[0]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=0.02)


def test_float64_and_half_precision_generators(pipe):
    picture = make_picture("A", 0, (53, 37))
    expected = pipe(picture, output_type="np").images[0]
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.float16, 0.01), (torch.bfloat16, 0.02)):
        pipe.to(dtype)
        np.testing.assert_allclose(pipe(picture, output_type="np").images[0], expected, atol=tolerance)


@pytest.mark.slow
def test_compiled_pipeline_gives_the_same_pictures(pipe, tmp_path):
    pictures = [make_picture("A", 0, size) for size in ((48, 40), (37, 53))]
    expected = pipe(pictures, output_type="np").images
    pipe.optimize(compile=True, dtype=torch.float32)
    for result, wanted in zip(pipe(pictures, output_type="np").images, expected, strict=True):
        np.testing.assert_allclose(result, wanted, atol=1e-4)
    pipe.save_pretrained(tmp_path)
    again = CycleGANPipeline.from_pretrained(tmp_path)
    np.testing.assert_allclose(again(pictures[0], output_type="np").images[0], expected[0], atol=1e-5)
