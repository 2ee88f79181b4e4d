"""Outputs of the models."""

from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput


@dataclass
class GeneratorOutput(BaseOutput):
    """The output of a generator.

    Attributes:
        sample (`torch.Tensor` of shape `(batch_size, out_channels, height, width)`):
            The translated pictures, in [-1, 1] (or in the mean/std space that the pipeline stores).
        quantization_loss (`torch.Tensor`, *optional*):
            What a vector-quantised bottleneck adds to the training's loss: a scalar in fp32. `None` without one.
        code_perplexity (`torch.Tensor`, *optional*): How many codes this batch uses, from 1 to all. For the log.
        code_usage (`torch.Tensor`, *optional*): Share of the codes that training lately used, in [0, 1]. For the log.
    """

    sample: torch.Tensor
    quantization_loss: torch.Tensor | None = None
    code_perplexity: torch.Tensor | None = None
    code_usage: torch.Tensor | None = None


@dataclass
class DiscriminatorOutput(BaseOutput):
    """The output of a discriminator.

    Attributes:
        prediction (`torch.Tensor` of shape `(batch_size, out_channels, patch_rows, patch_columns)`):
            One score a patch: unbounded, or after the model's `output_activation`.
        global_logits (`torch.Tensor` of shape `(batch_size, 1)`, *optional*):
            One unbounded score a picture, of a discriminator that has such a head.
        features (`torch.Tensor` of shape `(batch_size, channels, rows, columns)`, *optional*):
            What the scores are made of, of a discriminator that lends it to a feature loss.
    """

    prediction: torch.Tensor
    global_logits: torch.Tensor | None = None
    features: torch.Tensor | None = None
