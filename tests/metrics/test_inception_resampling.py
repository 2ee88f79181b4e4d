"""Resampled FID, KID and IS against the same figures of sets that hold each picture as often as it was drawn."""

import pytest
import torch

from cyclegan_hf.metrics.inception import fid, inception_score, kid
from cyclegan_hf.metrics.inception_resampling import resampled_fid, resampled_inception_score, resampled_kid
from cyclegan_hf.metrics.resampling import bootstrap_counts


def features(count: int, seed: int, width: int = 24) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 1.3 + 0.2 * seed


@pytest.mark.parametrize("sizes", [(12, 30), (40, 30)])  # fewer and more pictures than features
def test_fid_against_torchmetrics(sizes: tuple[int, int]) -> None:
    ours, target = features(sizes[0], 1), features(sizes[1], 2)
    counts = torch.cat([torch.ones(1, sizes[0], dtype=torch.long), bootstrap_counts(sizes[0], 4)])
    expected = [fid(ours.repeat_interleave(count, 0), target) for count in counts]
    assert resampled_fid(ours, target, counts).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_kid_against_torchmetrics() -> None:
    ours, target = features(20, 1), features(20, 2)
    expected, spread = kid(ours, target, subsets=3, subset_size=20)
    assert spread == pytest.approx(0, abs=1e-12)  # the whole sets, three times
    assert resampled_kid(ours, target, torch.ones(1, 20)).tolist() == pytest.approx([expected], rel=1e-9)


def test_copies_are_no_pairs_of_kid() -> None:
    """A resample with each picture twice is the same set again; as a set of 40 it would seem closer together."""
    ours, target = features(20, 1), features(15, 2)
    once, twice = resampled_kid(ours, target, torch.tensor([[1] * 20, [2] * 20])).tolist()
    assert once == pytest.approx(twice)


def test_inception_score_against_torchmetrics() -> None:
    logits = 3 * features(15, 3, width=6)
    counts = torch.cat([torch.ones(1, 15, dtype=torch.long), bootstrap_counts(15, 4)])
    expected = [inception_score(logits.repeat_interleave(count, 0), splits=1)[0] for count in counts]
    assert resampled_inception_score(logits, counts).tolist() == pytest.approx(expected, rel=1e-5)
