"""Pictures of every kind to model space and back. All pictures are made here."""

import io
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from cyclegan_hf.image_processor import Geometry, ImageProcessor, open_image


def noise(height=9, width=7, channels=3, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return values if channels > 1 else values[..., 0]


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def swapped_profile():
    """An ICC profile whose red primary is sRGB's green and the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    for entry in range(132, 132 + 12 * count, 12):
        if data[entry : entry + 4] == b"rXYZ":
            data[entry : entry + 4] = b"gXYZ"
        elif data[entry : entry + 4] == b"gXYZ":
            data[entry : entry + 4] = b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "Swap".encode("utf-16-be"))


# Opening


def test_every_source_gives_the_same_picture(tmp_path):
    image = Image.fromarray(noise())
    data = encoded(image, "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        opened = [open_image(source) for source in (path, str(path), data, io.BytesIO(data), file, image)]
    for result in opened:
        assert result.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(result), noise())


def test_opening_copies_and_does_not_change_the_given_picture():
    image = Image.fromarray(noise())
    open_image(image).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(image), noise())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", ["bytes", "opened", "converted"])
def test_exif_orientation(orientation, source):
    upright = Image.new("L", (16, 8))
    upright.paste(255, (0, 0, 8, 4))  # a bright quarter at the top left
    # A camera that is held so stores the picture by the inverse of what the tag asks the viewer to do.
    stored = {
        1: lambda im: im,
        2: lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda im: im.transpose(Image.Transpose.ROTATE_180),
        4: lambda im: im.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda im: im.transpose(Image.Transpose.TRANSPOSE),
        6: lambda im: im.transpose(Image.Transpose.ROTATE_90),
        7: lambda im: im.transpose(Image.Transpose.TRANSVERSE),
        8: lambda im: im.transpose(Image.Transpose.ROTATE_270),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", quality=100, exif=exif)
    image = data
    if source != "bytes":
        image = Image.open(io.BytesIO(data))
        image = image.convert("RGB") if source == "converted" else image
    result = open_image(image)
    assert result.size == (16, 8)
    difference = np.abs(np.asarray(result.convert("L")).astype(int) - np.asarray(upright))
    assert difference.max() <= 4
    ((array, _),) = ImageProcessor(num_channels=1).preprocess(image)  # the processor opens pictures the same way
    assert array[0, 0, :4, :8].min() > 0.9 > -0.9 > array[0, 0, 4:, 8:].max()
    np.testing.assert_array_equal(np.asarray(open_image(result)), np.asarray(result))  # upright stays upright


def test_broken_exif_is_ignored_with_a_log_line(caplog):
    image = Image.fromarray(noise())
    image.info["exif"] = b"Exif\x00\x00nonsense"
    with caplog.at_level(logging.WARNING):
        result = open_image(image)
    np.testing.assert_array_equal(np.asarray(result), noise())
    assert "EXIF" in caplog.text


def test_colour_profile_is_converted_to_srgb():
    red = Image.new("RGB", (4, 4), (200, 30, 30))
    result = open_image(encoded(red, "PNG", icc_profile=swapped_profile()))
    assert np.abs(np.asarray(result).astype(int) - (30, 200, 30)).max() <= 2
    assert "icc_profile" not in result.info
    again = open_image(result)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(result))


def test_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(
        np.asarray(open_image(encoded(Image.fromarray(noise()), "PNG", icc_profile=profile))), noise()
    )


@pytest.mark.parametrize("profile", [b"no profile at all", swapped_profile()[:200]])
def test_broken_profile_is_ignored_with_a_log_line(profile, caplog):
    data = encoded(Image.fromarray(noise()), "PNG", icc_profile=profile)
    with caplog.at_level(logging.WARNING):
        result = open_image(data)
    np.testing.assert_array_equal(np.asarray(result), noise())
    assert "profile" in caplog.text


def test_profile_of_another_colour_space_is_ignored(caplog):
    data = encoded(Image.fromarray(noise(channels=1)), "PNG", icc_profile=swapped_profile())
    with caplog.at_level(logging.WARNING):
        result = open_image(data)
    assert result.mode == "L"
    np.testing.assert_array_equal(np.asarray(result), noise(channels=1))
    assert "profile" in caplog.text


def test_alpha_is_composited_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (255, 0, 128)
    expected = [[200, 0, 0], [255, 255, 255], [227, 127, 127]]
    result = open_image(encoded(Image.fromarray(rgba), "PNG"))
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result)[0].astype(int) - expected).max() <= 1


def test_grey_with_alpha_stays_grey():
    image = Image.merge("LA", [Image.new("L", (2, 1), 10), Image.fromarray(np.uint8([[255, 0]]))])
    result = open_image(encoded(image, "PNG"))
    assert result.mode == "L"
    assert np.asarray(result).tolist() == [[10, 255]]


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_palette_with_transparency(file_format):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    result = open_image(encoded(image, file_format, transparency=1))
    assert result.mode == "RGB"
    assert np.asarray(result).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_palette_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert np.asarray(open_image(encoded(image, "PNG"))).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize(("mode", "key", "expected"), [("RGB", (1, 2, 3), [255, 255, 255]), ("L", 7, 255)])
def test_single_transparent_colour(mode, key, expected):
    result = open_image(encoded(Image.new(mode, (1, 1), key), "PNG", transparency=key))
    assert result.mode == mode
    assert np.asarray(result)[0, 0].tolist() == expected


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_cut(file_format):
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    result = open_image(encoded(Image.fromarray(values), file_format))
    assert result.mode == "L"
    assert np.asarray(result).tolist() == np.floor(values / 257 + 0.5).astype(int).tolist()


def test_1_bit():
    result = open_image(encoded(Image.fromarray(np.array([[True, False]])), "PNG"))
    assert result.mode == "L"
    assert np.asarray(result).tolist() == [[255, 0]]


def test_float_grey():
    result = open_image(encoded(Image.fromarray(np.float32([[0, 0.5, 1]])), "TIFF"))
    assert np.asarray(result).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("values", [[[0.0, 2.0]], [[-0.1, 1.0]], [[float("nan"), 0.5]]])
def test_float_grey_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        open_image(Image.fromarray(np.float32(values)))


def test_32_bit_integers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.65535.*got -5\.\.70000"):
        open_image(Image.fromarray(np.int32([[-5, 70000]])))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode):
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(Image.new("RGB", (2, 2), (200, 40, 60)), *profiles, outputMode="LAB")
    else:
        image = Image.new("RGB", (2, 2), (200, 40, 60)).convert(mode)
    result = open_image(image)
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result).astype(int) - (200, 40, 60)).max() <= 4


def test_cmyk_jpeg():
    data = encoded(Image.new("RGB", (16, 16), (200, 40, 60)).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(np.asarray(open_image(data)).astype(int) - (200, 40, 60)).max() <= 8


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(open_image(data))[0, 0].tolist() == [255, 0, 0]


# Refusals


def one_line_error(source, *words):
    with pytest.raises(ValueError) as caught:
        open_image(source)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_missing_file(tmp_path):
    one_line_error(tmp_path / "gone.png", "gone.png", "no such file")


def test_directory(tmp_path):
    one_line_error(str(tmp_path), tmp_path.name, "directory")


def test_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    one_line_error(tmp_path / "empty.jpg", "empty.jpg", "empty file")


def test_no_picture(tmp_path):
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html>\n<html>Not found</html>")
    one_line_error(tmp_path / "page.jpg", "page.jpg", "<!DOCTYPE html>")
    one_line_error(b"version https://git-lfs", "version https://git-lfs")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_file(tmp_path, file_format, part):
    data = encoded(Image.fromarray(noise(64, 64)), file_format)
    path = tmp_path / f"cut.{file_format.lower()}"
    path.write_bytes(data[: int(len(data) * part)])
    one_line_error(path, path.name)


def test_damaged_picture_that_was_opened_but_not_loaded():
    data = encoded(Image.fromarray(noise(64, 64)), "PNG")
    one_line_error(Image.open(io.BytesIO(data[: len(data) // 2])), "cannot be decoded")


def test_decompression_bomb(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (300, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    one_line_error(path, "bomb.png", "decompression bomb")


def test_empty_picture_and_wrong_type():
    one_line_error(Image.new("RGB", (0, 5)), "0x5")
    one_line_error(3.5, "float")


# To model space


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


# Any size


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (37, 53), (250, 254), (256, 256)])
@pytest.mark.parametrize(("size_multiple", "min_size"), [(1, 1), (4, 16), (32, 7), (256, 256)])
def test_padding_is_reflection_and_crops_back(size, size_multiple, min_size):
    processor = ImageProcessor()
    pixels = noise(*size)
    ((array, geometry),) = processor.preprocess(pixels, size_multiple=size_multiple, min_size=min_size)
    height, width = array.shape[2:]
    assert height % size_multiple == width % size_multiple == 0
    assert min(height, width) >= min_size
    assert height < max(size[0], min_size) + size_multiple
    top, _, left, _ = geometry.padding
    if size[0] > 1 and top:
        np.testing.assert_array_equal(array[0, :, top - 1, left], array[0, :, top + 1, left])
    (result,) = processor.postprocess(array, [geometry])
    np.testing.assert_array_equal(np.asarray(result), pixels)


@pytest.mark.parametrize(
    ("original", "box", "model_size"),
    [
        ((300, 400), (256, 256), (192, 256)),
        ((400, 300), 256, (256, 192)),
        ((30, 40), (256, 256), (192, 256)),
        ((1, 1000), (64, 64), (1, 64)),
        ((256, 256), (256, 256), (256, 256)),
        ((300, 400), (150, 400), (150, 200)),
    ],
)
def test_resizing_keeps_aspect_and_comes_back(original, box, model_size):
    processor = ImageProcessor()
    rows, columns = np.mgrid[: original[0], : original[1]]
    smooth = np.stack([rows / original[0], columns / original[1], np.full(original, 0.5)], -1)
    ((array, geometry),) = processor.preprocess(smooth, size=box, size_multiple=256)
    assert geometry.model_size == model_size
    assert geometry.resized == (model_size != original)
    (result,) = processor.postprocess(array, [geometry], output_type="np")
    assert result.shape == (*original, 3)
    if min(model_size) > 1:
        np.testing.assert_allclose(result, smooth, atol=0.02)


def test_batches_hold_equal_sizes_and_every_picture_once():
    sizes = [(8, 8), (8, 12), (8, 8), (7, 8), (8, 12), (8, 8)]
    pictures = [noise(*size, seed=index) for index, size in enumerate(sizes)]
    batches = list(ImageProcessor().batches(pictures, batch_size=2, size_multiple=4))
    assert sorted(index for batch in batches for index in batch.indices) == list(range(6))
    assert [batch.indices for batch in batches] == [[0, 2], [1, 4], [3, 5]]  # 7x8 is padded to 8x8
    for batch in batches:
        for index, array, geometry in zip(batch.indices, batch.pixel_values, batch.geometries, strict=True):
            (result,) = ImageProcessor().postprocess(array[None], [geometry])
            np.testing.assert_array_equal(np.asarray(result), pictures[index])


def test_batches_are_lazy():
    taken = []

    def pictures():
        for index in range(1000):
            taken.append(index)
            yield noise(4, 4 + index % 50)

    next(ImageProcessor().batches(pictures(), batch_size=4))
    assert len(taken) <= 16


def test_batch_arrays_and_nested_lists():
    batch = np.stack([noise(seed=index) for index in range(3)])
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    expected = [array for array, _ in ImageProcessor().preprocess(list(batch))]
    for images in (batch, tensor, [batch], [tensor[:2], batch[2]]):
        for (array, _), wanted in zip(ImageProcessor().preprocess(images), expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("size", [0, (4,), (4, -1), (2.5, 3), "large"])
def test_wrong_sizes_are_refused(size):
    with pytest.raises(ValueError, match="`size`"):
        ImageProcessor().preprocess(noise(), size=size)


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
