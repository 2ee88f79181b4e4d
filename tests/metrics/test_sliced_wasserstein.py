"""The sliced Wasserstein distance where it is known, and against NumPy."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from cyclegan_hf.metrics.resampling import bootstrap_counts
from cyclegan_hf.metrics.sliced_wasserstein import (
    laplacian_pyramid,
    patch_descriptors,
    resampled_sliced_wasserstein,
    sliced_wasserstein,
)


def distances_of_levels(
    images: Iterable[torch.Tensor], targets: Iterable[torch.Tensor], num_levels: int = 3, seed: int = 0
) -> list[float]:
    """The distance at each pyramid level, fine to coarse, between two sets of batches."""
    levels = []
    for batches in (images, targets):
        found, first = [], 0
        for batch in batches:
            found.append(patch_descriptors(batch, num_levels, seed=seed, first=first))
            first += len(batch)
        levels.append([torch.cat(level) for level in zip(*found, strict=True)])
    return [sliced_wasserstein(mine, target, seed=seed) for mine, target in zip(*levels, strict=True)]


def numpy_blur(picture: np.ndarray) -> np.ndarray:
    """The binomial filter on a `(H, W)` picture, mirrored at the borders."""
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(picture, 2, mode="reflect")
    rows = np.apply_along_axis(np.convolve, 0, padded, kernel, mode="valid")
    return np.apply_along_axis(np.convolve, 1, rows, kernel, mode="valid")


def numpy_enlarge(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixels as squares."""
    for axis, length in enumerate(size):
        old = picture.shape[axis]
        places = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        picture = np.apply_along_axis(lambda line, p=places: np.interp(p, np.arange(len(line)), line), axis, picture)
    return picture


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (27, 29)])
def test_the_pyramid_against_numpy(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    levels = laplacian_pyramid(images, 3)
    rest = images.double().numpy()
    for level in levels[:-1]:
        assert level.shape == rest.shape
        for picture in np.ndindex(rest.shape[:2]):
            smaller = numpy_blur(rest[picture])[::2, ::2]
            expected = rest[picture] - numpy_enlarge(smaller, rest.shape[2:])
            assert np.abs(level[picture].numpy() - expected).max() < 1e-6
        rest = np.stack([[numpy_blur(channel)[::2, ::2] for channel in picture] for picture in rest])
    assert levels[-1].shape == (2, 3, *(math.ceil(length / 4) for length in size))
    assert np.abs(levels[-1].numpy() - rest).max() < 1e-6


def test_the_pyramid_adds_up_to_the_picture() -> None:
    image = torch.rand(1, 3, 37, 64)
    *bands, rest = laplacian_pyramid(image, 4)
    for band in reversed(bands):
        rest = band + torch.nn.functional.interpolate(rest, band.shape[-2:], mode="bilinear")
    assert torch.allclose(rest, image, atol=1e-6)


def test_a_plain_picture_has_no_bands() -> None:
    *bands, rest = laplacian_pyramid(torch.full((1, 3, 32, 32), 0.7), 3)
    assert all(band.abs().max() < 1e-6 for band in bands)
    assert torch.allclose(rest, torch.full((1, 3, 8, 8), 0.7))


def test_descriptors_are_windows_of_the_pictures() -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    images = torch.stack([rows * 30 + columns + offset for offset in (0, 1000)])[:, None].expand(2, 3, 20, 30)
    (patches,) = patch_descriptors(images, num_levels=1, num_patches=200)
    assert patches.shape == (400, 3, 7, 7)
    corners = patches[:, :, :1, :1]
    window = torch.arange(7.0)[:, None] * 30 + torch.arange(7.0)
    assert torch.equal(patches, corners + window)
    first, second = corners[:200, 0, 0, 0], corners[200:, 0, 0, 0]
    assert first.max() < 600 <= 1000 <= second.min()  # picture by picture
    places = torch.cat([first, second - 1000])
    assert places.min() // 30 == 0
    assert (places // 30).max() == 13  # the last row and column where a patch fits
    assert (places % 30).max() == 23


def test_every_level_has_its_patches() -> None:
    levels = patch_descriptors(torch.rand(2, 3, 40, 30), num_levels=3, patch_size=5, num_patches=11)
    assert [tuple(level.shape) for level in levels] == [(22, 3, 5, 5)] * 3


@pytest.mark.parametrize(("size", "fits"), [((25, 25), True), ((24, 25), False), ((25, 24), False), ((3, 3), False)])
def test_too_small_pictures_are_refused(size: tuple[int, int], fits: bool) -> None:
    if fits:
        assert len(patch_descriptors(torch.rand(1, 3, *size))) == 3
    else:
        with pytest.raises(ValueError, match=r"at least 25 pixels high and wide for 3 levels, got \("):
            patch_descriptors(torch.rand(1, 3, *size))


def patches(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 2.0, 0.5])[:, None, None]
    return torch.randn(count, 3, 7, 7, generator=generator) * scale + scale


def test_a_set_is_at_no_distance_from_itself() -> None:
    target = patches(100)
    assert sliced_wasserstein(target, target) == 0
    assert sliced_wasserstein(target[torch.randperm(100)], target) == pytest.approx(0, abs=1e-3)
    # Twice the pictures, the same distribution: every quantile lies between two equal values.
    assert sliced_wasserstein(torch.cat([target, target]), target) == pytest.approx(0, abs=1e-2)


def test_the_distance_of_a_shifted_channel() -> None:
    """A shift of channel 1 by c moves every projection by (c / std_1) * |sum of the direction's 49 entries there|.

    For a random unit vector in 147 dimensions, that sum is 7 times the coordinate along a fixed unit vector, whose
    mean size is Gamma(147/2) / (sqrt(pi) Gamma(148/2)).
    """
    target = patches(60)
    shift = torch.zeros(3, 1, 1)
    shift[1] = 0.3
    coordinate = math.exp(math.lgamma(147 / 2) - math.lgamma(148 / 2)) / math.sqrt(math.pi)
    expected = 1000 * 0.3 / target[:, 1].std().item() * 7 * coordinate
    found = sliced_wasserstein(target + shift, target, num_projections=20_000)
    assert found == pytest.approx(expected, rel=0.02)  # four standard deviations of the mean over directions
    assert sliced_wasserstein(target + 2 * shift, target) == pytest.approx(
        2 * sliced_wasserstein(target + shift, target), rel=1e-4
    )


def test_the_distance_of_a_scaled_set() -> None:
    """Around the target's mean, a factor of 2 doubles each quantile: the distance is a projection's mean size."""
    target = patches(400)
    mean, std = target.mean((0, 2, 3), keepdim=True), target.std((0, 2, 3), keepdim=True)
    normal = ((target - mean) / std).flatten(1)
    directions = torch.nn.functional.normalize(torch.randn(147, 5000), dim=0)
    expected = 1000 * (normal @ directions).abs().mean().item()
    assert sliced_wasserstein(mean + 2 * (target - mean), target) == pytest.approx(expected, rel=0.02)


def test_it_is_symmetric_where_both_sets_normalise_alike() -> None:
    first, second = patches(80, 1), patches(80, 2)
    second = (second - second.mean((0, 2, 3), keepdim=True)) / second.std((0, 2, 3), keepdim=True)
    second = second**3  # another distribution of mean 0
    first, second = (
        (one - one.mean((0, 2, 3), keepdim=True)) / one.std((0, 2, 3), keepdim=True) for one in (first, second)
    )
    there, back = sliced_wasserstein(first, second), sliced_wasserstein(second, first)
    assert there == pytest.approx(back, rel=1e-4)
    assert there > 10


def test_the_targets_scale_does_not_matter() -> None:
    first, second = patches(80, 1) * 1.5, patches(80, 2)
    scale, offset = torch.tensor([0.1, 7.0, 1.0])[:, None, None], torch.tensor([3.0, -1.0, 0.0])[:, None, None]
    assert sliced_wasserstein(first * scale + offset, second * scale + offset) == pytest.approx(
        sliced_wasserstein(first, second), rel=1e-3
    )


@pytest.mark.parametrize("counts", [(90, 90), (90, 60), (60, 90), (1000, 7)])
def test_against_numpy_with_directions_of_its_own(counts: tuple[int, int]) -> None:
    ours, target = patches(counts[0], 1) * 1.3 + 0.2, patches(counts[1], 2)
    random = np.random.default_rng(0)
    mean, std = (getattr(np, name)(target.double().numpy(), axis=(0, 2, 3), keepdims=True) for name in ("mean", "std"))
    std = std * math.sqrt(target[:, 0].numel() / (target[:, 0].numel() - 1))
    sets = [((one.double().numpy() - mean) / std).reshape(len(one), -1) for one in (ours, target)]
    shares = (np.arange(min(counts)) + 0.5) / min(counts)
    distances = []
    for _ in range(3000):
        direction = random.standard_normal(147)
        direction /= np.linalg.norm(direction)
        quantiles = [np.quantile(one @ direction, shares, method="hazen") for one in sets]
        distances.append(np.abs(quantiles[0] - quantiles[1]).mean())
    expected = 1000 * np.mean(distances)
    assert sliced_wasserstein(ours, target, num_projections=3000) == pytest.approx(expected, rel=0.03)


def test_the_pyramid_of_distances_tells_the_level() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8, generator=generator), size=64, mode="bicubic")
    assert distances_of_levels([images], [images]) == [0, 0, 0]
    noisy = images + 0.05 * torch.randn(images.shape, generator=generator)
    fine, middle, coarse = distances_of_levels([noisy], [images])
    assert fine > 1.5 * middle > 2.25 * coarse  # blurring takes the noise away level by level
    warmer = images + torch.tensor([0.1, 0.0, 0.0])[:, None, None]
    fine, middle, coarse = distances_of_levels([warmer], [images])
    assert fine == pytest.approx(0, abs=1e-2)
    assert middle == pytest.approx(0, abs=1e-2)
    assert coarse > 50


def test_batches_change_nothing() -> None:
    images, targets = torch.rand(6, 3, 32, 40), torch.rand(5, 3, 32, 40)
    whole = distances_of_levels([images], [targets])
    assert distances_of_levels(images.split(4), targets.split(1)) == pytest.approx(whole, rel=1e-4)
    one = patch_descriptors(images, num_levels=1, num_patches=9)[0].unflatten(0, (6, 9))
    more = patch_descriptors(images[4:], num_levels=1, num_patches=20, first=4)[0].unflatten(0, (2, 20))
    assert torch.equal(more[:, :9], one[4:])  # more patches are added to the same first ones


def test_resampled_distances_are_those_of_sets_with_copies() -> None:
    ours, target = patches(30 * 8, 1).unflatten(0, (30, 8)), patches(40 * 8, 2)
    ours = 1.2 * ours + 0.3 * torch.randn(30, 1, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    counts = torch.cat([torch.ones(1, 30, dtype=torch.long), bootstrap_counts(30, 5)])
    expected = [
        sliced_wasserstein(ours.repeat_interleave(count, 0).flatten(0, 1), target, num_projections=32)
        for count in counts
    ]
    assert resampled_sliced_wasserstein(ours, target, counts).tolist() == pytest.approx(expected, rel=0.01)


def test_batches_of_any_size_and_unequal_sets() -> None:
    images, targets = torch.rand(5, 3, 32, 40), torch.rand(3, 3, 48, 32)
    distances = distances_of_levels(images.split(2), targets.split(1), num_levels=2)
    assert len(distances) == 2
    brighter = distances_of_levels((images + 0.5).split(2), targets.split(1), num_levels=2)
    assert 0 < distances[1] < 0.2 * brighter[1]  # two sets of white noise
    assert distances == distances_of_levels(images.split(2), targets.split(1), num_levels=2)  # seeded
    assert distances != distances_of_levels(images.split(2), targets.split(1), num_levels=2, seed=1)
