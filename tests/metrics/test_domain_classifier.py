"""The classifier of domains, against numbers worked out by hand and a least-squares solver."""

import numpy as np
import pytest
import torch

from cyclegan_hf.metrics.domain_classifier import BINS, CELLS, LEVELS, RIDGE, DomainClassifier, domain_features


def test_features_of_one_colour_and_a_checkerboard() -> None:
    plain = torch.tensor([0.1, 0.5, 0.9])[:, None, None].expand(1, 3, 32, 32)
    mean, deviation, details, histogram = domain_features(plain)[0].split([12, 12, 12, BINS**3])
    torch.testing.assert_close(mean.view(3, CELLS, CELLS), plain[0, :, :2, :2])
    assert deviation.max() < 2e-3 and details.max() < 1e-6
    assert histogram.nonzero().tolist() == [[0 + 2 * 4 + 3 * 16]] and histogram.max() == 1  # of quarters 0, 2 and 3
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float().expand(1, 1, 32, 32)
    # Half of the pixels 0, half 1: mean and deviation 1/2, all detail at the finest scale, half of them in either bin.
    expected = [0.5] * 4 + [0.5] * 4 + [0.5] + [0.0] * (LEVELS - 1) + [0.5**0.5, 0, 0, 0.5**0.5]
    torch.testing.assert_close(domain_features(board)[0], torch.tensor(expected))


def test_pictures_of_any_size_and_one_by_one() -> None:
    pictures = torch.rand(3, 3, 7, 20)
    together = domain_features(pictures)
    assert together.shape == (3, 100)
    torch.testing.assert_close(together, torch.cat([domain_features(one[None]) for one in pictures]))
    assert domain_features(torch.ones(1, 3, 1, 1)).isfinite().all()


def test_one_feature_by_hand() -> None:
    # Standardised -1 and 1 (but for the floor of the scale): the weight is 1 / (1 + ridge), whatever the counts.
    scores = DomainClassifier.fitted(torch.full((9, 1), 4.0), torch.full((2, 1), 6.0))(torch.tensor([[4.0], [5], [6]]))
    weight = 1 / 1.001 / ((1 / 1.001) ** 2 + RIDGE) / 1.001
    torch.testing.assert_close(scores, torch.tensor([-weight, 0, weight], dtype=torch.float64))


def test_many_features_against_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(40, 6, generator=generator)
    target = torch.rand(15, 6, generator=generator) + torch.tensor([0.5, 0, 0, -0.2, 0, 0])
    new = torch.rand(8, 6, generator=generator)
    features = torch.cat([source, target]).double().numpy()
    share = np.r_[np.full(40, 0.5 / 40), np.full(15, 0.5 / 15)]
    mean = np.average(features, axis=0, weights=share)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=share)) + 1e-3
    rows = np.r_[(features - mean) / scale * np.sqrt(share)[:, None], np.sqrt(RIDGE) * np.eye(6)]
    truth = np.r_[np.r_[-np.ones(40), np.ones(15)] * np.sqrt(share), np.zeros(6)]
    weights = np.linalg.lstsq(rows, truth, rcond=None)[0]
    expected = (new.double().numpy() - mean) / scale @ weights
    np.testing.assert_allclose(DomainClassifier.fitted(source, target)(new).numpy(), expected, rtol=1e-8)


def test_it_tells_meadows_from_snow() -> None:
    generator = torch.Generator().manual_seed(0)

    def pictures(count: int, ground: tuple[float, float, float]) -> torch.Tensor:
        noise = torch.rand(count, 3, 32, 32, generator=generator) * 0.3
        noise[:, :, 16:] += torch.tensor(ground)[:, None, None]
        return domain_features(noise.clamp(max=1))

    green, white = (0.1, 0.5, 0.1), (0.6, 0.6, 0.65)
    classifier = DomainClassifier.fitted(pictures(20, green), pictures(10, white))
    assert (classifier(pictures(8, white)) > 0).all() and (classifier(pictures(8, green)) < 0).all()


def test_a_domain_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="pictures of both domains, got 3 and 0"):
        DomainClassifier.fitted(torch.ones(3, 4), torch.ones(0, 4))
