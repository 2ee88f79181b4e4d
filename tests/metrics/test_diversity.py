"""Distances within a set."""

import itertools

import numpy as np
import pytest
import torch

from cyclegan_hf.metrics.diversity import SIDE, mean_pair_distance, reduced


def test_against_numpy() -> None:
    vectors = torch.rand(7, 12)
    pairs = [np.sqrt(np.mean((one - other) ** 2)) for one, other in itertools.combinations(vectors.numpy(), 2)]
    assert mean_pair_distance(vectors).item() == pytest.approx(np.mean(pairs), rel=1e-5)


def test_copies_of_one_picture_are_no_pair() -> None:
    vectors = torch.rand(4, 12)
    counts = torch.tensor([[2, 1, 0, 1], [1, 1, 1, 1]])
    expected = [
        np.mean([np.sqrt(np.mean((vectors[i].numpy() - vectors[j].numpy()) ** 2)) for i, j in pairs])
        for pairs in (
            [(0, 1), (0, 1), (0, 3), (0, 3), (1, 3)],
            itertools.combinations(range(4), 2),
        )
    ]
    assert mean_pair_distance(vectors, counts).tolist() == pytest.approx(expected, rel=1e-5)


def test_collapse() -> None:
    one = torch.rand(1, 3, 40, 30)
    assert mean_pair_distance(reduced(one.expand(5, -1, -1, -1))).item() == 0
    black_and_white = torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])
    assert mean_pair_distance(reduced(black_and_white)).item() == pytest.approx(1)


def test_reduced_are_means() -> None:
    picture = torch.rand(1, 2, SIDE * 2, SIDE * 3)
    expected = picture.unflatten(2, (SIDE, 2)).unflatten(4, (SIDE, 3)).mean((3, 5)).flatten(1)
    assert torch.allclose(reduced(picture), expected, atol=1e-6)


def test_one_picture_has_no_diversity() -> None:
    with pytest.raises(ValueError, match="at least 2 pictures, got 1"):
        mean_pair_distance(torch.rand(1, 3))
