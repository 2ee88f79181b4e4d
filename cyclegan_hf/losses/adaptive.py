"""Loss weights that adapt in training: Dynamic Weight Average (Liu, Johns & Davison 2019)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


class DynamicWeightAverage:
    """Weights from how fast each loss falls (Liu et al. 2019, "End-to-End Multi-Task Learning with Attention").

    With `r_k`, the mean of loss k over the last epoch divided by that over the epoch before it, the weight of loss k
    is `K · exp(r_k / T) / Σ_i exp(r_i / T)` (the paper's section "Dynamic Weight Average"). In the first two epochs
    it is 1. A loss that falls more slowly than the others gets more; all weights are in (0, K) and add up to K, the
    number of losses. They multiply the λ's of a recipe and do not replace them: the ratios know nothing of a loss's
    scale or of what it is worth.

    Why this scheme for adversarial, cycle, identity, edge and colour terms:

    - Uncertainty weighting (Kendall, Gal & Cipolla 2018, eq. 7 and 10) derives from likelihoods, which the L1 terms
      are and an adversarial loss is not. Its objective `L·exp(-s) + s` is minimal at `exp(s) = L`, where it is
      `1 + log L`: unbounded below as any L falls to 0, with a weight `1 / L` that grows most for the term already
      won. A generator that fools its discriminator would hear of nothing else. Only the L1 terms could take part, and
      the log-variances need an optimiser and a learning rate of their own.
    - GradNorm (Chen et al. 2018) wants each term's gradient on shared weights: with five terms and two generators,
      five backward passes a step.
    - This scheme needs numbers that are logged anyway, cannot run away, and its whole state is two numbers a loss.
      An adversarial term, which hovers, has a ratio near 1; when the discriminator gets ahead, it gets more weight.

    The losses must not be negative: `"wgan"` and the generator's `"hinge"` term cannot be weighted.

    Args:
        names: The losses, each with a weight of its own.
        temperature: T: the greater, the more equal the weights. The paper's is 2.

    Attributes:
        weights (`dict[str, float]`): The weight of each loss, for this epoch.

    Raises:
        ValueError: If there is no name or one stands twice, or `temperature` is not positive.
    """

    def __init__(self, names: Sequence[str], temperature: float = 2.0) -> None:
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`names` must be one or more different names, got {list(names)}.")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be positive, got {temperature}.")
        self.names = tuple(names)
        self.temperature = temperature
        self.weights = dict.fromkeys(self.names, 1.0)
        self._history: list[list[float]] = []  # the means of the last two epochs, in the order of `names`
        self._mean = torch.zeros(len(self.names))  # of this epoch so far; on the losses' device, so nothing waits
        self._count = 0

    def record(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Take a step's losses into this epoch's means.

        Args:
            losses: A scalar for each name, before weighting; others beside them are not looked at.

        Raises:
            ValueError: If a name is missing.
        """
        missing = [name for name in self.names if name not in losses]
        if missing:
            raise ValueError(f"Losses named {list(self.names)} are expected, {missing} missing.")
        values = torch.stack([losses[name].detach().float() for name in self.names])
        self._count += 1
        mean = self._mean.to(values.device)
        self._mean = mean + (values - mean) / self._count

    def update(self, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """End an epoch: set the weights of the next one.

        Args:
            reduce: With several processes, what averages a tensor over them: all must get the same weights.

        Raises:
            ValueError: If nothing was recorded since the last update, or a mean is negative, infinite or NaN.
        """
        if self._count == 0:
            raise ValueError("`update` expects an epoch with at least one `record`, got none.")
        means = (self._mean if reduce is None else reduce(self._mean)).tolist()
        for name, mean in zip(self.names, means, strict=True):
            if not 0 <= mean < math.inf:
                raise ValueError(f"Only losses that are never negative can be weighted; `{name}` has the mean {mean}.")
        self._history = [*self._history[-1:], means]
        self._mean, self._count = torch.zeros_like(self._mean), 0
        self._set_weights()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue exactly, also inside an epoch."""
        return {
            "names": list(self.names),
            "history": [list(means) for means in self._history],
            "mean": self._mean.cpu(),
            "count": self._count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: If it belongs to other losses.
        """
        if tuple(state["names"]) != self.names:
            raise ValueError(f"Weights of {list(self.names)} cannot go on from those of {state['names']}.")
        self._history = [list(means) for means in state["history"]]
        self._mean, self._count = state["mean"].clone(), state["count"]
        self._set_weights()

    def _set_weights(self) -> None:
        ratios = [1.0] * len(self.names)
        if len(self._history) == 2:
            before, after = self._history
            # A loss that was exactly 0 was not there; nothing says how fast it falls.
            ratios = [new / old if old > 0 else 1.0 for old, new in zip(before, after, strict=True)]
        largest = max(ratios)  # taken off, so that no exponential overflows
        shares = [math.exp((ratio - largest) / self.temperature) for ratio in ratios]
        total = sum(shares)
        self.weights = {name: len(self.names) * share / total for name, share in zip(self.names, shares, strict=True)}
