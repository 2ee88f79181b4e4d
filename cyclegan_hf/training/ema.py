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
        super().__init__(network, use_buffers=False)
        self.decay = decay
        self.module.requires_grad_(False).eval()

    def _decay_now(self, count: int) -> float:
        return min(self.decay, (1 + count) / (10 + count))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average one step towards `model`."""
        # Not by the base class: it copies the count to the weights' device, and reading it there waits for a GPU.
        decay = self._decay_now(int(self.n_averaged)) if self.n_averaged > 0 else 0.0
        averaged, current = list(self.module.parameters()), list(model.parameters())
        if decay == 0:
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1 - decay)
        for (name, buffer), newest in zip(self.module.named_buffers(), model.buffers(), strict=True):
            if _is_running(name) and decay > 0:
                buffer.lerp_(newest, 1 - decay)
            else:
                buffer.copy_(newest)
        self.n_averaged += 1


def _is_running(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var")
