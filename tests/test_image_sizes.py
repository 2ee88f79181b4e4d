"""Pictures of any size, alone and in batches."""

import numpy as np
import pytest
import torch

from cyclegan_hf.image_processor import ImageProcessor
from tests.testing_utils import noise


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
