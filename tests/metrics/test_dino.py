"""The structure distance against torch's own transformer layers."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.metrics.dino import SIDE, DinoStructure, load_dino


WIDTH, HEADS, DEPTH, PATCH = 128, 2, 3, 32


@pytest.fixture
def layers() -> list[nn.TransformerEncoderLayer]:
    made = [
        nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            4 * WIDTH,
            dropout=0,
            activation="gelu",
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        ).eval()
        for _ in range(DEPTH)
    ]
    for layer in made:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.1)
    return made


@pytest.fixture
def weights(layers: list[nn.TransformerEncoderLayer]) -> dict[str, torch.Tensor]:
    """Under the published names."""
    found = {
        "cls_token": torch.randn(1, 1, WIDTH),
        "pos_embed": torch.randn(1, (SIDE // PATCH) ** 2 + 1, WIDTH),
        "patch_embed.proj.weight": torch.randn(WIDTH, 3, PATCH, PATCH) * 0.02,
        "patch_embed.proj.bias": torch.randn(WIDTH),
        "norm.weight": torch.ones(WIDTH),
        "norm.bias": torch.zeros(WIDTH),
    }
    for number, layer in enumerate(layers):
        state = layer.state_dict()
        for ours, theirs in (
            *(("norm1.weight", "norm1.weight"), ("norm1.bias", "norm1.bias")),
            *(("attn.qkv.weight", "self_attn.in_proj_weight"), ("attn.qkv.bias", "self_attn.in_proj_bias")),
            *(("attn.proj.weight", "self_attn.out_proj.weight"), ("attn.proj.bias", "self_attn.out_proj.bias")),
            *(("norm2.weight", "norm2.weight"), ("norm2.bias", "norm2.bias")),
            *(("mlp.fc1.weight", "linear1.weight"), ("mlp.fc1.bias", "linear1.bias")),
            *(("mlp.fc2.weight", "linear2.weight"), ("mlp.fc2.bias", "linear2.bias")),
        ):
            found[f"blocks.{number}.{ours}"] = state[theirs]
    return found


def expected_keys(images: torch.Tensor, weights: dict[str, torch.Tensor], layers: list) -> torch.Tensor:
    """`(B, patches + 1, width)`, by torch's layers."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean[:, None, None]) / std[:, None, None]
    patches = F.unfold(x, PATCH, stride=PATCH).mT @ weights["patch_embed.proj.weight"].flatten(1).T
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), patches + weights["patch_embed.proj.bias"]], 1)
    x = x + weights["pos_embed"]
    for layer in layers[:-1]:
        x = layer(x)
    attention = layers[-1].self_attn
    projected = F.linear(layers[-1].norm1(x), attention.in_proj_weight, attention.in_proj_bias)
    return projected[..., WIDTH : 2 * WIDTH]


def test_against_torchs_layers(weights: dict[str, torch.Tensor], layers: list) -> None:
    images, others = torch.rand(2, 2, 3, SIDE, SIDE).unbind()
    with torch.no_grad():
        keys = [expected_keys(pictures, weights, layers) for pictures in (images, others)]
    expected = []
    for number in range(2):
        similarities = [
            torch.stack([F.cosine_similarity(one, key[number], dim=-1) for one in key[number]]) for key in keys
        ]
        expected.append((similarities[0] - similarities[1]).square().mean().item())
    found = DinoStructure(weights)(images, others)
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    assert min(expected) > 1e-6
    assert DinoStructure(weights)(images, images).tolist() == [0, 0]


def test_pictures_of_any_size_from_a_file(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "dino.pth")
    measured = load_dino(tmp_path / "dino.pth")
    assert measured(torch.rand(1, 3, 48, 64), torch.rand(1, 3, 96, 96)).shape == (1,)


def test_other_weights_are_refused(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="found no `cls_token`"):
        DinoStructure({name: tensor for name, tensor in weights.items() if name != "cls_token"})
    with pytest.raises(ValueError, match="for 224² pixels, got 3 patches of 32²"):
        DinoStructure(weights | {"pos_embed": torch.zeros(1, 4, WIDTH)})
    with pytest.raises(ValueError, match="found no `blocks"):
        DinoStructure({name: tensor for name, tensor in weights.items() if not name.startswith("blocks.")})
