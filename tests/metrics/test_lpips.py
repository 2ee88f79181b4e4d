"""LPIPS against torchmetrics' own, with the same trunk."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchmetrics.functional.image.lpips import _LPIPS, NetLinLayer, ScalingLayer

from cyclegan_hf.metrics.lpips import Lpips, load_lpips


class Trunk(nn.Module):
    """torchvision's AlexNet up to its last ReLU, which torchmetrics would ask torchvision for."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *[nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()],
            *[nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()],
            *[nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()],
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found


class Reference(_LPIPS):
    """torchmetrics' LPIPS around that trunk."""

    def __init__(self, trunk: Trunk, linear: dict[str, torch.Tensor]) -> None:
        nn.Module.__init__(self)
        self.spatial, self.resize, self.L = False, None, 5
        self.scaling_layer, self.net = ScalingLayer(), trunk
        for number, width in enumerate((64, 192, 384, 256, 256)):
            self.add_module(f"lin{number}", NetLinLayer(width, use_dropout=True))
        self.load_state_dict(linear, strict=False)
        self.lins = [getattr(self, f"lin{number}") for number in range(5)]
        self.eval()


@pytest.fixture
def trunk() -> Trunk:
    return Trunk()


def test_against_torchmetrics(trunk: Trunk) -> None:
    ours = Lpips(trunk.state_dict())
    linear = {f"lin{number}.model.1.weight": weight for number, weight in enumerate(ours.linear)}
    assert all((weight >= 0).all() for weight in ours.linear)  # torchmetrics' trained ones
    images, others = torch.rand(2, 3, 3, 64, 80).unbind()
    with torch.no_grad():
        expected = Reference(trunk, linear)(images, others, normalize=True).flatten()
    assert ours(images, others).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert (expected > 0).all()
    assert ours(images, images).tolist() == [0, 0, 0]


def test_weights_from_files(trunk: Trunk, tmp_path: Path) -> None:
    torch.save(trunk.state_dict(), tmp_path / "alexnet.pth")
    linear = {
        f"lin{number}.model.1.weight": torch.ones(1, width, 1, 1)
        for number, width in enumerate((64, 192, 384, 256, 256))
    }
    torch.save(linear, tmp_path / "linear.pth")
    images, others = torch.rand(2, 1, 3, 40, 40).unbind()
    measured = load_lpips(tmp_path / "alexnet.pth", tmp_path / "linear.pth")
    assert measured(images, others).item() == pytest.approx(Lpips(trunk.state_dict(), linear)(images, others).item())


def test_what_is_not_lpips_is_refused(trunk: Trunk, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found no 'features.0.weight'"):
        Lpips({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="found no file"):
        load_lpips(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="at least 31 pixels"):
        Lpips(trunk.state_dict())(torch.rand(1, 3, 30, 40), torch.rand(1, 3, 30, 40))
