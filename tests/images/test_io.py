"""Pictures of every kind to plain colour or grey values. All pictures are made here."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageCms

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.images.io import open_image
from tests.testing_utils import noise


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
