"""Adversarial losses on a discriminator's scores."""

from typing import Literal

import torch
from torch.nn import functional as F


AdversarialLoss = Literal["lsgan", "vanilla", "wgan", "hinge"]


def adversarial_loss(
    prediction: torch.Tensor, target_is_real: bool, kind: AdversarialLoss = "lsgan", for_generator: bool = False
) -> torch.Tensor:
    """Return how far scores are from "real" or "fake".

    - `"lsgan"`: mean of `(prediction - target)²`, with the targets 1 and 0 (Mao et al. 2017, eq. 9 with a = 0,
      b = c = 1). It takes unbounded scores, probabilities (after a sigmoid) and scores in [-1, 1] (after a tanh, where
      "fake" is 0 too).
    - `"vanilla"`: binary cross-entropy of logits (Goodfellow et al. 2014, in the form of section 3 that does not
      saturate for the generator).
    - `"wgan"`: mean of `-prediction` for "real" and of `prediction` for "fake" (Arjovsky et al. 2017, algorithm 1).
      The critic must be Lipschitz: add a `gradient_penalty` or use spectral norm.
    - `"hinge"`: mean of `max(0, 1 - prediction)` for "real" and of `max(0, 1 + prediction)` for "fake"; the
      generator's side is `"wgan"`'s (Miyato et al. 2018, eq. 16 and 17).

    Args:
        prediction (`torch.Tensor` of any shape): Scores of a discriminator.
        target_is_real: Whether the scores should say "real". A generator wants its translations to.
        kind: Which loss.
        for_generator: Whether the generator is trained; only `"hinge"` differs.

    Returns:
        A scalar in fp32, at least 0; of any sign for `"wgan"` and the generator's `"hinge"`.

    Raises:
        ValueError: If `kind` is unknown.
    """
    prediction = prediction.float()
    target = torch.full_like(prediction, 1.0 if target_is_real else 0.0)
    opposed = -prediction if target_is_real else prediction
    match kind:
        case "lsgan":
            return F.mse_loss(prediction, target)
        case "vanilla":
            return F.binary_cross_entropy_with_logits(prediction, target)
        case "wgan":
            return opposed.mean()
        case "hinge":
            return opposed.mean() if for_generator else F.relu(1 + opposed).mean()
    raise ValueError(f"`kind` must be 'lsgan', 'vanilla', 'wgan' or 'hinge', got {kind!r}.")
