"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from cyclegan_hf.training.ema import EmaModel


def set_weight(network: nn.Module, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def test_closed_form_with_its_warm_up() -> None:
    network = nn.Linear(1, 1, bias=False)
    ema = EmaModel(network, decay=0.5)
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0]
    for value in values:
        set_weight(network, value)
        ema.update_parameters(network)
    # The first update copies; update n after it keeps min(0.5, (1 + n) / (10 + n)): 2/11, 3/12 …, 0.5 from n = 8.
    expected = values[0]
    for n, value in enumerate(values[1:], start=1):
        kept = min(0.5, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * value
    assert ema.module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert network.weight.item() == values[-1]


def test_long_after_the_warm_up_it_is_the_plain_average() -> None:
    network = nn.Linear(1, 1, bias=False)
    set_weight(network, 0.0)
    ema = EmaModel(network, decay=0.9)
    for _ in range(100):
        ema.update_parameters(network)
    set_weight(network, 1.0)
    for _ in range(10):
        ema.update_parameters(network)
    assert ema.module.weight.item() == pytest.approx(1 - 0.9**10, rel=1e-5)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm2d(1)
    ema = EmaModel(network, decay=0.999)
    means = [0.0, 2.0, -1.0, 5.0]
    for number, mean in enumerate(means, start=1):
        network.running_mean.fill_(mean)
        network.running_var.fill_(mean + 10)
        network.num_batches_tracked.fill_(100 * number)
        ema.update_parameters(network)
    expected = means[0]
    for n, mean in enumerate(means[1:], start=1):
        kept = (1 + n) / (10 + n)
        expected = kept * expected + (1 - kept) * mean
    assert ema.module.running_mean.item() == pytest.approx(expected, rel=1e-6)
    assert ema.module.running_var.item() == pytest.approx(expected + 10, rel=1e-6)
    assert ema.module.num_batches_tracked.item() == 400


def test_a_spectral_norms_vectors_are_copied() -> None:
    network = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    ema = EmaModel(network, decay=0.999)
    for _ in range(3):
        network(torch.rand(4, 3))
        ema.update_parameters(network)
    ours, theirs = dict(ema.module.named_buffers()), dict(network.named_buffers())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_average_is_for_use_not_for_training() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    ema = EmaModel(network, decay=0.9)
    assert not ema.module.training
    assert network.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_restored_average_goes_on_as_the_first_one() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = EmaModel(network, decay=0.99)
    generator = torch.Generator().manual_seed(0)

    def learn() -> None:
        for parameter in network.parameters():
            parameter.data.normal_(generator=generator)
        network(torch.rand(4, 2, generator=generator))

    for _ in range(3):
        learn()
        first.update_parameters(network)
    second = EmaModel(network, decay=0.99)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        learn()
        first.update_parameters(network)
        second.update_parameters(network)
    ours, theirs = first.state_dict(), second.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
