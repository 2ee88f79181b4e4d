"""DINO structure distance: whether a translation keeps the layout, whatever it does to the looks.

The measure of Splice (Tumanyan et al. 2022, eq. 3), as pix2pix-zero and img2img-turbo report it: how alike the parts
of a picture are to one another, by the keys of a self-supervised vision transformer's last layer (Caron et al. 2021).
"""

from pathlib import Path

import torch
from torch.nn import functional as F

from cyclegan_hf.metrics.weights import read_weights


SIDE = 224
"""Pixels at which the transformer looks: the size that it was trained at."""
_HEAD = 64  # channels of an attention head, in all of DINO's transformers
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # ImageNet's


class DinoStructure:
    """The distance of pictures' self-similarities; lower is better.

    Args:
        weights: Those of a DINO vision transformer of any width and patch size, under the published names
            (`cls_token`, `blocks.0.attn.qkv.weight`, …), such as `dino_vitbase8_pretrain.pth`.

    Raises:
        ValueError: If a tensor is missing.
    """

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights
        self.depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        last = [f"blocks.{self.depth - 1}.{part}" for part in ("norm1.bias", "attn.qkv.weight", "attn.qkv.bias")]
        for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", *last):
            if name not in weights:
                raise ValueError(f"Expected the weights of a DINO vision transformer, found no `{name}`.")
        patch, places = weights["patch_embed.proj.weight"].shape[-1], weights["pos_embed"].shape[1] - 1
        if (SIDE // patch) ** 2 != places:
            raise ValueError(f"Expected a transformer for {SIDE}² pixels, got {places} patches of {patch}².")

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Compare pictures with their translations.

        Args:
            images (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Pictures in [0, 1].
            others (`torch.Tensor` of shape `(batch_size, 3, any, any)`): Their translations.

        Returns:
            Tensor of shape `(batch_size,)`: the mean squared difference of the self-similarities, in [0, 4].
        """
        return (self._self_similarity(images) - self._self_similarity(others)).square().mean((1, 2))

    def _self_similarity(self, images: torch.Tensor) -> torch.Tensor:
        """Return the cosine similarity of all keys, `(B, patches + 1, patches + 1)`."""
        keys = F.normalize(self._keys(images), dim=-1)
        return keys @ keys.mT

    def _keys(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last layer's keys, `(B, patches + 1, width)`."""
        w = self.weights
        x = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        x = (x - _MEAN.to(x)[:, None, None]) / _STD.to(x)[:, None, None]
        kernel = w["patch_embed.proj.weight"].to(x)
        x = (
            F.conv2d(x, kernel, w["patch_embed.proj.bias"].to(x), kernel.shape[-1]).flatten(2).mT
        )  # (B, patches, width)
        x = torch.cat([w["cls_token"].to(x).expand(len(x), -1, -1), x], 1) + w["pos_embed"].to(x)
        for number in range(self.depth):
            block = f"blocks.{number}."
            qkv = self._linear(self._norm(x, block + "norm1"), block + "attn.qkv")
            queries, keys, values = qkv.chunk(3, -1)
            if number == self.depth - 1:
                return keys
            heads = [part.unflatten(-1, (-1, _HEAD)).transpose(1, 2) for part in (queries, keys, values)]
            seen = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
            x = x + self._linear(seen, block + "attn.proj")
            x = x + self._linear(
                F.gelu(self._linear(self._norm(x, block + "norm2"), block + "mlp.fc1")), block + "mlp.fc2"
            )
        raise AssertionError("a transformer has at least one block")

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"].to(x), self.weights[f"{name}.bias"].to(x))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"].to(x), self.weights[f"{name}.bias"].to(x)
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)


def load_dino(path: str | Path) -> DinoStructure:
    """Load the DINO distance with weights from a file; see `DinoStructure`.

    Raises:
        ValueError: If the file cannot be read, or is of another network.
    """
    return DinoStructure(read_weights(path, "the weights of a DINO vision transformer"))
