"""Instance norm turned into fixed numbers: the start of a network without norms.

Instance norm lets a generator shift a whole channel by one extreme spot, which is seen as a dark speck (Karras et
al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 2), and makes a picture's part depend on the
rest. Without any norm from the start, the generators here hardly trained. But over pictures of one kind, a trained
generator's statistics differ little from picture to picture: at their medians the norm is a scale and a shift, which
go into the convolution before it. What is left is a plain network that already translates, and is trained on.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from cyclegan_hf.models.layers import InstanceNorm2d


@torch.no_grad()
def fold_instance_norm(generator: nn.Module, pictures: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the same architecture with `norm_type="none"` that come closest to this generator.

    Args:
        generator: With instance norm after convolutions. It is not changed.
        pictures: Batches `(B, C, H, W)` of what it translates, in [-1, 1]. Some tens are enough.

    Returns:
        A state dict: each convolution before a norm has weight / std and (bias - mean) / std, with the medians over
        all pictures of the mean and the standard deviation of each channel that it gives.

    Raises:
        ValueError: If there is no picture, no instance norm, or one that does not follow a convolution directly.
    """
    names = {module: name for name, module in generator.named_modules()}
    norms = [module for module in names if isinstance(module, InstanceNorm2d)]
    if not norms:
        raise ValueError(f"There is no instance norm to fold in this {type(generator).__name__}.")
    last: list[tuple[nn.Module, torch.Tensor]] = []
    before: dict[nn.Module, nn.Module] = {}
    moments: dict[nn.Module, list[torch.Tensor]] = {norm: [] for norm in norms}

    def remember(convolution: nn.Module, _: Any, output: torch.Tensor) -> None:
        last[:] = [(convolution, output)]

    def measure(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if not last or last[0][1] is not inputs[0]:
            raise ValueError(f"{names[norm]} does not follow a convolution directly: it cannot be folded.")
        before[norm] = last[0][0]
        var, mean = torch.var_mean(inputs[0].float(), dim=(2, 3), correction=0)
        moments[norm].append(torch.stack([mean, (var + norm.eps).sqrt()]))

    convolutions = [module for module in names if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks = [module.register_forward_hook(remember) for module in convolutions]
    hooks += [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        for batch in pictures:
            generator(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not before:
        raise ValueError("Folding instance norm needs at least one picture, got none.")

    weights = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    for norm, convolution in before.items():
        mean, std = torch.cat(moments[norm], dim=1).median(dim=1).values
        name, transposed = names[convolution], isinstance(convolution, nn.ConvTranspose2d)
        shape = (1, -1, 1, 1) if transposed else (-1, 1, 1, 1)
        weights[f"{name}.weight"] /= std.view(shape)
        weights[f"{name}.bias"] = (weights[f"{name}.bias"] - mean) / std
    return weights
