"""FID, KID and Inception score against their closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cyclegan_hf.metrics.inception import (
    fid,
    inception_features,
    inception_score,
    kid,
    kid_subset_size,
    load_feature_network,
)


class TinyNetwork(nn.Module):
    """Mean colours as features, and two classes: bright and dark."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = images.mean((2, 3))
        brightness = features.mean(1, keepdim=True) - 0.5
        return features, 40 * torch.cat([brightness, -brightness], 1)


def save_network(path: Path) -> Path:
    torch.jit.trace(TinyNetwork(), torch.rand(2, 3, 8, 8)).save(str(path))
    return path


def test_a_set_is_no_distance_from_itself() -> None:
    features = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    assert fid(features, features) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_two_gaussians() -> None:
    # Sets of mean 0 and variance 1, and of mean 3 and variance 4, in one dimension: (3 - 0)² + (2 - 1)² = 10.
    one = torch.tensor([[-1.0], [1.0]]) / math.sqrt(2)  # unbiased variance 1
    assert fid(2 * one + 3, one) == pytest.approx(10, rel=1e-6)


def test_one_picture_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 pictures in each set, got 1 and 5"):
        fid(torch.rand(1, 3), torch.rand(5, 3))


def numpy_fid(ours: np.ndarray, target: np.ndarray) -> float:
    """By the eigenvalues of a symmetric matrix: Tr sqrt(S1 S2) = Tr sqrt(sqrt(S1) S2 sqrt(S1))."""
    first, second = np.cov(ours, rowvar=False), np.cov(target, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    apart = ((ours.mean(0) - target.mean(0)) ** 2).sum()
    return float(apart + np.trace(first) + np.trace(second) - 2 * shared)


def test_fid_against_numpy() -> None:
    ours, target = (torch.randn(60, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    ours = 1.5 * ours + 0.3
    assert fid(ours, target) == pytest.approx(numpy_fid(ours.double().numpy(), target.double().numpy()), rel=1e-6)


def numpy_kid(ours: np.ndarray, target: np.ndarray) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return (one @ other / len(one) + 1) ** 3

    def mean(pairs: list[float]) -> float:
        return sum(pairs) / len(pairs)

    within = [
        mean([kernel(one, other) for i, one in enumerate(group) for j, other in enumerate(group) if i != j])
        for group in (ours, target)
    ]
    return sum(within) - 2 * mean([kernel(one, other) for one in ours for other in target])


def test_kid_against_numpy() -> None:
    ours, target = (torch.randn(9, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    ours = 1.5 * ours + 0.3
    whole, spread = kid(ours, target, subsets=2, subset_size=9)
    assert whole == pytest.approx(numpy_kid(ours.double().numpy(), target.double().numpy()), rel=1e-9)
    assert spread == pytest.approx(0, abs=1e-12)


def test_kid_is_unbiased_and_its_subsets_are_seeded() -> None:
    ours, target = (torch.randn(400, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    few, spread = kid(ours, target, subsets=400, subset_size=10)
    assert few == pytest.approx(kid(ours, target, subsets=1, subset_size=400)[0], abs=5 * spread / 20)
    assert spread > 0
    assert kid(ours, target, 20, 10) == kid(ours, target, 20, 10) != kid(ours, target, 20, 10, seed=1)


def test_subsets_of_kid() -> None:
    assert [kid_subset_size(*sizes) for sizes in ((5000, 1000), (999, 5000), (3, 9), (2, 2))] == [1000, 499, 2, 2]
    for sizes, subset in (((1, 5), 2), ((5, 5), 1), ((5, 9), 6)):
        with pytest.raises(ValueError, match=f"got {subset} of {sizes[0]} and {sizes[1]}"):
            kid(torch.rand(sizes[0], 3), torch.rand(sizes[1], 3), subset_size=subset)


def test_the_score_is_the_number_of_classes_that_are_surely_and_evenly_seen() -> None:
    sure = 100 * torch.eye(4)
    assert inception_score(sure.repeat(5, 1), splits=1) == (pytest.approx(4, rel=1e-4), 0)
    assert inception_score(sure[:1].repeat(20, 1)) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert inception_score(torch.zeros(6, 4))[0] == pytest.approx(1)


def test_the_shuffle_is_the_scores_own() -> None:
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    first, after = inception_score(logits), torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert inception_score(logits) == first


def test_a_torchscript_file_gives_the_features(tmp_path: Path) -> None:
    network = load_feature_network(save_network(tmp_path / "tiny.pt"))
    grey, colour = torch.rand(3, 1, 8, 8), torch.rand(2, 3, 8, 8)
    features, logits = inception_features([grey, colour], network)
    assert (features.shape, logits.shape) == ((5, 3), (5, 2))
    assert torch.allclose(features[:3, 0], grey.mean((1, 2, 3)))
    assert torch.allclose(features[3:], colour.mean((2, 3)))


def test_what_is_no_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"Expected a TorchScript file, or the published weights .*none.pt, found none"
    ):
        load_feature_network(tmp_path / "none.pt")
    (tmp_path / "page.pt").write_text("<html>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page.pt, which torch cannot read as weights") as error:
        load_feature_network(tmp_path / "page.pt")
    assert "\n" not in str(error.value)
