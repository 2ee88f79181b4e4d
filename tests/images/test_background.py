"""Pictures on white."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cyclegan_hf.images import background
from cyclegan_hf.images.background import remove_background, remove_backgrounds, resolve_method


pytest.importorskip("cv2", reason="needs OpenCV, the extra `background`")
ROOT = Path(__file__).resolve().parents[2]


def portrait(width: int = 120, height: int = 150, seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """An orange figure, cut off by the lower border, in front of a noisy green; and where it is."""
    mask = Image.new("1", (width, height))
    draw = ImageDraw.Draw(mask)
    draw.ellipse((width * 0.3, height * 0.2, width * 0.7, height * 0.6), fill=1)
    draw.rectangle((width * 0.25, height * 0.55, width * 0.75, height), fill=1)
    subject = np.asarray(mask)
    pixels = np.where(subject[..., None], (225, 120, 40), (40, 110, 60))
    pixels = pixels + np.random.default_rng(seed).integers(-25, 26, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), subject


@pytest.mark.parametrize("size", [(120, 150), (150, 120), (500, 420)])
def test_grabcut_keeps_the_figure_and_whitens_the_rest(size: tuple[int, int]) -> None:
    image, subject = portrait(*size)
    result = remove_background(image, "grabcut")
    assert (result.size, result.mode) == (image.size, "RGB")
    white = (np.asarray(result) > 200).all(axis=-1)  # with the outer part of the soft edge
    assert white[~subject].mean() > 0.95
    assert white[subject].mean() < 0.03
    inside = subject & ~white
    same = (np.asarray(result) == np.asarray(image)).all(axis=-1)
    assert same[inside].mean() > 0.8  # all but the soft edge, three pixels on either side


def test_the_result_is_the_same_each_time_and_whatever_opencv_drew_before() -> None:
    import cv2

    image, _ = portrait()
    first = remove_background(image, "grabcut").tobytes()
    cv2.setRNGSeed(77)
    assert remove_background(image, "grabcut").tobytes() == first


@pytest.mark.parametrize("image", [Image.new("RGB", (60, 60), "gray"), Image.new("L", (5, 300), 90)])
def test_a_picture_without_a_subject_stays_as_it_is(image: Image.Image) -> None:
    assert remove_background(image, "grabcut").tobytes() == image.convert("RGB").tobytes()


def test_opencv_is_imported_before_its_threads_begin() -> None:
    # Half imported by one thread, it is no module to another: pictures kept their background, on busy machines.
    code = (
        "import sys\nfrom pathlib import Path\nfrom cyclegan_hf.images import background\n"
        "pool = background.ThreadPoolExecutor\n"
        "background.ThreadPoolExecutor = lambda **words: print('cv2' in sys.modules) or pool(**words)\n"
        "background.remove_backgrounds([], 'grabcut', Path('cache'))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "True\n", result.stderr


def test_results_are_kept_by_content(tmp_path: Path) -> None:
    image, _ = portrait()
    for name in ("one.png", "copy.png"):
        image.save(tmp_path / name)
    portrait(seed=1)[0].save(tmp_path / "two.png")
    paths = [tmp_path / name for name in ("one.png", "copy.png", "two.png")]
    results = remove_backgrounds(paths, "grabcut", tmp_path / "cache")
    assert results[0] == results[1] != results[2]
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 2
    with Image.open(results[0]) as kept:
        assert kept.tobytes() == remove_background(image, "grabcut").tobytes()
    stamps = [path.stat().st_mtime_ns for path in results]
    assert remove_backgrounds(paths, "grabcut", tmp_path / "cache") == results
    assert [path.stat().st_mtime_ns for path in results] == stamps  # nothing is made twice


def test_an_unreadable_picture_stands_for_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        assert remove_backgrounds([tmp_path / "bad.png"], "grabcut", tmp_path / "cache") == [tmp_path / "bad.png"]
    assert "bad.png" in caplog.text
    assert not (tmp_path / "cache").exists()


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match='`method` must be "auto", "rembg" or "grabcut", got \'scissors\''):
        resolve_method("scissors")  # type: ignore[arg-type]


def test_rembg_without_its_weights_is_refused_and_auto_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))  # empty: nothing is downloaded
    assert resolve_method("auto") == "grabcut"
    with pytest.raises(ValueError, match=r"expected the package rembg .* and its u2net.onnx") as error:
        resolve_method("rembg")
    assert "\n" not in str(error.value)


def test_rembg_cuts_along_its_networks_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rembg", reason="needs the extra `rembg`")
    onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
    # In the place of U²-Net a network that takes the red channel for the mask.
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Gather", ["image", "zero"], ["red"], axis=1),
        onnx.helper.make_node("Unsqueeze", ["red", "axis"], ["mask"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "red",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 320, 320])],
        [value("mask", onnx.TensorProto.FLOAT, [1, 1, 320, 320])],
        [
            onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [], [0]),
            onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "u2net.onnx")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    background._rembg_session.cache_clear()
    image = Image.new("RGB", (64, 64), (0, 200, 30))
    image.paste((255, 200, 30), (16, 16, 48, 48))
    try:
        assert resolve_method("auto") == "rembg"
        result = remove_background(image)
    finally:
        background._rembg_session.cache_clear()
    assert result.getpixel((4, 4)) == (255, 255, 255)
    assert result.getpixel((32, 32)) == (255, 200, 30)
