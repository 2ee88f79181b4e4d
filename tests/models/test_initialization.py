import math

import pytest
import torch
from torch import nn

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.initialization import initialize_weights


OUT, IN, KERNEL = 96, 64, 3  # 55,296 weights: a standard deviation is known to 0.3 %


@pytest.mark.parametrize(
    ("init_type", "gain", "expected_std"),
    [
        ("normal", 0.02, 0.02),
        ("normal", 0.1, 0.1),
        ("xavier", 0.02, 0.02 * math.sqrt(2 / ((IN + OUT) * KERNEL**2))),
        ("kaiming", 0.02, math.sqrt(2 / (IN * KERNEL**2))),  # no gain
    ],
)
def test_spread_of_the_weights(init_type: str, gain: float, expected_std: float) -> None:
    layer = initialize_weights(nn.Conv2d(IN, OUT, KERNEL), init_type, gain)
    assert layer.weight.std().item() == pytest.approx(expected_std, rel=0.02)
    assert abs(layer.weight.mean().item()) < 0.03 * expected_std
    assert layer.bias.count_nonzero() == 0


def test_orthogonal_rows() -> None:
    layer = initialize_weights(nn.Conv2d(IN, OUT, KERNEL), "orthogonal", 0.5)
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(OUT), rtol=0, atol=1e-5)


def test_every_kind_of_layer_is_reached() -> None:
    layers = [nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 3), nn.Linear(64, 64), nn.BatchNorm2d(4096)]
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    assert initialize_weights(network) is network
    for layer in layers[:3]:
        assert 0.01 < layer.weight.std() < 0.03
        assert layer.weight.abs().max() < 0.2
    assert layers[3].weight.mean().item() == pytest.approx(1.0, abs=2e-3)
    assert layers[3].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(layer.bias.count_nonzero() == 0 for layer in layers)


def test_behind_a_spectral_norm() -> None:
    layer = initialize_weights(nn.utils.parametrizations.spectral_norm(nn.Conv2d(IN, OUT, KERNEL)).eval())
    assert layer.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.02)
    assert not layer.training
    # The norm is the new weight's: with the old one's singular vectors it would be several times too small.
    assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1.0, abs=0.1)
    assert layer.bias.count_nonzero() == 0


def test_the_same_seed_draws_the_same_network() -> None:
    first, second = (ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1) for _ in range(2))
    for network in (first, second):
        torch.manual_seed(3)
        initialize_weights(network)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`init_type` must be .* got 'uniform'"):
        initialize_weights(nn.Linear(2, 2), "uniform")
