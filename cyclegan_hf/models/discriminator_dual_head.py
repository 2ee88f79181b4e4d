"""A discriminator with two heads over one trunk: one verdict for the picture, one for each of its patches."""

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from cyclegan_hf.models.checks import check_least, check_widths
from cyclegan_hf.models.layers import InstanceNorm2d
from cyclegan_hf.models.outputs import DiscriminatorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class DualHeadDiscriminator(NetworkMixin, ModelMixin, ConfigMixin):
    """Discriminator of the course report `face2cartoon_attention`, section 1.2.2 (with three blocks, 2.2.2).

    4×4 convolutions with stride 2 and spectral norm (Miyato et al. 2018, "Spectral Normalization for Generative
    Adversarial Networks", section 2.1), each followed by instance norm and LeakyReLU 0.2. On their features stand a
    3×3 convolution to one logit a patch, and the mean over all positions with a linear layer to one logit a picture.
    With the defaults: 2,761,666 parameters, 256² to features of 512×16×16. `block_out_channels=(64, 128, 256)` and
    `use_global_head=False`, for `animal2pokemon_vq`: 661,185 parameters, 96² to features of 256×12×12.

    In training, each forward pass improves the spectral norms by one power iteration; evaluation leaves them as they
    are. In this order, the report's, the instance norm undoes the scale that the spectral norm sets: it acts on the
    size of the steps, and bounds no Lipschitz constant. The gradient can itself be differentiated, as a gradient
    penalty does, but not while compiled: call `forward` itself, which `compile()` leaves alone.

    Args:
        in_channels: Channels of the pictures.
        block_out_channels: Channels after each block.
        use_global_head: Judge the picture as a whole too.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512),
        use_global_head: bool = True,
    ) -> None:
        super().__init__()
        check_least(1, in_channels=in_channels)
        widths = [in_channels, *check_widths(block_out_channels)]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(narrow, wide, 4, stride=2, padding=1)), InstanceNorm2d(), nn.LeakyReLU(0.2)
            )
            for narrow, wide in pairwise(widths)
        )
        self.patch_head = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.global_head = nn.Linear(widths[-1], 1) if use_global_head else None

    @property
    def min_size(self) -> int:
        """The smallest height and width: the last norm must see at least 2×2 positions."""
        return 2 * 2 ** len(self.blocks)

    def forward(
        self, sample: torch.Tensor, return_dict: bool = True
    ) -> DiscriminatorOutput | tuple[torch.Tensor | None, ...]:
        """Judge pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `DiscriminatorOutput` (or a plain tuple).

        Returns:
            `prediction`, unbounded logits of shape `(batch_size, 1, height / 2^n, width / 2^n)` after n blocks, each
            side rounded down; `global_logits` of shape `(batch_size, 1)`, `None` without that head; and `features` of
            shape `(batch_size, block_out_channels[-1], height / 2^n, width / 2^n)`, on which both heads stand.
        """
        features = sample
        for block in self.blocks:
            features = block(features)  # (B, block_out_channels[i], H/2^(i+1), W/2^(i+1))
        prediction = self.patch_head(features)  # (B, 1, H/2^n, W/2^n)
        global_logits = None if self.global_head is None else self.global_head(features.mean(dim=(2, 3)))  # (B, 1)
        if not return_dict:
            return (prediction, global_logits, features)
        return DiscriminatorOutput(prediction=prediction, global_logits=global_logits, features=features)
