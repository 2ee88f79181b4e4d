"""Initialisations of the official code (its `init_weights`)."""

from typing import Literal

from torch import nn


InitType = Literal["normal", "xavier", "kaiming", "orthogonal"]


def initialize_weights(module: nn.Module, init_type: InitType = "normal", gain: float = 0.02) -> nn.Module:
    """Initialise the convolutions, linear layers and batch norms of a network in place.

    Weights are drawn from N(0, gain²) (Zhu et al. 2017, appendix 7.1), or by Glorot & Bengio 2010 (normal form), He et
    al. 2015 (fan in, no gain) or Saxe et al. 2014; biases are 0; batch norm scales are drawn from N(1, gain²).

    Args:
        module: The network.
        init_type: `"normal"`, `"xavier"`, `"kaiming"` or `"orthogonal"`.
        gain: Standard deviation of `"normal"`, gain of `"xavier"` and `"orthogonal"`.

    Returns:
        The same network.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            match init_type:
                case "normal":
                    nn.init.normal_(layer.weight, 0.0, gain)
                case "xavier":
                    nn.init.xavier_normal_(layer.weight, gain)
                case "kaiming":
                    nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in")
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight, gain)
                case _:
                    raise ValueError(
                        f"`init_type` must be 'normal', 'xavier', 'kaiming' or 'orthogonal', got {init_type!r}."
                    )
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, gain)
            nn.init.zeros_(layer.bias)
    return module
