"""Adversarial losses on a discriminator's scores."""

from typing import Literal

import torch
from torch.nn import functional as F


AdversarialLoss = Literal["lsgan", "vanilla"]


def adversarial_loss(prediction: torch.Tensor, target_is_real: bool, kind: AdversarialLoss = "lsgan") -> torch.Tensor:
    """How far scores are from "real" (1) or "fake" (0).

    `"lsgan"`: mean of `(prediction - target)²` (Mao et al. 2017, eq. 9 with a = 0, b = c = 1). `"vanilla"`: binary
    cross-entropy of logits (Goodfellow et al. 2014, in the form of section 3 that does not saturate for the
    generator).

    Args:
        prediction (`torch.Tensor` of any shape): Unbounded scores of a discriminator.
        target_is_real: Whether the scores should say "real".
        kind: `"lsgan"` or `"vanilla"`.

    Returns:
        A scalar in fp32, at least 0.
    """
    prediction = prediction.float()
    target = torch.full_like(prediction, 1.0 if target_is_real else 0.0)
    match kind:
        case "lsgan":
            return F.mse_loss(prediction, target)
        case "vanilla":
            return F.binary_cross_entropy_with_logits(prediction, target)
    raise ValueError(f"`kind` must be 'lsgan' or 'vanilla', got {kind!r}.")
