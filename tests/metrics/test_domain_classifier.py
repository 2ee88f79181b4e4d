"""The linear probe of domains, against a minimiser that knows nothing of Newton's method."""

import pytest
import torch

from cyclegan_hf.metrics.domain_classifier import RIDGE, DomainClassifier


def test_the_weights_minimise_the_penalised_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    target = torch.rand(15, 6, generator=generator, dtype=torch.float64) + 0.2
    found = DomainClassifier.fitted(source, target)
    weights, bias = found.weights.clone().requires_grad_(), found.bias.clone().requires_grad_()
    scores = [((one - found.mean) / found.scale) @ weights + bias for one in (source, target)]
    losses = [torch.nn.functional.softplus(sign * one).mean() for sign, one in zip((1, -1), scores, strict=True)]
    loss = (losses[0] + losses[1]) / 2 + RIDGE * weights.square().sum()
    gradients = torch.autograd.grad(loss, (weights, bias))
    assert all(gradient.abs().max() < 1e-6 for gradient in gradients)
    assert (found(target) > found(source).mean()).float().mean() > 0.8


def test_domains_count_alike_whatever_their_numbers() -> None:
    few, many = torch.full((2, 1), 6.0), torch.full((9, 1), 4.0)
    scores = DomainClassifier.fitted(many, few)(torch.tensor([[4.0], [5], [6]]))
    assert scores[1].item() == pytest.approx(0, abs=1e-6)
    assert scores[2].item() == pytest.approx(-scores[0].item()) and scores[2] > 0


def test_both_domains_are_needed() -> None:
    with pytest.raises(ValueError, match="of both domains, got 0 and 3"):
        DomainClassifier.fitted(torch.zeros(0, 2), torch.rand(3, 2))
