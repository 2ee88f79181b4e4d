"""Resize, crop, mirror."""

import numpy as np
import pytest
from PIL import Image

from tests.testing_utils import make_picture
from training.config import DataConfig
from training.data.transforms import augment


def draw(image: Image.Image, count: int, **data) -> list[Image.Image]:
    config = DataConfig(**data)
    return [augment(image, config, np.random.default_rng([0, index])) for index in range(count)]


def ramp(width: int, height: int) -> Image.Image:
    """Red counts columns, green counts rows: a crop tells where it is from."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(40, 40), (90, 31), (31, 90), (7, 200), (1, 1)])
@pytest.mark.parametrize("mode", ["squash", "short_side"])
def test_any_picture_becomes_a_square_of_the_training_size(size: tuple[int, int], mode: str) -> None:
    image = make_picture("A", 0, size=size)
    for example in draw(image, 5, image_size=32, load_size=(32, 40), resize_mode=mode):
        assert example.size == (32, 32)


def test_crops_come_evenly_from_everywhere() -> None:
    crops = draw(ramp(20, 20), 2000, image_size=16, load_size=(20, 20), horizontal_flip=False)
    corners = np.array([crop.getpixel((0, 0))[:2] for crop in crops])
    assert corners.min() == 0
    assert corners.max() == 4  # the last place where 16 of 20 pixels fit
    counts = np.bincount(corners[:, 0] * 5 + corners[:, 1], minlength=25)
    assert (abs(counts - 80) < 4 * 80**0.5).all()


def test_a_crop_is_a_piece_of_the_picture() -> None:
    for crop in draw(ramp(20, 20), 20, image_size=16, load_size=(20, 20), horizontal_flip=False):
        pixels = np.asarray(crop).astype(int)
        assert (np.diff(pixels[..., 0], axis=1) == 1).all()
        assert (np.diff(pixels[..., 1], axis=0) == 1).all()


def test_half_of_the_pictures_are_mirrored() -> None:
    image = ramp(16, 16)
    examples = draw(image, 1000, image_size=16, load_size=(16, 16))
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    same = sum(example.tobytes() == image.tobytes() for example in examples)
    assert same + sum(example.tobytes() == mirrored.tobytes() for example in examples) == 1000
    assert same == pytest.approx(500, abs=64)  # four standard deviations


def test_squashing_bends_the_aspect_and_the_short_side_keeps_it() -> None:
    image = ramp(80, 40)
    (squashed,) = draw(image, 1, image_size=40, load_size=(40, 40), horizontal_flip=False)
    (kept,) = draw(image, 1, image_size=40, load_size=(40, 40), horizontal_flip=False, resize_mode="short_side")
    red = [np.ptp(np.asarray(example)[..., 0].astype(int)) for example in (squashed, kept)]
    assert red[0] > 75  # all 80 columns
    assert red[1] == 39  # 40 of them


def test_the_load_size_is_drawn_evenly_from_both_ends_on() -> None:
    # A crop of 16 columns of a 64-pixel ramp resized to s spans 15 * 64 / s of its values.
    crops = draw(ramp(64, 64), 600, image_size=16, load_size=(16, 32), horizontal_flip=False)
    middle = [np.asarray(crop)[8, :, 0].astype(float) for crop in crops]
    slopes = np.array([(row[12] - row[4]) / 8 for row in middle])  # away from the borders
    sizes = 64 / slopes
    assert sizes.min() == pytest.approx(16, abs=0.6)
    assert sizes.max() == pytest.approx(32, abs=1.2)
    assert np.median(sizes) == pytest.approx(24, abs=1.2)


def test_the_resize_is_pillows_bicubic() -> None:
    image = make_picture("B", 3, size=50)
    (example,) = draw(image, 1, image_size=32, load_size=(32, 32), horizontal_flip=False)
    assert example.tobytes() == image.resize((32, 32), Image.Resampling.BICUBIC).tobytes()


def test_the_same_random_numbers_give_the_same_example() -> None:
    image = make_picture("A", 1, size=64)
    config = DataConfig(image_size=32, load_size=(32, 48))
    first, second = (augment(image, config, np.random.default_rng([1, 2, 3])) for _ in range(2))
    assert first.tobytes() == second.tobytes()
