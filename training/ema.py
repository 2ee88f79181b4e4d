"""The moving average of a generator's weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class EmaModel(AveragedModel):
    """Exponential moving average of a network's parameters and running statistics; other buffers are copied.

    Torch's `AveragedModel` either averages every buffer (and so spoils counters and spectral norm's vectors) or copies
    every one (and so pairs averaged weights with the newest batch-norm statistics). Early on the average follows
    faster: the decay of update n is `min(decay, (1 + n) / (10 + n))`, so that the random start is forgotten.

    Args:
        network: The network to follow; it is copied.
        decay: Decay a step, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        def average(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
            torch._foreach_lerp_(averaged, current, 1 - self._decay_now(int(count)))

        super().__init__(network, multi_avg_fn=average, use_buffers=False)
        self.decay = decay
        self.module.requires_grad_(False).eval()

    def _decay_now(self, count: int) -> float:
        return min(self.decay, (1 + count) / (10 + count))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average one step towards `model`."""
        running = {name: buffer.clone() for name, buffer in self.module.named_buffers() if _is_running(name)}
        decay = self._decay_now(int(self.n_averaged)) if self.n_averaged > 0 else 0.0
        super().update_parameters(model)
        for name, buffer in self.module.named_buffers():
            if name in running:
                buffer.copy_(running[name].lerp(buffer, 1 - decay))


def _is_running(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var")
