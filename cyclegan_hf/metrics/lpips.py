"""LPIPS (Zhang et al. 2018): how different two pictures look, by the features of AlexNet."""

from pathlib import Path

import torch
from torch.nn import functional as F

from cyclegan_hf.metrics.weights import read_weights


# Of ImageNet's pictures, in [-1, 1]: the published code's scaling layer.
_SHIFT, _SCALE = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
# torchvision's numbers of AlexNet's convolutions, with their stride, padding, and whether a pool comes before.
_CONVOLUTIONS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))


class Lpips:
    """LPIPS 0.1 with AlexNet; lower is more alike.

    Args:
        alexnet: Weights under torchvision's names (`features.0.weight`, …), such as `alexnet-owt-7be5be79.pth`.
        linear: The trained weights of the features' differences (`lin0.model.1.weight`, …); by default those that
            torchmetrics brings along.

    Raises:
        ValueError: If a tensor is missing.
    """

    def __init__(self, alexnet: dict[str, torch.Tensor], linear: dict[str, torch.Tensor] | None = None) -> None:
        linear = _linear_of_torchmetrics() if linear is None else linear
        try:
            self.convolutions = [
                (alexnet[f"features.{number}.weight"], alexnet[f"features.{number}.bias"], stride, padding, pooled)
                for number, stride, padding, pooled in _CONVOLUTIONS
            ]
            self.linear = [linear[f"lin{number}.model.1.weight"] for number in range(len(_CONVOLUTIONS))]
        except KeyError as error:
            raise ValueError(f"Expected LPIPS weights of AlexNet, found no {error}.") from None

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Compare pictures.

        Args:
            images (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Pictures in [0, 1].
            others (`torch.Tensor` of the same shape): What is compared with them.

        Returns:
            Tensor of shape `(batch_size,)`, at least 0.

        Raises:
            ValueError: If the shapes differ or the pictures are below 31×31 pixels.
        """
        if images.shape != others.shape or min(images.shape[-2:]) < 31:
            raise ValueError(
                f"Expected pictures of one shape and at least 31 pixels, got {tuple(images.shape)} and "
                f"{tuple(others.shape)}."
            )
        total = torch.zeros(len(images), device=images.device)
        for ours, theirs, weight in zip(self._features(images), self._features(others), self.linear, strict=True):
            difference = (_unit_length(ours) - _unit_length(theirs)).square()
            total += F.conv2d(difference, weight.to(difference)).mean((1, 2, 3))
        return total

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features after each of the five ReLUs."""
        x = (2 * images.float() - 1 - _SHIFT.to(images)[:, None, None]) / _SCALE.to(images)[:, None, None]
        found = []
        for weight, bias, stride, padding, pooled in self.convolutions:
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.relu(F.conv2d(x, weight.to(x), bias.to(x), stride, padding))
            found.append(x)
        return found


def load_lpips(alexnet: str | Path, linear: str | Path | None = None) -> Lpips:
    """Load LPIPS with weights from files; see `Lpips`.

    Raises:
        ValueError: If a file cannot be read, or is of another network.
    """
    expected = "the weights of LPIPS's AlexNet"
    return Lpips(read_weights(alexnet, expected), None if linear is None else read_weights(linear, expected))


def _linear_of_torchmetrics() -> dict[str, torch.Tensor]:
    from torchmetrics.functional.image import lpips

    return read_weights(Path(lpips.__file__).parent / "lpips_models" / "alex.pth", "LPIPS's linear weights")


def _unit_length(features: torch.Tensor) -> torch.Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()
