"""Vector quantisation: features become the nearest of a learnt set of codes."""

from typing import NamedTuple

import torch
from torch import distributed, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """Output of a quantiser.

    Attributes:
        hidden (`torch.Tensor` of shape `(batch_size, channels, height, width)`):
            The codes in the features' place, in the features' dtype; gradients pass to the features unchanged.
        loss (`torch.Tensor`): Codebook loss plus weighted commitment loss, a scalar in fp32, at least 0.
        perplexity (`torch.Tensor`): How many codes this batch uses, from 1 (one for all positions) to `num_codes`
            (all alike often): the exponential of the entropy of their shares.
        usage (`torch.Tensor`): Share of the codes that are alive, in [0, 1]: chosen at least once in the last
            `revival_patience` training batches. Of the training's history and not of this batch.
    """

    hidden: torch.Tensor
    loss: torch.Tensor
    perplexity: torch.Tensor
    usage: torch.Tensor


class VectorQuantizer(nn.Module):
    """Replaces each position's features by the nearest code (van den Oord et al. 2017, "Neural Discrete Representation Learning", section 3).

    Nearest is by Euclidean distance (eq. 1 and 2). The straight-through estimator hands the gradient of the codes to
    the features; the codes learn by the second term of eq. 3, the features are drawn to them by the third. Both are
    means over positions and channels. All is computed in fp32, under autocast too.

    Codes that nobody chooses get no gradient and would stay unused. In training, a code that was not chosen for
    `revival_patience` batches moves to the features of a position drawn from the present batch, and again after as many
    (Dhariwal et al. 2020, "Jukebox", section 3.1: random restarts); by the same rule, the first batch places all codes.
    The draw is from torch's global generator, and `idle` is saved with the weights, so that a resumed run draws the
    same. With several processes, use is counted over all of them and the draw is process 0's: the codebooks stay equal,
    as long as all processes run the same number of training batches. In evaluation nothing is drawn or counted.

    Args:
        num_codes: Size of the codebook.
        channels: Channels of the features.
        commitment_cost: Weight of the commitment loss, β in eq. 3.
        revival_patience: Training batches without use after which a code moves.

    Raises:
        ValueError: For sizes below 1 or a negative weight.
    """  # noqa: E501

    idle: torch.Tensor

    def __init__(
        self, num_codes: int, channels: int, commitment_cost: float = 0.25, revival_patience: int = 64
    ) -> None:
        super().__init__()
        for name, value in (("num_codes", num_codes), ("channels", channels), ("revival_patience", revival_patience)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if commitment_cost < 0:
            raise ValueError(f"`commitment_cost` must be at least 0, got {commitment_cost}.")
        self.commitment_cost = commitment_cost
        self.revival_patience = revival_patience
        self.codebook = nn.Parameter(torch.empty(num_codes, channels).uniform_(-1 / num_codes, 1 / num_codes))
        # Training batches since each code was last chosen: integers, which no cast to half precision rounds.
        self.register_buffer("idle", torch.full((num_codes,), revival_patience))

    def forward(self, hidden: torch.Tensor) -> Quantized:
        """Quantise features of shape `(batch_size, channels, height, width)`."""
        with torch.autocast(hidden.device.type, enabled=False):
            vectors = hidden.permute(0, 2, 3, 1).float()  # (B, H, W, C)
            flat = vectors.detach().flatten(0, 2)  # (N, C)
            codebook = self._trained_codebook(flat) if self.training else self.codebook.float()
            indices = _nearest(flat, codebook.detach())
            counts = torch.zeros_like(self.idle, dtype=torch.float32)
            counts = counts.scatter_add(0, indices, torch.ones_like(indices, dtype=torch.float32))
            if self.training:
                self._count(counts)

            codes = F.embedding(indices, codebook).view_as(vectors)
            loss = F.mse_loss(codes, vectors.detach())
            loss = loss + self.commitment_cost * F.mse_loss(vectors, codes.detach())
            quantized = vectors + (codes - vectors).detach()  # the value of codes, the gradient of vectors
            share = counts / counts.sum()
            perplexity = torch.exp(-torch.xlogy(share, share).sum())
            usage = (self.idle < self.revival_patience).float().mean()
        return Quantized(quantized.permute(0, 3, 1, 2).to(hidden.dtype), loss, perplexity, usage)

    # A compiled graph may look at the codebook again in its backward, when a later batch of the same step has already
    # moved codes: it gets a copy, made outside of the graph.
    @torch.compiler.disable
    def _trained_codebook(self, flat: torch.Tensor) -> torch.Tensor:
        """Move the codes whose time has come to vectors of this batch; returns a copy with the codebook's gradient."""
        with torch.no_grad():
            due = (self.idle > 0) & (self.idle % self.revival_patience == 0)
            drawn = flat[torch.randint(len(flat), (len(self.codebook),), device=flat.device)]
            if _several_processes():
                distributed.broadcast(drawn, src=0)
            self.codebook.copy_(torch.where(due[:, None], drawn, self.codebook))
        return self.codebook.float().clone()

    @torch.compiler.disable
    def _count(self, counts: torch.Tensor) -> None:
        counts = counts.clone()
        if _several_processes():
            distributed.all_reduce(counts)
        self.idle.copy_(torch.where(counts > 0, 0, self.idle + 1))


def _nearest(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Index of the nearest row of `codebook` (K, C) for each row of `vectors` (N, C); the first of equals."""
    # |v - c|² without |v|², which is the same for all codes: (N, K), and no (N, K, C) on the way.
    return torch.addmm(codebook.square().sum(dim=1), vectors, codebook.T, alpha=-2).argmin(dim=1)


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
