"""The official networks' module layout, restated for the tests: what their state dicts are named after.

Numbers in the comments are the positions that become names, `model.10.conv_block.5.weight` for one.
"""

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn


def make_norm(norm: str, channels: int) -> nn.Module:
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "instance_2017":  # recorded statistics that were never used
            return nn.InstanceNorm2d(channels, track_running_stats=True)
    return nn.Identity()


def has_bias(norm: str) -> bool:
    return norm.startswith("instance")


class Residual(nn.Module):
    def __init__(self, channels: int, norm: str, dropout: bool, padding: type[nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for second in (False, True):
            layers += [padding(1), nn.Conv2d(channels, channels, 3, bias=has_bias(norm)), make_norm(norm, channels)]
            if not second:
                layers += [nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: str = "instance",
        dropout: bool = False,
        downs: int = 2,
        padding: type[nn.Module] = nn.ReflectionPad2d,
    ) -> None:
        super().__init__()
        bias, widths = has_bias(norm), [width * 2**i for i in range(downs + 1)]
        layers: list[nn.Module] = [padding(3), nn.Conv2d(in_channels, width, 7, bias=bias)]  # 0, 1
        layers += [make_norm(norm, width), nn.ReLU()]  # 2, 3
        for narrow, wide in itertools.pairwise(widths):  # 4.., 7..
            layers += [nn.Conv2d(narrow, wide, 3, 2, 1, bias=bias), make_norm(norm, wide), nn.ReLU()]
        layers += [Residual(widths[-1], norm, dropout, padding) for _ in range(blocks)]  # 10..
        for narrow, wide in reversed(list(itertools.pairwise(widths))):
            layers += [nn.ConvTranspose2d(wide, narrow, 3, 2, 1, output_padding=1, bias=bias)]
            layers += [make_norm(norm, narrow), nn.ReLU()]
        layers += [padding(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class UnetLevel(nn.Module):
    def __init__(self, widths: list[int], norm: str, dropout: bool, level: int, in_channels: int, out: int) -> None:
        super().__init__()
        outermost, innermost = level == 0, level == len(widths) - 1
        bias, width = has_bias(norm), widths[level]
        outer = out if outermost else widths[level - 1]
        self.outermost = outermost
        down = nn.Conv2d(in_channels if outermost else outer, width, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(width if innermost else 2 * width, outer, 4, 2, 1, bias=bias or outermost)
        if innermost:  # 1, 3, 4
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, make_norm(norm, outer)]
        else:
            inner = UnetLevel(widths, norm, dropout, level + 1, in_channels, out)
            if outermost:  # 0, 1, 3
                layers = [down, inner, nn.ReLU(), up, nn.Tanh()]
            else:  # 1, 2, 3, 5, 6
                layers = [nn.LeakyReLU(0.2, inplace=True), down, make_norm(norm, width), inner, nn.ReLU(inplace=True)]
                layers += [up, make_norm(norm, outer)]
                layers += [nn.Dropout(0.5)] if dropout and width == outer else []
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 8,
        norm: str = "instance",
        dropout: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(downs)]
        self.model = UnetLevel(widths, norm, dropout, 0, in_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Patch(nn.Module):
    def __init__(self, in_channels: int = 3, width: int = 64, n_layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]  # 0, 1
        widths = [width * min(2**i, 8) for i in range(n_layers + 1)]
        for i, (narrow, wide) in enumerate(itertools.pairwise(widths), start=1):  # 2.., 5.., 8..
            layers += [nn.Conv2d(narrow, wide, 4, 1 if i == n_layers else 2, 1, bias=has_bias(norm))]
            layers += [make_norm(norm, wide), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Pixel(nn.Module):
    def __init__(self, in_channels: int = 3, width: int = 64, norm: str = "instance") -> None:
        super().__init__()
        bias = has_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),  # 0
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 1, bias=bias),  # 2
            make_norm(norm, 2 * width),  # 3
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1, bias=bias),  # 5
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor, statistics included, a value of its own; the network leaves in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Any] = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(seed + 7)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 4:
            fan_in = tensor[0].numel()
            tensor.normal_(0, fan_in**-0.5, generator=generator)
        else:  # biases, means and scales
            tensor.normal_(1.0 if name.endswith("weight") else 0.0, 0.5, generator=generator)
    return network.eval()


def save(path: Path, network: nn.Module, **kwargs: Any) -> Path:
    """Write a network as the official code does."""
    torch.save(network.state_dict(), path, **kwargs)
    return path


def small_resnet(seed: int = 0, **kwargs: Any) -> nn.Module:
    """A ResNet of two blocks, four channels wide."""
    return randomized(Resnet(**{"width": 4, "blocks": 2, **kwargs}), seed)
