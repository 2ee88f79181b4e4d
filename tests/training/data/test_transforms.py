"""Resize, crop, mirror."""

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.transforms import augment, plain
from tests.testing_utils import make_picture


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


def old_recipe(image: Image.Image, size: int, crop: int, rng: np.random.Generator) -> Image.Image:
    """The official order, written down again: size, place, mirror, with these random numbers and no others."""
    size = int(rng.integers(size, size, endpoint=True))
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    left, top = int(rng.integers(size - crop + 1)), int(rng.integers(size - crop + 1))
    image = image.crop((left, top, left + crop, top + crop))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def test_the_default_path_draws_what_it_always_drew() -> None:
    image = make_picture("A", 4, size=50)
    config = DataConfig(image_size=32, load_size=(36, 36))
    for seed in range(10):
        example = augment(image, config, np.random.default_rng(seed))
        assert example.tobytes() == old_recipe(image, 36, 32, np.random.default_rng(seed)).tobytes()


def test_plain_is_the_middle_at_the_training_size() -> None:
    image = ramp(80, 40)
    config = DataConfig(image_size=40, load_size=(50, 50), resize_mode="short_side", rotation=15)
    assert plain(image, config).tobytes() == image.crop((20, 0, 60, 40)).tobytes()
    squashed = plain(image, DataConfig(image_size=40, load_size=(50, 50)))
    assert squashed.tobytes() == image.resize((40, 40), Image.Resampling.BICUBIC).tobytes()


def test_domain_b_has_a_size_of_its_own() -> None:
    config = DataConfig(image_size=28, load_size=(28, 42), image_size_b=32)
    assert config.load_sizes == ((28, 42), (32, 48))  # in A's proportion
    for domain, size in enumerate((28, 32)):
        assert augment(ramp(40, 50), config, np.random.default_rng(0), domain).size == (size, size)
        assert plain(ramp(40, 50), config, domain).size == (size, size)


def slopes(example: Image.Image) -> np.ndarray:
    """How red (a ramp's columns) and green (its rows) grow to the right and downwards, by least squares: 2 × 2."""
    pixels = np.asarray(example).astype(float)[4:-4, 4:-4]
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    basis = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)], axis=1)
    fit = np.linalg.lstsq(basis, pixels[..., :2].reshape(-1, 2), rcond=None)[0]
    return fit[:2].T


LARGE = {"image_size": 64, "load_size": (200, 200), "horizontal_flip": False}  # crops that keep off the border


def test_turns_are_up_to_the_angle_either_way() -> None:
    matrices = [slopes(example) for example in draw(ramp(200, 200), 200, rotation=15, **LARGE)]
    assert np.allclose([np.linalg.det(matrix) for matrix in matrices], 1, atol=0.01)  # turns, no zoom
    angles = np.degrees([np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in matrices])
    assert (angles.min(), angles.max()) == pytest.approx((-15, 15), abs=0.7)
    assert angles.mean() == pytest.approx(0, abs=2.5)  # four standard errors


def test_jitter_and_crop_change_the_scale_within_their_bounds() -> None:
    # A crop that shows a share s of its own width has slopes of s.
    jitter = [slopes(example)[0, 0] for example in draw(ramp(200, 200), 200, resize_jitter=0.1, **LARGE)]
    assert (min(jitter), max(jitter)) == pytest.approx((1 / 1.1, 1 / 0.9), abs=0.01)
    cut = [slopes(example)[0, 0] for example in draw(ramp(200, 200), 200, crop_fraction=0.25, **LARGE)]
    assert (min(cut), max(cut)) == pytest.approx((0.75, 1), abs=0.01)


def test_affine_shears() -> None:
    shears = [slopes(example)[0, 1] for example in draw(ramp(200, 200), 200, affine=0.2, **LARGE)]
    assert (min(shears), max(shears)) == pytest.approx((-0.2, 0.2), abs=0.01)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(40, 40), (1, 1), (90, 31)])
def test_beyond_the_border_a_picture_is_mirrored_and_not_black(size: tuple[int, int], mode: str) -> None:
    white = Image.new(mode, size, "white")
    switches = {"rotation": 180, "resize_jitter": 0.5, "crop_fraction": 0.25, "affine": 0.5}
    for example in draw(white, 10, image_size=32, load_size=(32, 40), **switches):
        assert example.size == (32, 32)
        assert np.asarray(example).min() == 255


def test_colours_keep_the_picture_in_its_place() -> None:
    image = make_picture("A", 2, size=32)  # nothing near white, where brightness would be cut off
    sizes = {"image_size": 32, "load_size": (32, 32), "horizontal_flip": False}
    for example in draw(image, 20, color_jitter=0.2, **sizes):
        assert example.tobytes() != image.tobytes()
        for ours, theirs in zip(example.split(), image.split(), strict=True):
            assert np.corrcoef(np.asarray(ours).ravel(), np.asarray(theirs).ravel())[0, 1] > 0.9
    edges = [
        np.abs(np.diff(np.asarray(e).astype(int), axis=1)).sum() for e in [image, *draw(image, 20, blur=2, **sizes)]
    ]
    assert edges[0] >= max(edges[1:]) > 1.2 * min(edges[1:])  # from none to two pixels
    for example in draw(image, 20, posterize_bits=7, **sizes):
        kept = np.asarray(example)
        assert (kept & 0b11111110 == np.asarray(image) & 0b11111110).all()  # 7 or 8 bits
    levels = [len(np.unique(np.asarray(example))) for example in draw(image, 40, posterize_bits=1, **sizes)]
    assert min(levels) == 2


def test_switches_that_are_off_draw_nothing() -> None:
    image = make_picture("A", 7, size=64)
    plain_rng, blurred_rng = np.random.default_rng(5), np.random.default_rng(5)
    sharp = augment(image, DataConfig(image_size=32, load_size=(40, 40)), plain_rng)
    blurred = augment(image, DataConfig(image_size=32, load_size=(40, 40), blur=1e-9), blurred_rng)
    assert sharp.tobytes() == blurred.tobytes()  # the same crop: what comes later moves nothing before it
    assert plain_rng.random() != blurred_rng.random()
