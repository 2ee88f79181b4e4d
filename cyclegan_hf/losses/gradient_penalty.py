"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017)."""

from collections.abc import Callable

import torch

from cyclegan_hf.losses.over_processes import processes
from cyclegan_hf.losses.random_numbers import to_device


def gradient_penalty(
    score: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return how far the gradient of a discriminator's score is from length 1, between real and fake images.

    Mean over the batch of `(‖∇score(x)‖₂ - 1)²` with `x = ε·real + (1 - ε)·fake` and one ε of U(0, 1) a picture
    (Gulrajani et al. 2017, eq. 3). Its gradient goes through the discriminator's gradient ("double backward"):

    - It runs in fp32, autocast or not: squares of small gradients do not survive half precision. A forward that
      enters autocast by itself (one that accelerate has prepared) undoes this; score with what is underneath.
    - It runs uncompiled, compiled discriminator or not: compiled ones have no second derivative.
    - It needs gradients, and turns them on where they are off (a validation loss).
    - Batch norm makes a picture's gradient depend on its neighbours; the paper advises against it (section 4).

    Args:
        score: The discriminator: pictures to scores of shape `(batch_size, ...)`. A picture's score is the mean over
            its positions; for two heads, see `dual_head_score`.
        real (`torch.Tensor` of shape `(batch_size, channels, height, width)`): Pictures in [-1, 1].
        fake (`torch.Tensor` of the same shape): Translations into their domain.
        generator: Where ε is drawn from, on its own device, so that a run that restores its state goes on exactly.

    Returns:
        A scalar in fp32, at least 0, with gradients to the discriminator only.

    Raises:
        ValueError: If the shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"Real and fake must have one shape, got {tuple(real.shape)} and {tuple(fake.shape)}.")
    device = generator.device if generator is not None else real.device
    rank, count = processes()  # one draw for all processes, of which each takes its part: theirs must not be the same
    shares = torch.rand(count * len(real), 1, 1, 1, generator=generator, device=device)
    share = to_device(shares[rank * len(real) :][: len(real)], real.device)
    between = torch.lerp(fake.detach().float(), real.detach().float(), share).requires_grad_()
    eager = torch.compiler.set_stance("force_eager")
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False), eager:
        scores = score(between).reshape(len(between), -1).mean(1)  # (B,)
        (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
