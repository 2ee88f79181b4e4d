"""Features of an ImageNet network for KID, FD, GMS, the domain probe and the content distance."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.feature_networks import EfficientNetLite, load_efficientnet_lite


SIDE = 256
"""Height and width at which the network sees an image, in pixels."""
_AT_ONCE = 4  # images; larger batches fall out of a processor's cache: 38 ms an image against 60
_REMEMBERED = 2048  # real images: 9 kB each, and 31 to 61 kB for the map


class Described(NamedTuple):
    """Features, logits and maps that the network gives for images.

    Attributes:
        features (`torch.Tensor` of shape `(batch_size, 1280)`): Averaged over the image, at least 0.
        logits (`torch.Tensor` of shape `(batch_size, 1000)`): Of ImageNet's classes.
        maps (`torch.Tensor` of shape `(batch_size, channels, 16, 16)`): Features at a sixteenth of the resolution, in
            half precision.
    """

    features: torch.Tensor
    logits: torch.Tensor
    maps: torch.Tensor


class ImageFeatures(nn.Module):
    """An EfficientNet-Lite on images of any size.

    Images are resized to `SIDE` × `SIDE`, bicubic with antialiasing. They come from and results go to the CPU,
    wherever the network is.

    Args:
        network: The network, with weights. It is folded here.
    """

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network.eval().fold().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._known: OrderedDict[bytes, Described] = OrderedDict()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and logits of images `(batch_size, 1 or 3, height, width)` in [0, 1]."""
        described = self.describe(images)
        return described.features, described.logits

    @torch.no_grad()
    def describe(self, images: torch.Tensor, remember: bool = False) -> Described:
        """Describe images.

        Args:
            images (`torch.Tensor` of shape `(batch_size, 1 or 3, height, width)`): Images in [0, 1].
            remember: Keep the results of these images (the last 2,048) for the next time that they are asked for in
                this process. For real images: they come again with each evaluation.
        """
        if not remember:
            parts = [self._computed(chunk) for chunk in images.split(_AT_ONCE)]
            return Described(*(torch.cat(part) for part in zip(*parts, strict=True)))
        found = []
        for image in images:
            key = _key(image)
            if key not in self._known:
                self._known[key] = self._computed(image[None])
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            found.append(self._known[key])
        return Described(*(torch.cat(part) for part in zip(*found, strict=True)))

    def _computed(self, images: torch.Tensor) -> Described:
        images = images.float().to(next(self.network.parameters()).device).expand(-1, 3, -1, -1)
        if images.shape[-2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        levels = self.network.levels(images.contiguous(memory_format=torch.channels_last))
        features, logits = self.network.classify(levels[-1])
        return Described(features.cpu(), logits.cpu(), levels[2].half().contiguous().cpu())


def feature_distance(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return how far the content of images differs: one minus the cosine of their features, place by place.

    Args:
        maps (`torch.Tensor` of shape `(batch_size, channels, rows, columns)`): `Described.maps` of images.
        others (`torch.Tensor` of the same shape): Those of their translations.

    Returns:
        Tensor of shape `(batch_size,)` in [0, 2], the mean over places; 0 for equal images.
    """
    return (1 - F.cosine_similarity(maps.float(), others.float(), dim=1)).mean((1, 2))


_LOADED: dict[str, ImageFeatures] = {}


def load_image_features(name: str) -> ImageFeatures:
    """Load a network by its name in `VARIANTS`; once in a process, so that it remembers real images.

    Raises:
        ValueError: As `load_efficientnet_lite` does.
    """
    if name not in _LOADED:
        _LOADED[name] = ImageFeatures(load_efficientnet_lite(name))
    return _LOADED[name]


def _key(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest() + repr(tuple(image.shape)).encode()
