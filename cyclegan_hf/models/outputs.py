"""What the models return."""

from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput


@dataclass
class GeneratorOutput(BaseOutput):
    """The output of a generator.

    Attributes:
        sample (`torch.Tensor` of shape `(batch_size, out_channels, height, width)`):
            The translated pictures, in [-1, 1] (or in the mean/std space that the pipeline stores).
    """

    sample: torch.Tensor


@dataclass
class DiscriminatorOutput(BaseOutput):
    """The output of a discriminator.

    Attributes:
        prediction (`torch.Tensor` of shape `(batch_size, out_channels, patch_rows, patch_columns)`):
            One score a patch: unbounded, or after the model's `output_activation`.
    """

    prediction: torch.Tensor
