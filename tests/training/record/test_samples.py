"""Sample grids."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageStat

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.training.record.samples import choose_samples, sample_grid, save_grids
from tests.testing_utils import make_picture


@pytest.fixture
def pipeline() -> CycleGANPipeline:
    networks = [ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1) for _ in range(2)]
    return CycleGANPipeline(*networks)


def write(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    paths = []
    for index, size in enumerate(sizes):
        paths.append(folder / f"{index}.png")
        make_picture("A", index, size=size).save(paths[-1])
    return paths


def cell(grid: Image.Image, column: int, size: tuple[int, int], side: int) -> Image.Image:
    """A picture of the first row."""
    left, top = column * (side + 4), 18
    return grid.crop((left, top, left + size[0], top + size[1]))


def difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def test_the_columns_are_input_translation_cycle_and_identity(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    (path,) = write(tmp_path, (64, 48))
    image = Image.open(path)
    grid = sample_grid(pipeline, [path], "a2b", cell=64, identity=True)
    both = pipeline(image, direction="a2b", return_cycle=True)
    expected = [image, both.images[0], both.cycles[0], pipeline(image, direction="b2a").images[0]]
    assert grid.size == (4 * 64 + 3 * 4, 18 + 48)
    for column, picture in enumerate(expected):
        assert difference(cell(grid, column, (64, 48), 64), picture) == 0
    without = sample_grid(pipeline, [path], "a2b", cell=64, identity=False)
    assert without.width == 3 * 64 + 2 * 4


def test_the_other_direction_goes_the_other_way(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    (path,) = write(tmp_path, (64, 64))
    grid = sample_grid(pipeline, [path], "b2a", cell=64, identity=True)
    translated = pipeline(Image.open(path), direction="b2a").images[0]
    assert difference(cell(grid, 1, (64, 64), 64), translated) == 0


def test_pixels_of_small_pictures_are_drawn_as_squares(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    (path,) = write(tmp_path, (32, 32))
    grid = sample_grid(pipeline, [path], "a2b", cell=32, identity=False)
    assert grid.size == (3 * 96 + 2 * 4, 18 + 96)
    shown = cell(grid, 0, (96, 96), 96)
    assert difference(shown.resize((32, 32), Image.Resampling.NEAREST), Image.open(path)) == 0
    assert difference(shown, Image.open(path).resize((96, 96), Image.Resampling.NEAREST)) == 0


def test_large_pictures_are_reduced_before_they_are_translated(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    paths = write(tmp_path, (300, 150), (20, 20))
    grid = sample_grid(pipeline, paths, "a2b", cell=64, identity=False)
    assert grid.size == (3 * 64 + 2 * 4, 18 + 32 + 4 + 20)  # rows as high as their pictures
    small = Image.open(paths[0])
    small.thumbnail((64, 64), Image.Resampling.BICUBIC)
    assert small.size == (64, 32)
    assert difference(cell(grid, 1, small.size, 64), pipeline(small).images[0]) == 0


def test_grids_are_saved_by_step_and_direction(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    paths = write(tmp_path, (32, 32))
    grids = save_grids(pipeline, {"a2b": paths, "b2a": paths}, tmp_path / "samples", 120, cell=64, identity=True)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["0000120-a2b.png", "0000120-b2a.png"]
    with Image.open(tmp_path / "samples" / "0000120-a2b.png") as saved:
        assert np.array_equal(np.asarray(saved), grids["a2b"])
    assert grids["a2b"].dtype == np.uint8


def test_pictures_that_cannot_be_read_are_not_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write(tmp_path, *[(8, 8)] * 4)
    paths[0].write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert choose_samples(paths, 2) == paths[1:3]
    assert "0.png" in caplog.text
    assert choose_samples(paths, 10) == paths[1:]
    with pytest.raises(ValueError, match=r"None of 1 pictures can be read, the last: .*0.png"):
        choose_samples(paths[:1], 2)
