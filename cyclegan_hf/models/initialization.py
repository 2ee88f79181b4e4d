"""Initialisations of the official code (its `init_weights`)."""

from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized


InitType = Literal["normal", "xavier", "kaiming", "orthogonal"]


def initialize_weights(module: nn.Module, init_type: InitType = "normal", gain: float = 0.02) -> nn.Module:
    """Initialise the convolutions, linear layers and batch norms of a network in place.

    Weights are drawn from N(0, gain²) (Zhu et al. 2017, appendix 7.1), or by Glorot & Bengio 2010 (normal form), He et
    al. 2015 (fan in, no gain) or Saxe et al. 2014; biases are 0; batch norm scales are drawn from N(1, gain²). Of a
    layer with spectral norm, the weight behind the norm is drawn.

    Args:
        module: The network.
        init_type: `"normal"`, `"xavier"`, `"kaiming"` or `"orthogonal"`.
        gain: Standard deviation of `"normal"`, gain of `"xavier"` and `"orthogonal"`.

    Returns:
        The same network.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            parametrized = is_parametrized(layer, "weight")
            weight = layer.get_parameter("parametrizations.weight.original" if parametrized else "weight")
            match init_type:
                case "normal":
                    nn.init.normal_(weight, 0.0, gain)
                case "xavier":
                    nn.init.xavier_normal_(weight, gain)
                case "kaiming":
                    nn.init.kaiming_normal_(weight, a=0, mode="fan_in")
                case "orthogonal":
                    nn.init.orthogonal_(weight, gain)
                case _:
                    raise ValueError(
                        f"`init_type` must be 'normal', 'xavier', 'kaiming' or 'orthogonal', got {init_type!r}."
                    )
            if parametrized:
                _renew_spectral_norm(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, gain)
            nn.init.zeros_(layer.bias)
    return module


@torch.no_grad()
def zero_(layer: nn.Module) -> None:
    """Set the parameters of a layer to 0 in place."""
    for parameter in layer.parameters():
        parameter.zero_()


@torch.no_grad()
def _renew_spectral_norm(layer: nn.Module) -> None:
    # Its singular vectors are still the old weight's, which would make the norm far too small. In training mode, each
    # look at the weight is a power iteration; torch itself begins with 15.
    training = layer.training
    layer.train()
    for _ in range(15):
        _ = layer.weight
    layer.train(training)
