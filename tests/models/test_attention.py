import math

import pytest
import torch
from torch import nn

from cyclegan_hf.models.attention import ChannelAttention, SelfAttention2d, SpatialAttention, SqueezeExcitation


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def plain(attention: SqueezeExcitation | ChannelAttention) -> None:
    """Both layers pass on what they get."""
    for layer in (attention.fc1, attention.fc2):
        nn.init.eye_(layer.weight)


def test_parameters_at_256_channels() -> None:
    assert parameters(SqueezeExcitation(256)) == 256 * 16 + 16 * 256
    assert parameters(ChannelAttention(256)) == 256 * 16 + 16 * 256
    assert parameters(SpatialAttention()) == 2 * 7 * 7
    assert parameters(SelfAttention2d(256)) == 3 * 256 * 32 + 32 * 256 + 1


def test_squeeze_excitation_by_hand() -> None:
    attention = SqueezeExcitation(2, reduction=1)
    plain(attention)
    # Means ln 3 and -1: the ReLU keeps ln 3 and 0; sigmoid(ln 3) = 1 / (1 + 1/3) = 0.75, sigmoid(0) = 0.5.
    x = torch.tensor([[[0.0, 2 * math.log(3)]], [[-3.0, 1.0]]])[None]  # (1, 2, 1, 2)
    torch.testing.assert_close(attention(x), torch.tensor([0.75, 0.5]).reshape(1, 2, 1, 1))


def test_channel_attention_by_hand() -> None:
    attention = ChannelAttention(2, reduction=1)
    plain(attention)
    # Channel 0: mean 1, maximum 2, both through the same layers: sigmoid(1 + 2). Channel 1: mean -1, maximum 1: the
    # ReLU keeps 0 and 1: sigmoid(0 + 1).
    x = torch.tensor([[[0.0, 2.0]], [[-3.0, 1.0]]])[None]
    expected = torch.tensor([1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))])
    torch.testing.assert_close(attention(x), expected.reshape(1, 2, 1, 1))


def test_spatial_attention_by_hand() -> None:
    attention = SpatialAttention()
    x = torch.randn(2, 5, 8, 6, generator=torch.Generator().manual_seed(0))
    for statistic, expected in enumerate((x.mean(1, keepdim=True), x.amax(1, keepdim=True))):
        nn.init.zeros_(attention.conv.weight)
        attention.conv.weight.data[0, statistic, 3, 3] = 1.0
        torch.testing.assert_close(attention(x), torch.sigmoid(expected))


def test_spatial_attention_sees_no_border_in_a_flat_picture() -> None:
    weights = SpatialAttention()(torch.ones(1, 3, 9, 9))
    torch.testing.assert_close(weights, weights.mean().expand_as(weights))


def test_self_attention_begins_as_the_identity() -> None:
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(SelfAttention2d(16)(x), x)


@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_self_attention_restated(gain: float) -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention2d(16), torch.randn(2, 16, 5, 7)
    nn.init.constant_(attention.gain, gain)
    nn.init.normal_(attention.query.weight)  # sharp enough for a scale of 1 / sqrt(2) to show
    matrices = [
        conv.weight[..., 0, 0] for conv in (attention.query, attention.key, attention.value, attention.conv_out)
    ]
    positions = x.flatten(2)  # (B, C, N)
    query, key, value = (matrix @ positions for matrix in matrices[:3])  # (B, C / 8, N)
    shares = torch.softmax(torch.einsum("bci,bcj->bji", key, query), dim=-1)  # j gathers from all i: eq. 1
    gathered = torch.einsum("bji,bci->bcj", shares, value)  # eq. 2
    expected = gain * (matrices[3] @ gathered).reshape(x.shape) + x  # eq. 3
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_self_attention_never_holds_the_whole_map(layout: torch.memory_format) -> None:
    attention = SelfAttention2d(16)
    nn.init.constant_(attention.gain, 1.0)
    x = torch.randn(1, 16, 32, 32).to(memory_format=layout)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        attention(x.requires_grad_()).sum().backward()
    assert max(kept) == 16 * 32**2  # what comes in; the map would be 32⁴


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SqueezeExcitation(24, reduction=16), "multiple of `reduction`, got 24 channels and 16"),
        (lambda: ChannelAttention(8), "multiple of `reduction`, got 8 channels and 16"),
        (lambda: SelfAttention2d(4), "multiple of `reduction`, got 4 channels and 8"),
        (lambda: SelfAttention2d(4, reduction=0), "multiple of `reduction`, got 4 channels and 0"),
        (lambda: SpatialAttention(4), "`kernel_size` must be odd, got 4"),
    ],
)
def test_bad_settings(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
