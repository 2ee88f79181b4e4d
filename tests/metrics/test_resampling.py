"""The bootstrap."""

import math

import pytest
import torch

from cyclegan_hf.metrics.resampling import bootstrap_counts, central_interval, resampled_means, two_sided_p


def test_counts_are_draws_with_replacement() -> None:
    counts = bootstrap_counts(20, 4000)
    assert counts.shape == (4000, 20)
    assert (counts.sum(1) == 20).all()
    assert counts.float().mean(0).tolist() == pytest.approx([1] * 20, abs=0.1)
    assert counts.float().var().item() == pytest.approx(1 - 1 / 20, abs=0.02)  # binomial
    assert torch.equal(counts, bootstrap_counts(20, 4000))  # so that two models are paired
    assert not torch.equal(counts, bootstrap_counts(20, 4000, seed=1))
    assert bootstrap_counts(3, 0).shape == (0, 3)


def test_the_spread_of_a_mean_is_its_standard_error() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(0))
    means = resampled_means(values, bootstrap_counts(200, 4000))
    assert means.mean().item() == pytest.approx(values.mean().item(), abs=0.01)
    assert means.std().item() == pytest.approx(values.std().item() / math.sqrt(200), rel=0.05)


def test_pictures_without_a_value_do_not_count() -> None:
    values = torch.tensor([1.0, math.nan, 3.0])
    counts = torch.tensor([[1, 1, 1], [3, 0, 0], [0, 3, 0]])
    first, second, third = resampled_means(values, counts).tolist()
    assert (first, second) == (2, 1)
    assert math.isnan(third)


def test_p_values_by_hand() -> None:
    assert two_sided_p(torch.full((99,), 2.0)) == pytest.approx(0.02)  # none of 99 turns it round
    assert two_sided_p(torch.full((99,), -2.0)) == pytest.approx(0.02)
    assert two_sided_p(torch.tensor([1.0] * 94 + [-1.0] * 5)) == pytest.approx(0.12)
    assert two_sided_p(torch.zeros(10)) == 1
    with pytest.raises(ValueError, match="finite differences"):
        two_sided_p(torch.tensor([math.nan]))


def test_where_nothing_differs_small_p_values_are_as_rare_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = bootstrap_counts(100, 200)
    found = [two_sided_p(resampled_means(torch.randn(100, generator=generator), counts)) < 0.1 for _ in range(200)]
    assert sum(found) / 200 == pytest.approx(0.1, abs=0.06)


def test_the_interval_leaves_half_of_the_rest_on_either_side() -> None:
    assert central_interval(torch.arange(1001.0)) == pytest.approx((25, 975))
    assert central_interval(torch.arange(101.0).flip(0), share=0.5) == pytest.approx((25, 75))
