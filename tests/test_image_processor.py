"""Pictures to model space and back. All pictures are made here."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf.image_processor import Geometry, ImageProcessor
from tests.testing_utils import noise


@pytest.mark.parametrize("processor", [ImageProcessor(), ImageProcessor(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.5))])
def test_forms_are_one_picture(processor, tmp_path):
    pixels = noise()
    image = Image.fromarray(pixels)
    image.save(tmp_path / "x.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [
        image,
        tmp_path / "x.png",
        pixels,
        (pixels / 255).astype(np.float32),
        pixels / 255,
        tensor,
        tensor.float() / 255,
    ]
    expected = processor.to_array(image)
    assert expected.shape == (3, 9, 7)
    assert expected.dtype == np.float32
    for form in forms:
        ((array, geometry),) = processor.preprocess(form)
        np.testing.assert_array_equal(array[0], expected)
        assert geometry == Geometry(original_size=(9, 7), model_size=(9, 7), padding=(0, 0, 0, 0))


def test_model_space():
    array = ImageProcessor().to_array(Image.fromarray(np.uint8([[[0, 255, 51]]])))
    np.testing.assert_allclose(array.ravel(), [-1, 1, -0.6], atol=1e-6)
    array = ImageProcessor(mean=(0.2, 0.2, 0.2), std=(0.1, 0.2, 0.4)).to_array(Image.new("RGB", (1, 1), (51, 51, 153)))
    np.testing.assert_allclose(array.ravel(), [0, 0, 1], atol=1e-6)


def test_colour_becomes_luma_and_grey_is_repeated():
    image = Image.fromarray(noise())
    luma = ImageProcessor(num_channels=1).to_array(image)
    assert luma.shape == (1, 9, 7)
    np.testing.assert_allclose((luma[0] + 1) * 127.5, np.asarray(image.convert("L")), atol=0.6)
    grey = Image.fromarray(noise(channels=1))
    repeated = ImageProcessor().to_array(grey)
    assert repeated.shape == (3, 9, 7)
    np.testing.assert_array_equal(repeated[0], repeated[2])
    ((from_array, _),) = ImageProcessor().preprocess(noise(channels=1))
    np.testing.assert_array_equal(from_array[0], repeated)


def test_bfloat16_tensor():
    ((array, _),) = ImageProcessor().preprocess(torch.full((3, 2, 2), 0.5, dtype=torch.bfloat16))
    np.testing.assert_array_equal(array, 0)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((3, 8, 8), np.uint8), "channels"),  # channels first belongs to tensors
        (np.zeros((8, 8, 4), np.uint8), "got 4 channels"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8, 3), np.uint16), "uint16"),
        (np.full((8, 8, 3), 255.0), "0, 1"),
        (np.full((8, 8, 3), -1.0), "0, 1"),
        (np.full((8, 8, 3), np.nan), "0, 1"),
        (np.zeros((0, 8, 3)), "shape"),
        (np.zeros((2, 2, 8, 8, 3)), "shape"),
        (torch.zeros(8, 8), "shape"),
        (torch.zeros(8, 8, 3), "channels"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "int32"),
        (torch.full((3, 8, 8), -0.5), "-0.5"),
        (7, "int"),
        ([7], "int"),
    ],
)
def test_wrong_pictures_are_refused_in_one_line(picture, words):
    with pytest.raises(ValueError, match=words) as caught:
        ImageProcessor().preprocess(picture)
    assert "\n" not in str(caught.value)


def test_to_array_leaves_opening_to_open_image():
    with pytest.raises(ValueError, match="RGBA"):
        ImageProcessor().to_array(Image.new("RGBA", (2, 2)))


# Back to pictures


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("spread", [None, 0.2])
def test_every_8_bit_value_comes_back(num_channels, spread):
    std = None if spread is None else (spread,) * num_channels
    processor = ImageProcessor(num_channels=num_channels, std=std)
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), num_channels, axis=2)
    ((array, geometry),) = processor.preprocess(pixels)
    (result,) = processor.postprocess(torch.from_numpy(array), [geometry])
    assert result.mode == ("L" if num_channels == 1 else "RGB")
    np.testing.assert_array_equal(np.asarray(result).reshape(pixels.shape), pixels)


def test_rounding():
    # 0.5 in model space is 191.25, halves go up: 127.5 -> 128; the official code cuts: 127.5 -> 127.
    sample = np.float32([[[[0.5, 0.0, -1.0, 1.0, 1.5]]]])
    processor = ImageProcessor(num_channels=1)
    (nearest,) = processor.postprocess(sample)
    (truncated,) = processor.postprocess(sample + np.float32(0.004), rounding="truncate")
    assert np.asarray(nearest).tolist() == [[191, 128, 0, 255, 255]]
    assert np.asarray(truncated).tolist() == [[191, 128, 0, 255, 255]]
    (truncated,) = processor.postprocess(sample, rounding="truncate")
    assert np.asarray(truncated).tolist() == [[191, 127, 0, 255, 255]]


def test_output_types_agree():
    sample = torch.rand(2, 3, 5, 6) * 2 - 1
    processor = ImageProcessor()
    pil = processor.postprocess(sample)
    arrays = processor.postprocess(sample.numpy(), output_type="np")
    tensors = processor.postprocess(sample.bfloat16(), output_type="pt")
    for image, array, tensor in zip(pil, arrays, tensors, strict=True):
        assert array.shape == (5, 6, 3)
        assert tensor.shape == (3, 5, 6)
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(np.asarray(image) / 255, array, atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(tensor.permute(1, 2, 0), array, atol=4e-3)


@pytest.mark.parametrize(
    ("sample", "options", "words"),
    [
        (np.zeros((1, 1, 4, 4)), {}, "shape"),
        (np.zeros((3, 4, 4)), {}, "shape"),
        (np.full((1, 3, 4, 4), np.nan), {}, "NaN"),
        (np.full((1, 3, 4, 4), np.inf), {}, "infinite"),
        (np.zeros((1, 3, 4, 4)), {"output_type": "latent"}, "latent"),
        (np.zeros((1, 3, 4, 4)), {"rounding": "up"}, "up"),
        (np.zeros((1, 3, 4, 4)), {"geometries": []}, "one geometry"),
        (
            np.zeros((1, 3, 4, 4)),
            {"geometries": [Geometry(original_size=(4, 4), model_size=(4, 4), padding=(0, 4, 0, 0))]},
            "height and width",
        ),
    ],
)
def test_wrong_model_output_is_refused(sample, options, words):
    with pytest.raises(ValueError, match=words):
        ImageProcessor().postprocess(sample, **options)


def test_two_channels_are_no_picture():
    processor = ImageProcessor(num_channels=2)
    ((array, _),) = processor.preprocess(torch.rand(2, 4, 4))
    assert processor.postprocess(array, output_type="pt")[0].shape == (2, 4, 4)
    with pytest.raises(ValueError, match="2 channels"):
        processor.postprocess(array)


# Settings


@pytest.mark.parametrize(
    "processor",
    [
        ImageProcessor(),
        ImageProcessor(num_channels=1, size=(128, 96), mean=(0.3,), std=(0.2,)),
    ],
)
def test_config_is_json_and_comes_back(processor):
    config = json.loads(json.dumps(processor.to_config()))
    assert ImageProcessor.from_config(config) == processor


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_channel": 3}, "num_channels"),
        ({"num_channels": 0}, "num_channels"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [0.5, 0.5, 0.0]}, "std"),
        ({"size": [256]}, "size"),
    ],
)
def test_wrong_config_is_refused(config, words):
    with pytest.raises(ValueError, match=words):
        ImageProcessor.from_config(config)


def test_needs_neither_torch_nor_diffusers():
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from cyclegan_hf.image_processor import ImageProcessor\n"
        "processor = ImageProcessor()\n"
        "((array, geometry),) = processor.preprocess(np.zeros((5, 5, 3), np.uint8), size_multiple=4)\n"
        "processor.postprocess(array, [geometry])\n"
        "assert not {'torch', 'diffusers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_large_picture_is_in_memory_as_float_once() -> None:
    picture = Image.fromarray(noise(1024, 1024))
    processor = ImageProcessor()
    pixels = picture.width * picture.height

    def peak(job: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            job()
            return tracemalloc.get_traced_memory()[1] / pixels
        finally:
            tracemalloc.stop()

    ((array, geometry),) = processor.preprocess(picture)
    assert peak(lambda: processor.preprocess(picture)) < 20  # bytes a pixel: 12 of float32, 3 + 3 of 8 bits
    assert peak(lambda: processor.postprocess(array, [geometry])) < 14  # the 8-bit result, and some rows in float
