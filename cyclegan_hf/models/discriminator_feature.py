"""A discriminator on the features of a frozen ImageNet network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Self

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from cyclegan_hf.feature_networks import EfficientNetLite, level_channels, load_efficientnet_lite
from cyclegan_hf.models.checks import check_least
from cyclegan_hf.models.layers import PixelNorm2d
from cyclegan_hf.models.outputs import DiscriminatorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class FeatureDiscriminator(NetworkMixin, ModelMixin, ConfigMixin):
    """Patch heads on a frozen network's features (Sauer et al. 2021, "Projected GANs Converge Faster", section 3).

    The frozen network knows textures and objects already, so a few hundred images are enough to train the heads. At
    each place its features are divided by their root mean square over the channels. They are projected to
    `num_channels`, mixed from coarse to fine, and every level gets a head. Gradients reach the generator through the
    frozen network, whose weights come with the extra `features`: they are neither trained nor saved.

    With `patch_channels` an ordinary PatchGAN judges the pixels beside the heads, for detail that the features miss.

    Args:
        in_channels: Channels of the images: 3, or 1 for grey images, which are repeated to colour.
        feature_network: `"efficientnet-lite0"` or `"efficientnet-lite2"`.
        levels: Levels of features, from 0 (a quarter of the resolution) to 3 (a thirty-second).
        num_channels: Channels of the projected features and of the heads.
        learn_projection: Train the projections and mixing convolutions. By default they stay random: a discriminator
            that chooses its features looks at few of them (Sauer et al. 2021, section 3.2).
        spectral_norm: Divide the trained convolutions' weights by their largest singular value (Miyato et al. 2018).
        patch_channels: Channels of the PatchGAN's convolutions, the first two strided; `()` for none.

    Raises:
        ValueError: For channels, levels or networks that are none of these, or where the extra is not installed.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        feature_network: str = "efficientnet-lite0",
        levels: tuple[int, ...] = (0, 1, 2, 3),
        num_channels: int = 64,
        learn_projection: bool = False,
        spectral_norm: bool = True,
        patch_channels: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        check_least(1, num_channels=num_channels)
        if in_channels not in (1, 3):
            raise ValueError(f"`in_channels` must be 1 or 3, got {in_channels!r}.")
        widths = level_channels(feature_network)
        if not levels or list(levels) != sorted(set(levels)) or not set(levels) <= set(range(len(widths))):
            raise ValueError(f"`levels` must be rising numbers from 0 to {len(widths) - 1}, got {levels!r}.")
        normed: Callable[[nn.Module], nn.Module] = parametrizations.spectral_norm if spectral_norm else _unchanged
        self.norm = PixelNorm2d(eps=1e-4)
        self.projections = nn.ModuleList(
            _RandomConv2d(widths[level], num_channels, 1, learn_projection) for level in levels
        )
        self.mixers = nn.ModuleList(_RandomConv2d(num_channels, num_channels, 3, learn_projection) for _ in levels)
        self.heads = nn.ModuleList(
            nn.Sequential(
                # The coarsest features see the whole image: there a neighbour tells nothing more.
                normed(nn.Conv2d(num_channels, num_channels, *((1,) if level == 3 else (3, 1, 1)))),
                nn.LeakyReLU(0.2),
                normed(nn.Conv2d(num_channels, num_channels, 1)),
                nn.LeakyReLU(0.2),
                normed(nn.Conv2d(num_channels, 1, 1)),
            )
            for level in levels
        )
        self.patch_head = _patch_head((in_channels, *patch_channels), normed) if patch_channels else None
        # Not a submodule: no optimiser, checkpoint, initialisation or `train()` may touch it. diffusers builds a model
        # that it loads without memory; the frozen network is then loaded at the first call.
        without_memory = next(self.heads.parameters()).is_meta
        self.__dict__["_frozen"] = None if without_memory else load_efficientnet_lite(feature_network).fold()

    @property
    def min_size(self) -> int:
        """The smallest height and width: one place at the coarsest level."""
        return 32

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> DiscriminatorOutput | tuple[torch.Tensor]:
        """Judge images.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Images in [-1, 1].
            return_dict: Return a `DiscriminatorOutput` (or a plain tuple).

        Returns:
            Unbounded scores of shape `(batch_size, heads, rows, columns)`: a channel for each level, and the last one
            for the PatchGAN. Coarse scores are repeated to the finest level's size, so the mean over all scores weighs
            every head equally.
        """
        images = sample if sample.shape[1] == 3 else sample.expand(-1, 3, -1, -1)
        found = self._network(sample.device).levels((images + 1) / 2)
        hidden = [
            project(self.norm(found[level]))
            for level, project in zip(self.config["levels"], self.projections, strict=True)
        ]
        for fine, coarse in reversed(list(pairwise(range(len(hidden))))):
            size = hidden[fine].shape[-2:]
            hidden[fine] = hidden[fine] + F.interpolate(hidden[coarse], size, mode="bilinear", align_corners=False)
        scores = [head(mix(part)) for head, mix, part in zip(self.heads, self.mixers, hidden, strict=True)]
        if self.patch_head is not None:
            scores.append(self.patch_head(sample))
        size = scores[0].shape[-2:]
        prediction = torch.cat([scores[0], *(F.interpolate(one, size, mode="nearest") for one in scores[1:])], dim=1)
        if not return_dict:
            return (prediction,)
        return DiscriminatorOutput(prediction=prediction)

    def _network(self, device: torch.device) -> EfficientNetLite:
        if self._frozen is None:
            self.__dict__["_frozen"] = load_efficientnet_lite(self.config["feature_network"]).fold().to(device)
        return self._frozen

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Let the frozen network follow the heads to a device, data type or memory layout."""
        super()._apply(fn, recurse)  # type: ignore[misc]
        if self._frozen is not None:
            self._frozen._apply(fn)
        return self


class _RandomConv2d(nn.Module):
    """A convolution without bias whose output keeps the input's variance; a buffer, unless it is trained.

    It is no `nn.Conv2d`, so initialisations of a recipe leave it as it is.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, trained: bool) -> None:
        super().__init__()
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        weight *= (in_channels * kernel_size**2) ** -0.5
        if trained:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return F.conv2d(sample, self.weight, padding=self.weight.shape[-1] // 2)


def _patch_head(widths: tuple[int, ...], normed: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (narrow, wide) in enumerate(pairwise(widths)):
        kernel, stride = (4, 2) if index < 2 else (3, 1)
        layers += [normed(nn.Conv2d(narrow, wide, kernel, stride, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, normed(nn.Conv2d(widths[-1], 1, 3, 1, 1)))


def _unchanged(layer: nn.Module) -> nn.Module:
    return layer
