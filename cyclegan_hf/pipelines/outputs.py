"""The pipelines' output."""

from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput


@dataclass
class CycleGANPipelineOutput(BaseOutput):
    """Output of [`CycleGANPipeline`].

    Args:
        images (`list` of `PIL.Image.Image`, `np.ndarray` or `torch.Tensor`): the translations, in input order. Arrays
            are `(height, width, channels)`, tensors `(channels, height, width)`, both float32 in [0, 1].
        cycles (`list`, *optional*): each translation translated back, where asked for; ideally the input again.
        sizes (`list[tuple[int, int]]`): the (height, width) at which each picture went through the generator. Where it
            is not the picture's own size, the result was resized back, and cannot be sharper than this.
    """

    images: list[Any]
    cycles: list[Any] | None = None
    sizes: list[tuple[int, int]] | None = None
