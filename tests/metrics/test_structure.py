"""Edge agreement."""

import numpy as np
import pytest
import torch

from cyclegan_hf.metrics.structure import edge_agreement
from tests.testing_utils import make_picture


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> torch.Tensor:
    pixels = np.asarray(make_picture("A", seed, size=size))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def numpy_edge_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """For `(H, W, 3)` pictures whose sides are multiples of four."""
    means = []
    for image in (first, second):
        grey = np.pad(image @ [0.299, 0.587, 0.114], 1, mode="edge")
        height, width = image.shape[:2]
        window = {(y, x): grey[y : y + height, x : x + width] for y in range(3) for x in range(3)}
        across = sum(w * (window[y, 2] - window[y, 0]) for y, w in enumerate((1, 2, 1)))
        down = sum(w * (window[2, x] - window[0, x]) for x, w in enumerate((1, 2, 1)))
        means.append(np.hypot(across, down).reshape(height // 4, 4, width // 4, 4).mean((1, 3)).ravel())
    return np.corrcoef(*means)[0, 1]


def test_against_numpy() -> None:
    first, second = torch.rand(2, 4, 3, 24, 32).unbind()
    second = 0.5 * first + 0.5 * second
    expected = [
        numpy_edge_agreement(*(one.permute(1, 2, 0).double().numpy() for one in pair))
        for pair in zip(first, second, strict=True)
    ]
    assert edge_agreement(first, second).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 0.4 * x + 0.3, lambda x: 1 - x, lambda x: x - 5])
def test_brightness_contrast_and_sign_do_not_matter(change) -> None:
    image = picture(0)
    assert edge_agreement(image, change(image)).item() == pytest.approx(1, abs=1e-4)


def test_unrelated_pictures_agree_little() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 8, 3, 64, 64, generator=generator).unbind()
    assert edge_agreement(first, second).abs().max() < 0.3  # 256 blocks: a standard deviation of 0.06
    turned = picture(1).flip(-2)
    assert edge_agreement(picture(1), turned).item() < 0.5


def test_a_shift_of_the_picture_is_noticed() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert edge_agreement(image, image.roll(1, -1)).item() < 0.9
    assert edge_agreement(image, image.roll(8, -1)).item() < 0.3


def test_pictures_are_judged_one_by_one() -> None:
    image, other = picture(0), torch.rand(1, 3, 48, 64)
    batch = edge_agreement(torch.cat([image, image]), torch.cat([image, other]))
    assert batch.shape == (2,)
    assert batch[0].item() == pytest.approx(1, abs=1e-5)
    assert batch[1].item() == pytest.approx(edge_agreement(image, other).item(), abs=1e-5)


def test_a_plain_picture_agrees_with_nothing() -> None:
    assert edge_agreement(torch.full((1, 3, 48, 64), 0.5), picture(0)).item() == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 pixels high and wide, got \\(7, 20\\)"):
        edge_agreement(torch.rand(1, 3, 7, 20), torch.rand(1, 3, 7, 20))
    with pytest.raises(ValueError, match="of one shape, got"):
        edge_agreement(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 20))
