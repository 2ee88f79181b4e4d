"""Attention over channels, over positions and between positions, for features of shape `(B, C, H, W)`.

The first three return weights in (0, 1) and leave the product to the caller: behind an instance norm every channel's
mean is 0, so that a block has to weigh the normalised features by what the features before the norm say.
"""

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.models.layers import Pad2d


class SqueezeExcitation(nn.Module):
    """Weights of the channels from their means (Hu et al. 2018, "Squeeze-and-Excitation Networks", section 3, eq. 2 and 3).

    Args:
        channels: Channels of the features.
        reduction: How many times narrower the layer between the means and the weights is.

    Raises:
        ValueError: If `reduction` does not divide `channels`.
    """  # noqa: E501

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _reduced(channels, reduction), bias=False)
        self.fc2 = nn.Linear(_reduced(channels, reduction), channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features `(B, C, H, W)` to weights in (0, 1)."""
        weights = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))))  # (B, C)
        return weights[:, :, None, None]


class ChannelAttention(nn.Module):
    """Weights of the channels from their means and maxima (Woo et al. 2018, "CBAM: Convolutional Block Attention Module", section 3, eq. 2).

    One perceptron with a hidden layer sees both; the sum of its answers is squashed.

    Args:
        channels: Channels of the features.
        reduction: How many times narrower the hidden layer is.

    Raises:
        ValueError: If `reduction` does not divide `channels`.
    """  # noqa: E501

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _reduced(channels, reduction), bias=False)
        self.fc2 = nn.Linear(_reduced(channels, reduction), channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features `(B, C, H, W)` to weights in (0, 1)."""
        hidden = F.relu(self.fc1(x.mean(dim=(2, 3)))) + F.relu(self.fc1(x.amax(dim=(2, 3))))
        weights = torch.sigmoid(self.fc2(hidden))  # (B, C): fc2 is linear, one pass for the sum of both
        return weights[:, :, None, None]


class SpatialAttention(nn.Module):
    """Weights of the positions from the mean and the maximum over the channels (Woo et al. 2018, section 3, eq. 3).

    Args:
        kernel_size: Side of the convolution over both maps; odd. Its padding is reflected.

    Raises:
        ValueError: If `kernel_size` is even.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {kernel_size}.")
        self.pad = Pad2d(kernel_size // 2)
        self.conv = nn.Conv2d(2, 1, kernel_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features `(B, C, H, W)` to weights in (0, 1)."""
        statistics = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)  # (B, 2, H, W)
        return torch.sigmoid(self.conv(self.pad(statistics)))


class SelfAttention2d(nn.Module):
    """Each position gathers from all others (Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", section 3, eq. 1 to 3).

    1×1 convolutions make queries, keys and values of `channels / reduction`, another brings what was gathered back to
    `channels`, and `gain` times that is added to the input. `gain` is learnt and starts at 0: the network begins with
    what is near. Products of queries and keys are not scaled, as in the paper. The map of positions × positions is
    never held as a whole where torch has a fused kernel for it: at 64² positions it would take 64 MiB a picture.

    Args:
        channels: Channels in and out; shape `(B, channels, H, W)` is kept.
        reduction: How many times narrower queries, keys and values are; 8 in the paper.

    Raises:
        ValueError: If `reduction` does not divide `channels`.
    """  # noqa: E501

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = _reduced(channels, reduction)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, inner, 1, bias=False)
        self.conv_out = nn.Conv2d(inner, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add `gain` times what each position gathers."""
        query, key, value = (
            conv(x).flatten(2).transpose(1, 2).unsqueeze(1).contiguous()  # (B, 1, H * W, C / reduction): one head
            for conv in (self.query, self.key, self.value)
        )
        gathered = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        gathered = gathered.squeeze(1).transpose(1, 2).unflatten(2, x.shape[-2:])  # (B, C / reduction, H, W)
        return x + self.gain * self.conv_out(gathered)


def _reduced(channels: int, reduction: int) -> int:
    if reduction < 1 or channels % reduction:
        raise ValueError(f"The channels must be a multiple of `reduction`, got {channels} channels and {reduction}.")
    return channels // reduction
