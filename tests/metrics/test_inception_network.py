"""FID's Inception against a second reading of it: straight from the tensors, layer by layer, in double precision."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cyclegan_hf.metrics.inception import inception_with, load_feature_network
from cyclegan_hf.metrics.inception_network import InceptionV3, resize_like_tensorflow


Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Random ones under the published names, of a size that keeps signals alive."""
    generator = torch.Generator().manual_seed(0)
    network = InceptionV3()
    found = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("conv.weight"):
            fan_in = tensor[0].numel()
            found[name] = torch.randn(tensor.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif name.endswith("running_var") or name.endswith("bn.weight"):
            found[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        elif tensor.is_floating_point():
            found[name] = torch.randn(tensor.shape, generator=generator) * 0.1
        else:
            found[name] = tensor
    return found


def second_reading(weights: Weights, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and logits, as the table of the paper and the released graph have them."""

    def unit(x: torch.Tensor, name: str, stride: int = 1, padding: int | tuple[int, int] = 0) -> torch.Tensor:
        kernel, scale, shift, mean, variance = (
            weights[f"{name}.{part}"].double()
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        y = F.conv2d(x, kernel, stride=stride, padding=padding)
        y = (y - mean[:, None, None]) / (variance[:, None, None] + 0.001).sqrt()
        return (y * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    def mean_pool(x: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(x[:1, :1])
        return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)  # the border takes no part

    def block_a(x: torch.Tensor, n: str) -> torch.Tensor:
        five = unit(unit(x, f"{n}.branch5x5_1"), f"{n}.branch5x5_2", padding=2)
        three = unit(unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        three = unit(three, f"{n}.branch3x3dbl_3", padding=1)
        return torch.cat([unit(x, f"{n}.branch1x1"), five, three, unit(mean_pool(x), f"{n}.branch_pool")], 1)

    def block_b(x: torch.Tensor, n: str) -> torch.Tensor:
        three = unit(unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        three = unit(three, f"{n}.branch3x3dbl_3", stride=2)
        return torch.cat([unit(x, f"{n}.branch3x3", stride=2), three, F.max_pool2d(x, 3, 2)], 1)

    def block_c(x: torch.Tensor, n: str) -> torch.Tensor:
        seven = unit(unit(x, f"{n}.branch7x7_1"), f"{n}.branch7x7_2", padding=(0, 3))
        seven = unit(seven, f"{n}.branch7x7_3", padding=(3, 0))
        twice = unit(unit(x, f"{n}.branch7x7dbl_1"), f"{n}.branch7x7dbl_2", padding=(3, 0))
        twice = unit(twice, f"{n}.branch7x7dbl_3", padding=(0, 3))
        twice = unit(twice, f"{n}.branch7x7dbl_4", padding=(3, 0))
        twice = unit(twice, f"{n}.branch7x7dbl_5", padding=(0, 3))
        return torch.cat([unit(x, f"{n}.branch1x1"), seven, twice, unit(mean_pool(x), f"{n}.branch_pool")], 1)

    def block_d(x: torch.Tensor, n: str) -> torch.Tensor:
        three = unit(unit(x, f"{n}.branch3x3_1"), f"{n}.branch3x3_2", stride=2)
        seven = unit(unit(x, f"{n}.branch7x7x3_1"), f"{n}.branch7x7x3_2", padding=(0, 3))
        seven = unit(unit(seven, f"{n}.branch7x7x3_3", padding=(3, 0)), f"{n}.branch7x7x3_4", stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def block_e(x: torch.Tensor, n: str, pool: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        three = unit(x, f"{n}.branch3x3_1")
        three = [
            unit(three, f"{n}.branch3x3_2a", padding=(0, 1)),
            unit(three, f"{n}.branch3x3_2b", padding=(1, 0)),
        ]
        twice = unit(unit(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        twice = [
            unit(twice, f"{n}.branch3x3dbl_3a", padding=(0, 1)),
            unit(twice, f"{n}.branch3x3dbl_3b", padding=(1, 0)),
        ]
        return torch.cat([unit(x, f"{n}.branch1x1"), *three, *twice, unit(pool(x), f"{n}.branch_pool")], 1)

    x = torch.from_numpy(numpy_resize((images.double().numpy() * 255).round(), 299))
    x = (x - 128) / 128
    x = unit(x, "Conv2d_1a_3x3", stride=2)
    x = unit(unit(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    x = unit(unit(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = F.max_pool2d(x, 3, 2)
    for letter in "bcd":
        x = block_a(x, f"Mixed_5{letter}")
    x = block_b(x, "Mixed_6a")
    for letter in "bcde":
        x = block_c(x, f"Mixed_6{letter}")
    x = block_d(x, "Mixed_7a")
    x = block_e(x, "Mixed_7b", mean_pool)
    x = block_e(x, "Mixed_7c", lambda y: F.max_pool2d(y, 3, 1, 1))
    features = x.mean((2, 3))
    return features, features @ weights["fc.weight"].double().T


def numpy_resize(pictures: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize of `(B, C, H, W)`, pixel by pixel."""
    height, width = pictures.shape[2:]
    result = np.empty((*pictures.shape[:2], side, side))
    for row in range(side):
        y = row * height / side
        top, bottom, down = int(y), min(int(y) + 1, height - 1), y - int(y)
        line = pictures[:, :, top] * (1 - down) + pictures[:, :, bottom] * down
        x = np.arange(side) * width / side
        left = x.astype(int)
        right, across = np.minimum(left + 1, width - 1), x - left
        result[:, :, row] = line[..., left] * (1 - across) + line[..., right] * across
    return result


def test_the_resize_is_tensorflows() -> None:
    pictures = torch.rand(2, 3, 20, 37)
    expected = numpy_resize(pictures.double().numpy(), 53)
    assert np.abs(resize_like_tensorflow(pictures.double(), 53).numpy() - expected).max() < 1e-12
    assert torch.equal(resize_like_tensorflow(pictures[..., :20], 20), pictures[..., :20])


def test_names_and_sizes_are_the_published_ones() -> None:
    network = InceptionV3()
    # torchvision's Inception v3 without its side branch has 21,785,568 parameters besides the classifier.
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_785_568 + 2048 * 1008 + 1008
    assert len(network.state_dict()) == 566  # the published file's entries
    for name, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.bn.running_var": (64,),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6e.branch7x7dbl_2.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "fc.bias": (1008,),
    }.items():
        assert network.state_dict()[name].shape == shape, name


@pytest.mark.slow
def test_against_the_second_reading(weights: Weights) -> None:
    images = torch.rand(2, 3, 40, 50)
    expected, expected_logits = second_reading(weights, images)
    with torch.no_grad():
        features, logits = inception_with(weights)(images)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert ((features - expected).abs().max() / expected.abs().max()).item() < 1e-4
    assert ((logits - expected_logits).abs().max() / expected_logits.abs().max()).item() < 1e-4


def test_weights_from_a_file_with_or_without_counters(weights: Weights, tmp_path: Path) -> None:
    early = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(early, tmp_path / "early.pth")
    network = load_feature_network(tmp_path / "early.pth")
    assert isinstance(network, InceptionV3)
    folded = network.state_dict()["Conv2d_1a_3x3.conv.weight"]
    scale = weights["Conv2d_1a_3x3.bn.weight"] / (weights["Conv2d_1a_3x3.bn.running_var"] + 1e-3).sqrt()
    assert torch.allclose(folded, weights["Conv2d_1a_3x3.conv.weight"] * scale[:, None, None, None], atol=1e-6)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fc.weight"), "1 tensors differ, such as `fc.weight`"),
        (lambda w: w.update(more=torch.zeros(1)), "1 tensors differ, such as `more`"),
        (lambda w: w.update({"fc.bias": torch.zeros(3)}), "other shapes than those of FID's Inception"),
    ],
)
def test_other_weights_are_refused(weights: Weights, change, message: str) -> None:
    other = dict(weights)
    change(other)
    with pytest.raises(ValueError, match=message):
        inception_with(other)


def test_a_file_that_is_no_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth, found something else than tensors by name") as error:
        load_feature_network(tmp_path / "list.pth")
    assert "\n" not in str(error.value)
