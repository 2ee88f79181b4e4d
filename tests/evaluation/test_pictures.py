"""Which pictures are evaluated, and at what size."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf.evaluation.pictures import PictureSet, find_pictures, fingerprint, fitted_reader
from cyclegan_hf.images.io import open_image
from tests.evaluation.tiny import NAMES
from tests.testing_utils import make_picture


def save(path: Path, size: int | tuple[int, int] = 32, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_picture("A", seed, size).save(path)
    return path


@pytest.mark.parametrize(
    "folders",
    [
        ("testA", "testB", "trainA", "trainB"),
        ("test/A", "test/B", "train/A", "train/B"),
        ("testsummer", "testwinter", "trainsummer", "trainwinter"),
        ("summer/deep", "winter/deep", "train/summer", "train/winter"),
    ],
)
def test_layouts(tmp_path: Path, folders: tuple[str, ...]) -> None:
    files = [save(tmp_path / folder / f"{number}.png") for number, folder in enumerate(folders)]
    inputs, references, independent = find_pictures(tmp_path, NAMES)
    assert (inputs, references) == (
        {"a": [files[0]], "b": [files[1]]},
        {"a": [files[2]], "b": [files[3]]},
    )
    assert independent == {"a": True, "b": True}


def test_without_training_pictures_the_targets_own_are_the_reference(tmp_path: Path) -> None:
    save(tmp_path / "A" / "1.png")
    save(tmp_path / "B" / "1.png")
    inputs, references, independent = find_pictures(tmp_path, NAMES)
    assert references == inputs
    assert independent == {"a": False, "b": False}
    save(tmp_path / "other" / "B" / "2.png")
    _, references, independent = find_pictures(tmp_path, NAMES, tmp_path / "other")
    assert references["b"] == [tmp_path / "other" / "B" / "2.png"]
    assert independent == {"a": False, "b": True}


def test_one_domain_is_enough_and_a_limit_spreads(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / "testA" / f"{number}.png")
    save(tmp_path / "trainB" / "1.png")
    inputs, references, _ = find_pictures(tmp_path, NAMES, limit=4)
    assert [path.name for path in inputs["a"]] == ["0.png", "3.png", "6.png", "9.png"]
    assert set(inputs) == {"a"}
    assert set(references) == {"a", "b"}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"testA and testB .* found no such folder"):
        find_pictures(tmp_path / "nowhere", NAMES)
    with pytest.raises(ValueError, match="found nothing in it"):
        find_pictures(tmp_path, NAMES)
    (tmp_path / "testA").mkdir()
    with pytest.raises(ValueError, match=r"testA: expected .*, found none"):
        find_pictures(tmp_path, NAMES)
    save(tmp_path / "testA" / "1.png")
    with pytest.raises(ValueError, match=r"trainA and trainB .*found no such folder"):
        find_pictures(tmp_path, NAMES, tmp_path / "nowhere")


def test_pictures_of_one_size_keep_it(tmp_path: Path) -> None:
    files = {"a": [save(tmp_path / "1.png", (40, 30))], "b": [save(tmp_path / "2.png", (40, 30), seed=1)]}
    read, words = fitted_reader(files, None, common=True)
    assert words == "own size"
    assert np.array_equal(read(files["a"][0], "a"), open_image(files["a"][0]))


def test_different_sizes_become_the_shortest_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {
        "a": [save(tmp_path / "1.png", (40, 30)), save(tmp_path / "2.png", (50, 50))],
        "b": [save(tmp_path / "3.png", (28, 60))],
    }
    with caplog.at_level(logging.WARNING):
        read, words = fitted_reader(files, None, common=True)
    assert "all are brought to 28×28" in caplog.text
    assert "short side to 28, bicubic" in words
    assert {read(path, key).size for key, paths in files.items() for path in paths} == {(28, 28)}
    read, words = fitted_reader(files, None, common=False)  # as for grey digits and coloured ones
    assert words.startswith("a: short side to 30") and words.endswith("b: own size")
    assert read(files["b"][0], "b").size == (28, 60)
    assert read(files["b"][0], "a").size == (30, 30)  # as if it were a translation into domain A
    read, words = fitted_reader(files, 20, common=True)
    assert read(files["a"][0], "a").size == (20, 20)


def test_a_picture_on_its_side_has_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    make_picture("A", 0, (30, 40)).save(tmp_path / "1.jpg", exif=exif)
    upright = save(tmp_path / "2.png", (40, 30))
    read, words = fitted_reader({"a": [tmp_path / "1.jpg", upright]}, None, common=True)
    assert words == "own size"
    assert read(tmp_path / "1.jpg", "a").size == (40, 30)


def test_the_middle_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    read, _ = fitted_reader({"a": [tmp_path / "1.png"]}, 8, common=True)
    assert np.asarray(read(tmp_path / "1.png", "a")).min() == 255


def test_unreadable_pictures_are_left_out_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [save(tmp_path / f"{number}.png") for number in range(3)]
    files[1].write_bytes(b"no picture")
    pictures = PictureSet(list(files), "pictures")
    for _ in range(2):
        batches = [[path.name for path, _ in batch] for batch in pictures.batches(open_image, 2)]
        assert batches == [["0.png", "2.png"]]
    assert pictures.left_out == [files[1]]
    assert caplog.text.count("Left out of the evaluation") == 1
    empty = PictureSet([files[1]], "real pictures of winter")
    with pytest.raises(ValueError, match="none of the 1 real pictures of winter can be read"):
        list(empty.batches(open_image, 2))


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one, same, other = save(tmp_path / "1.png"), save(tmp_path / "x" / "2.png"), save(tmp_path / "3.png", seed=1)
    assert fingerprint([one]) == fingerprint([same]) != fingerprint([other])
    assert fingerprint([one, other]) != fingerprint([other, one])
