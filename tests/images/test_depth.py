"""Images of more than 8 bits: what becomes of their range, their bits and their opacity."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf.bulk.translator import Translator
from cyclegan_hf.cli import main
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.images import depth as image_depth
from cyclegan_hf.images.depth import check_input_range, encode_png_16, encode_tiff_16, to_16_bits
from cyclegan_hf.images.files import encode_picture
from cyclegan_hf.images.io import open_image, read_image
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline


ENCODERS = {"png": encode_png_16, "tiff": encode_tiff_16}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_depth, "_warned", False)


def values_16(channels: int, high: int = 65536, size: tuple[int, int] = (24, 20)) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, high, (*size, channels), dtype=np.uint16)


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_files_hold_what_they_were_given(form: str, channels: int) -> None:
    values = values_16(channels)
    data = ENCODERS[form](values)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == (form.upper(), (20, 24))
        image.load()
    if channels in (1, 3):
        opened = read_image(data, keep_depth=True).pixels
        assert isinstance(opened, np.ndarray) and opened.dtype == np.float32
        np.testing.assert_array_equal(to_16_bits(opened), values)  # no bit is lost on the way in and out
    elif channels == 4:
        assert np.array_equal(np.asarray(image.getchannel("A")), values[..., 3] >> 8)


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_12_bit_data_are_warned_of_and_mapped(form: str, channels: int, caplog: pytest.LogCaptureFixture) -> None:
    values = values_16(channels, 4081)
    values[0, 0] = 4080
    data = ENCODERS[form](values)
    with caplog.at_level(logging.WARNING):
        dark = np.asarray(open_image(data))
        open_image(data)
    assert dark.max() <= 16
    assert len(caplog.records) == 1  # and not for every image of an epoch
    assert "4080 of 65535" in caplog.text and "--input-range 0 4095" in caplog.text
    mapped = np.asarray(open_image(data, input_range=(0, 4095)))
    expected = np.floor(values / 4095 * 255 + 0.5).astype(np.uint8)
    assert np.abs(mapped.reshape(values.shape).astype(int) - expected).max() <= 1
    assert np.asarray(open_image(data, input_range="auto")).max() == 255


def test_full_16_bit_colour_without_a_range_is_as_pillow_opens_it(caplog: pytest.LogCaptureFixture) -> None:
    values = values_16(3)
    np.testing.assert_array_equal(np.asarray(open_image(encode_png_16(values))), values >> 8)
    assert not caplog.records


@pytest.mark.parametrize("values", [np.float32([[0, 4095.0]]), np.int32([[-5, 70000]])])
def test_values_beyond_their_type_name_the_way_on(values: np.ndarray) -> None:
    image = Image.fromarray(values)
    with pytest.raises(ValueError, match="--input-range"):
        open_image(image)
    assert np.asarray(open_image(image, input_range="auto")).tolist() == [[0, 255]]
    assert np.asarray(open_image(image, input_range=(0, 2 * float(values.max())))).tolist() == [[0, 128]]
    with pytest.raises(ValueError, match="finite"):
        open_image(Image.fromarray(np.float32([[np.nan, 1]])), input_range="auto")


@pytest.mark.parametrize("wrong", ["autp", ["1"], ["5", "5"], [0, float("nan")], 7, ["a", "b"]])
def test_a_range_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="two numbers"):
        check_input_range(wrong)


def test_a_processor_keeps_its_range_and_says_nothing_of_none() -> None:
    processor = ImageProcessor(num_channels=1, input_range=(0, 4095))
    assert ImageProcessor.from_config(processor.to_config()) == processor
    assert "input_range" not in ImageProcessor().to_config()
    values = np.uint16([[0, 4095], [4095, 0]])
    for image in (Image.fromarray(values), values):
        ((array, _),) = processor.preprocess(image)
        assert array[0, 0].tolist() == [[-1, 1], [1, -1]]
    ((array, _),) = processor.preprocess(np.float32([[0.5, 1.0]]))  # float arrays are in [0, 1] as ever
    assert array[0, 0].tolist() == [[0, 1]]


def test_opacity_is_given_back_and_hidden_colours_stay_hidden() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0] = (200, 100, 50, 128)
    opened = read_image(Image.fromarray(rgba), keep_alpha=True)
    assert np.asarray(opened.alpha).tolist() == [[128, 128], [0, 0]]
    assert np.asarray(opened.pixels)[:, 0].tolist() == [[200, 100, 50], [255, 255, 255]]
    assert read_image(Image.fromarray(rgba)).alpha is None
    assert read_image(Image.new("RGB", (2, 2)), keep_alpha=True).alpha is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    CycleGANPipeline(ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)).save_pretrained(folder)
    return str(folder)


def test_translate_keeps_opacity_and_bits_on_request(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    values = values_16(4)
    values[..., 3] |= 256  # nothing is hidden
    Path("in/deep.png").write_bytes(encode_png_16(values))
    Path("in/grey.tif").write_bytes(encode_tiff_16(values_16(1)))
    rgba = values_16(4).astype(np.uint8)
    Image.fromarray(rgba).save("in/plain.png")
    Image.fromarray(rgba[..., :3]).save("in/opaque.png")
    command = ["translate", "in", "--model", model, "--output"]
    assert main([*command, "out", "--keep-alpha", "--bit-depth", "keep", "--batch-size", "4"]) == 0
    with Image.open("out/plain.png") as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image)[..., 3], rgba[..., 3])
    with Image.open("out/opaque.png") as image:
        assert image.mode == "RGB"
    result = Path("out/deep.png").read_bytes()
    assert result[24:26] == b"\x10\x06"  # IHDR: 16 bits, RGBA
    pipeline = CycleGANPipeline.from_pretrained(model)
    (expected,) = pipeline(values[..., :3] / np.float32(65535), output_type="np").images
    seen = read_image(result, keep_depth=True, keep_alpha=True)
    np.testing.assert_allclose(seen.pixels, expected, atol=1e-4)
    with Image.open("out/grey.png") as image:
        assert image.size == (20, 24)
    assert Path("out/grey.png").read_bytes()[24] == 16
    assert main([*command, "flat"]) == 0
    with Image.open("flat/plain.png") as image:
        assert image.mode == "RGB"
    assert Path("flat/deep.png").read_bytes()[24] == 8
    assert main(["translate", "in/deep.png", "--model", model, "--output", "x.tiff", "--bit-depth", "keep"]) == 0
    assert read_image("x.tiff", keep_depth=True).pixels.shape == (24, 20, 3)
    assert main([*command, "jpgs", "--keep-alpha", "--format", "jpg"]) == 2
    assert not Path("jpgs").exists()


def test_translate_maps_a_range_from_its_flag_or_its_model(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    values = values_16(1, 4096)[..., 0]
    Image.fromarray(values).save("a.png")
    CycleGANPipeline(
        CycleGANPipeline.from_pretrained(model).generator_a2b,
        image_processor_a=ImageProcessor(input_range=(0, 4095)),
    ).save_pretrained("ranged")
    for name, options in (
        ("plain", ["--model", model]),
        ("flag", ["--model", model, "--input-range", "0", "4095"]),
        ("auto", ["--model", model, "--input-range", "auto"]),
        ("model", ["--model", "ranged"]),
    ):
        assert main(["translate", "a.png", "--output", f"{name}.png", *options]) == 0
    found = {name: Path(f"{name}.png").read_bytes() for name in ("plain", "flag", "auto", "model")}
    assert found["plain"] != found["flag"] == found["model"]
    assert main(["translate", "a.png", "--output", "x.png", "--input-range", "9", "1"]) == 2
    assert "`--input-range` must be auto or two numbers" in capsys.readouterr().err


def test_pixels_beyond_the_flag_are_refused(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30)).save("a.png")
    command = ["translate", "a.png", "--output", "b.png", "--model", model]
    assert main([*command, "--max-pixels", "1199"]) == 2
    assert "--max-pixels" in capsys.readouterr().err
    assert main([*command, "--max-pixels", "1200"]) == 0
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    chunks = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        chunks.append(struct.pack(">I", len(content)) + kind + content + checksum)
    Path("large.png").write_bytes(b"".join(chunks))
    assert main(["translate", "large.png", "--output", "c.png", "--model", model]) == 2
    message = capsys.readouterr().err
    assert "64,000,000 pixels, got 169,000,000" in message and message.count("\n") == 1


def test_16_bits_fit_png_and_tiff_only() -> None:
    with pytest.raises(ValueError, match="8 bits"):
        encode_picture(values_16(3), "JPEG")


def test_deep_and_plain_pictures_of_a_handful_are_told_apart() -> None:
    forms = []

    class Output:
        cycles = None

        def __init__(self, images: list) -> None:
            self.images, self.sizes = images, [(2, 2)] * len(images)

    def run(images: list, output_type: str) -> Output:
        forms.append((output_type, len(images)))
        return Output(images)

    deep = encode_png_16(values_16(3, size=(2, 2)))
    sources = [(0, deep), (1, Image.new("RGB", (2, 2))), (2, deep)]
    found = dict(Translator(run, 4, keep_depth=True)(sources))
    assert sorted(forms) == [("np", 2), ("pil", 1)]
    assert [isinstance(found[key].image, np.ndarray) for key in range(3)] == [True, False, True]
