"""The official networks once more, in plain functions over their own tensors: what converted models must agree with.

Nothing here knows this library's models or its mapping of names, so that an error there cannot hide.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional as F


Tensors = Mapping[str, torch.Tensor]


def official_output(tensors: Tensors, sample: torch.Tensor, padding_mode: str = "reflect") -> torch.Tensor:
    """Return the output of an official network, in evaluation mode where its batch norms have stored statistics.

    Args:
        tensors: Its state dict under official names, without `module.` prefixes.
        sample (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [-1, 1].
        padding_mode: `"reflect"` or `"zero"`, of a ResNet.

    Returns:
        Pictures in [-1, 1] from a generator, unbounded scores from a discriminator.
    """
    if "net.0.weight" in tensors:
        return _pixel(tensors, sample)
    if "model.model.0.weight" in tensors:
        return _unet(tensors, sample)
    if "model.0.weight" in tensors:
        return _patch(tensors, sample)
    return _resnet(tensors, sample, padding_mode)


def _conv(tensors: Tensors, x: torch.Tensor, at: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, tensors[f"{at}.weight"], tensors.get(f"{at}.bias"), stride=stride, padding=padding)


def _conv_up(tensors: Tensors, x: torch.Tensor, at: str, output_padding: int = 0) -> torch.Tensor:
    weight, bias = tensors[f"{at}.weight"], tensors.get(f"{at}.bias")
    return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=output_padding)


def _norm(tensors: Tensors, x: torch.Tensor, at: str, conv: str) -> torch.Tensor:
    """Return batch norm if there are scales at `at`, instance norm if the convolution has a bias, otherwise none.

    A batch norm without stored statistics takes the batch's, as in training.
    """
    if f"{at}.weight" in tensors:
        scale, shift = (tensors[f"{at}.{name}"][:, None, None] for name in ("weight", "bias"))
        if f"{at}.running_var" in tensors:
            mean, var = (tensors[f"{at}.{name}"][:, None, None] for name in ("running_mean", "running_var"))
        else:
            var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift
    if f"{conv}.bias" in tensors:
        var, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()
    return x


def _resnet(tensors: Tensors, x: torch.Tensor, padding_mode: str) -> torch.Tensor:
    def pad(x: torch.Tensor, pixels: int) -> torch.Tensor:
        return F.pad(x, [pixels] * 4, mode="reflect" if padding_mode == "reflect" else "constant")

    positions = sorted({int(name.split(".")[1]) for name in tensors})
    first_block = next(i for i in positions if f"model.{i}.conv_block.1.weight" in tensors)
    for i in positions:
        at, norm = f"model.{i}", f"model.{i + 1}"
        if f"{at}.conv_block.1.weight" in tensors:
            convs = [j for j in (1, 5, 6) if _is_conv(tensors, f"{at}.conv_block.{j}")]
            residual = x
            for j in convs:
                conv = f"{at}.conv_block.{j}"
                residual = _norm(tensors, _conv(tensors, pad(residual, 1), conv), f"{at}.conv_block.{j + 1}", conv)
                residual = F.relu(residual) if j == 1 else residual
            x = x + residual
        elif not _is_conv(tensors, at):
            continue  # the norm of the convolution before
        elif i == 1:
            x = F.relu(_norm(tensors, _conv(tensors, pad(x, 3), at), norm, at))
        elif i == positions[-1]:
            x = torch.tanh(_conv(tensors, pad(x, 3), at))
        elif i < first_block:
            x = F.relu(_norm(tensors, _conv(tensors, x, at, stride=2, padding=1), norm, at))
        else:
            x = F.relu(_norm(tensors, _conv_up(tensors, x, at, output_padding=1), norm, at))
    return x


def _is_conv(tensors: Tensors, at: str) -> bool:
    return f"{at}.weight" in tensors and tensors[f"{at}.weight"].ndim == 4


def _unet(tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    x = _unet_level(tensors, _conv(tensors, x, "model.model.0", stride=2, padding=1), "model.model.1.model")
    return torch.tanh(_conv_up(tensors, F.relu(x), "model.model.3"))


def _unet_level(tensors: Tensors, x: torch.Tensor, at: str) -> torch.Tensor:
    down = f"{at}.1"
    hidden = _conv(tensors, F.leaky_relu(x, 0.2), down, stride=2, padding=1)
    if f"{at}.5.weight" in tensors:
        hidden = _unet_level(tensors, _norm(tensors, hidden, f"{at}.2", down), f"{at}.3.model")
        up, up_norm = f"{at}.5", f"{at}.6"
    else:  # the innermost level
        up, up_norm = f"{at}.3", f"{at}.4"
    hidden = _norm(tensors, _conv_up(tensors, F.relu(hidden), up), up_norm, up)
    return torch.cat([x, hidden], dim=1)


def _patch(tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    positions = sorted({int(name.split(".")[1]) for name in tensors})
    convs = [i for i in positions if _is_conv(tensors, f"model.{i}")]
    x = F.leaky_relu(_conv(tensors, x, "model.0", stride=2, padding=1), 0.2)
    for i in convs[1:-1]:
        stride = 1 if i == convs[-2] else 2
        hidden = _conv(tensors, x, f"model.{i}", stride=stride, padding=1)
        x = F.leaky_relu(_norm(tensors, hidden, f"model.{i + 1}", f"model.{i}"), 0.2)
    return _conv(tensors, x, f"model.{convs[-1]}", padding=1)


def _pixel(tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    x = F.leaky_relu(_conv(tensors, x, "net.0"), 0.2)
    x = F.leaky_relu(_norm(tensors, _conv(tensors, x, "net.2"), "net.3", "net.2"), 0.2)
    return _conv(tensors, x, "net.5")
