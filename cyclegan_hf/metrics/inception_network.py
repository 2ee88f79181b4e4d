"""The network behind published FID figures: Inception v3 as Google released it on 2015-12-05, in plain torch.

Names and shapes are those of the weights that pytorch-fid and torch-fidelity publish
(`pt_inception-2015-12-05-6726825d.pth`, `weights-inception-2015-12-05-6726825d.pth`: the same tensors). The released
graph differs from the paper's (Szegedy et al. 2016) in three places: average pools leave the border out of the mean,
the last block pools by maximum, and 1008 classes are told, of which 8 are never meant.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fusion


SIDE = 299
"""Pixels of the network's pictures."""


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H', W')`."""
        return F.relu(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Multiply the norm, as it is in evaluation, into the convolution."""
        assert isinstance(self.bn, nn.BatchNorm2d), "it is folded once"
        self.conv, self.bn = fusion.fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


# A block is a list of branches, whose results are put side by side. A branch is a row of units, each with its name's
# ending, its channels and its kernel; "3x1 + 1x3" are two units on the same input. `//2` is stride 2 without padding.
_Row = list[tuple[str, int, str]]
_BLOCKS: dict[str, tuple[list[tuple[str, _Row]], str]] = {
    **{
        f"Mixed_5{letter}": (
            [
                ("branch1x1", [("", 64, "1x1")]),
                ("branch5x5", [("_1", 48, "1x1"), ("_2", 64, "5x5")]),
                ("branch3x3dbl", [("_1", 64, "1x1"), ("_2", 96, "3x3"), ("_3", 96, "3x3")]),
                ("branch_pool", [("", pooled, "1x1")]),
            ],
            "mean",
        )
        for letter, pooled in (("b", 32), ("c", 64), ("d", 64))
    },
    "Mixed_6a": (
        [
            ("branch3x3", [("", 384, "3x3//2")]),
            ("branch3x3dbl", [("_1", 64, "1x1"), ("_2", 96, "3x3"), ("_3", 96, "3x3//2")]),
            ("branch_pool", []),
        ],
        "max//2",
    ),
    **{
        f"Mixed_6{letter}": (
            [
                ("branch1x1", [("", 192, "1x1")]),
                ("branch7x7", [("_1", width, "1x1"), ("_2", width, "1x7"), ("_3", 192, "7x1")]),
                (
                    "branch7x7dbl",
                    [
                        *[("_1", width, "1x1"), ("_2", width, "7x1"), ("_3", width, "1x7")],
                        *[("_4", width, "7x1"), ("_5", 192, "1x7")],
                    ],
                ),
                ("branch_pool", [("", 192, "1x1")]),
            ],
            "mean",
        )
        for letter, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192))
    },
    "Mixed_7a": (
        [
            ("branch3x3", [("_1", 192, "1x1"), ("_2", 320, "3x3//2")]),
            ("branch7x7x3", [("_1", 192, "1x1"), ("_2", 192, "1x7"), ("_3", 192, "7x1"), ("_4", 192, "3x3//2")]),
            ("branch_pool", []),
        ],
        "max//2",
    ),
    **{
        f"Mixed_7{letter}": (
            [
                ("branch1x1", [("", 320, "1x1")]),
                ("branch3x3", [("_1", 384, "1x1"), ("_2", 384, "1x3 + 3x1")]),
                ("branch3x3dbl", [("_1", 448, "1x1"), ("_2", 384, "3x3"), ("_3", 384, "1x3 + 3x1")]),
                ("branch_pool", [("", 192, "1x1")]),
            ],
            pool,
        )
        for letter, pool in (("b", "mean"), ("c", "max"))
    },
}


class Block(nn.Module):
    """Branches side by side; `outputs` tells how many channels come out."""

    def __init__(self, inputs: int, branches: list[tuple[str, _Row]], pool: str) -> None:
        super().__init__()
        self.branches = [(name, [(ending, kernel) for ending, _, kernel in row]) for name, row in branches]
        self.pool = pool
        self.outputs = 0
        for name, row in branches:
            channels = inputs
            for ending, width, kernel in row:
                two = kernel.split(" + ")
                for letter, one in zip("ab" if len(two) > 1 else [""], two, strict=True):
                    sides, _, stride = one.partition("//")
                    rows, columns = map(int, sides.split("x"))
                    unit = Unit(channels, width, (rows, columns), int(stride or 1), pad=not stride)
                    self.add_module(f"{name}{ending}{letter}", unit)
                channels = width * len(two)
            self.outputs += channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H', W')`."""
        results = []
        for name, row in self.branches:
            result = self._pooled(x) if name == "branch_pool" else x
            for ending, kernel in row:
                letters = "ab" if "+" in kernel else [""]
                result = torch.cat([self.get_submodule(f"{name}{ending}{one}")(result) for one in letters], 1)
            results.append(result)
        return torch.cat(results, 1)

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        match self.pool:
            case "mean":
                return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
            case "max":
                return F.max_pool2d(x, 3, 1, padding=1)
            case _:
                return F.max_pool2d(x, 3, 2)


class InceptionV3(nn.Module):
    """Features and logits as torch-fidelity has them: what FID and KID, and what the Inception score compare."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, pad=False)
        channels = 192
        for name, (branches, pool) in _BLOCKS.items():
            block = Block(channels, branches, pool)
            self.add_module(name, block)
            channels = block.outputs
        self.fc = nn.Linear(channels, 1008)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at pictures.

        They are rounded to 8 bits, as if read from a file, and resized as the released graph does.

        Args:
            images (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Pictures in [0, 1], of any size.

        Returns:
            Features of shape `(batch_size, 2048)`, and logits of shape `(batch_size, 1008)` without their bias, as the
            Inception score has used them since Salimans et al. 2016.
        """
        pixels = (images.float() * 255).round().clamp(0, 255)
        x = (resize_like_tensorflow(pixels, SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (B, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # (B, 192, 71, 71)
        x = F.max_pool2d(x, 3, 2)  # (B, 192, 35, 35)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))  # (B, 2048, 8, 8) to (B, 2048)
        return features, features @ self.fc.weight.T


def resize_like_tensorflow(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize like TensorFlow 1's bilinear: pixel n of the result lies at n · old / new; corners align at 0 only.

    Args:
        images (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures of any range.
        side: Height and width of the result.
    """
    rows, columns = (_interpolation(length, side).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def _interpolation(length: int, side: int) -> torch.Tensor:
    """Return the weights of `length` pixels in each of `side`, `(side, length)`."""
    places = torch.arange(side, dtype=torch.float64) * length / side
    low = places.floor().long()
    high = (low + 1).clamp(max=length - 1)
    weights = torch.zeros(side, length, dtype=torch.float64)
    weights.scatter_add_(1, low[:, None], (1 - (places - low))[:, None])
    weights.scatter_add_(1, high[:, None], (places - low)[:, None])
    return weights
