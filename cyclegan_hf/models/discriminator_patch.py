"""The PatchGAN discriminator: one verdict for each patch of the picture."""

from itertools import pairwise
from typing import Literal

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.layers import NormType, conv_bias, make_norm
from cyclegan_hf.models.outputs import DiscriminatorOutput


OutputActivation = Literal["none", "sigmoid", "tanh"]


class PatchDiscriminator(ModelMixin, ConfigMixin):
    """PatchGAN discriminator (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2.2).

    4×4 convolutions: stride 2 but for the last block, then one to `out_channels`, stride 1. LeakyReLU 0.2, and the norm on
    every block but the first. With the defaults: 2,764,737 parameters, patches of 70×70, 256² to 30×30 (Zhu et al. 2017,
    appendix 7.2).

    Args:
        in_channels: Channels of the pictures.
        out_channels: Channels of the verdict: 1, or 3 in some reports.
        block_out_channels: Channels after each block. Four blocks are the official code's `n_layers=3`.
        norm_type: `"instance"`, `"batch"` or `"none"`.
        output_activation: `"none"` for unbounded scores, `"sigmoid"` or `"tanh"`.
    """  # noqa: E501

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512),
        norm_type: NormType = "instance",
        output_activation: OutputActivation = "none",
    ) -> None:
        super().__init__()
        if len(block_out_channels) < 2:
            raise ValueError(f"`block_out_channels` must name at least two widths, got {list(block_out_channels)}.")
        if output_activation not in ("none", "sigmoid", "tanh"):
            raise ValueError(f"`output_activation` must be 'none', 'sigmoid' or 'tanh', got {output_activation!r}.")
        widths = list(block_out_channels)
        self.conv_in = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    narrow, wide, 4, stride=1 if index == len(widths) - 1 else 2, padding=1, bias=conv_bias(norm_type)
                ),
                make_norm(norm_type, wide),
                nn.LeakyReLU(0.2),
            )
            for index, (narrow, wide) in enumerate(pairwise(widths), start=1)
        )
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 4, padding=1)

    @property
    def receptive_field(self) -> int:
        """Height and width, in pixels, of the patch that one score sees."""
        field, stride = 1, 1
        for layer in self.modules():  # in the order of the forward pass
            if isinstance(layer, nn.Conv2d):
                field += (layer.kernel_size[0] - 1) * stride
                stride *= layer.stride[0]
        return field

    @property
    def min_size(self) -> int:
        """The smallest height and width: the last norm must see at least 2×2 positions."""
        return 3 * 2 ** (len(self.blocks))

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> DiscriminatorOutput | tuple[torch.Tensor]:
        """Judge pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `DiscriminatorOutput` (or a plain tuple).

        Returns:
            Scores of shape `(batch_size, out_channels, patch_rows, patch_columns)`: unbounded, in [0, 1] with
            `"sigmoid"`, in [-1, 1] with `"tanh"`.
        """
        hidden = self.conv_in(sample)  # (B, widths[0], H/2, W/2)
        for block in self.blocks:
            hidden = block(hidden)
        prediction = self.conv_out(hidden)  # (B, out_channels, H/8 - 2, W/8 - 2) with four blocks
        match self.config["output_activation"]:
            case "sigmoid":
                prediction = torch.sigmoid(prediction)
            case "tanh":
                prediction = torch.tanh(prediction)
        if not return_dict:
            return (prediction,)
        return DiscriminatorOutput(prediction=prediction)
