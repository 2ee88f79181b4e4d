"""The generator of the CycleGAN paper: a residual network between two strided encoders and decoders."""

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from cyclegan_hf.models.checks import check_dropout, check_least, check_multiples, check_widths
from cyclegan_hf.models.initialization import zero_
from cyclegan_hf.models.layers import (
    ActivationType,
    NormType,
    Pad2d,
    PaddingMode,
    ResnetBlock,
    Upsample2x,
    UpsampleType,
    before_tanh,
    conv_bias,
    make_activation,
    make_norm,
)
from cyclegan_hf.models.outputs import GeneratorOutput
from cyclegan_hf.models.publishing import NetworkMixin


class ResnetGenerator(NetworkMixin, ModelMixin, ConfigMixin):
    """ResNet generator (Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", appendix 7.2).

    A 7×7 convolution, a strided 3×3 convolution per further entry of `block_out_channels`, residual blocks at the
    smallest resolution, as many upsampling steps, a 7×7 convolution and tanh. Pictures come and go in [-1, 1]. With the
    defaults: 11,378,179 parameters, the network of the paper for 256²; `num_res_blocks=6` is the paper's for 128².

    Args:
        in_channels: Channels of the pictures that come in.
        out_channels: Channels of the pictures that go out.
        block_out_channels: Channels after the first convolution and after each strided one.
        num_res_blocks: Residual blocks at the smallest resolution.
        norm_type: `"instance"` (paper), `"instance_affine"`, `"batch"`, `"pixel"` or `"none"`.
        dropout_prob: Dropout inside the residual blocks, in [0, 1); 0 as in the paper, 0.5 in the official code's option.
        padding_mode: `"reflect"` (paper) or `"zero"`.
        upsample_type: `"conv_transpose"` (paper) or `"resize_conv"`, nearest-neighbour upsampling before a 3×3
            convolution, which cannot draw a checkerboard.
        in_padding: Pixels of padding before the first 7×7 convolution. 3 keeps the size; 5 turns 28² into 32².
        out_padding: Pixels of padding before the last 7×7 convolution. 3 keeps the size; 1 turns 32² into 28².
        learn_residual: Predict the change and not the picture, as DeblurGAN does (Kupyn et al. 2018, section 4.2). The
            change is added before the tanh, where the picture has no bounds: bright and dark parts are compressed and
            never cut off. A network of zeros returns its input (within 0.01); few steps keep fine detail.
        activation_type: `"relu"` (paper) or `"leaky_relu"`, with a slope of 0.2. ReLUs can die where nothing centres
            what they get, as with `norm_type` `"pixel"` or `"none"`.
        activation_after_add: An activation after the sum of each residual block. The paper has none; the course report
            `mnist2svhn` has it.
        norm_on_last: Normalise what goes into the last tanh too, which the course report `mnist2svhn` lists and the
            paper's code does not do. Each channel's mean is then fixed: black backgrounds turn grey.
        separable: Depthwise and pointwise convolutions in the residual blocks (Chollet 2017): a ninth of their weights.
    """  # noqa: E501

    _supports_gradient_checkpointing = False
    resize_to_training_size = False  # fully convolutional: any size

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256),
        num_res_blocks: int = 9,
        norm_type: NormType = "instance",
        dropout_prob: float = 0.0,
        padding_mode: PaddingMode = "reflect",
        upsample_type: UpsampleType = "conv_transpose",
        in_padding: int = 3,
        out_padding: int = 3,
        learn_residual: bool = False,
        activation_type: ActivationType = "relu",
        activation_after_add: bool = False,
        norm_on_last: bool = False,
        separable: bool = False,
    ) -> None:
        super().__init__()
        widths = check_widths(block_out_channels)
        check_least(1, in_channels=in_channels, out_channels=out_channels)
        check_least(0, num_res_blocks=num_res_blocks, in_padding=in_padding, out_padding=out_padding)
        check_dropout(dropout_prob)
        if upsample_type not in ("conv_transpose", "resize_conv"):
            raise ValueError(f"`upsample_type` must be 'conv_transpose' or 'resize_conv', got {upsample_type!r}.")
        if learn_residual and in_channels != out_channels:
            raise ValueError(
                f"`learn_residual` needs as many channels out as in, got {in_channels} and {out_channels}."
            )
        if learn_residual and (in_padding, out_padding) != (3, 3):
            raise ValueError(
                "`learn_residual` needs the paddings that keep the size, 3 and 3, got `in_padding` "
                f"{in_padding} and `out_padding` {out_padding}."
            )
        bias = conv_bias(norm_type)

        self.conv_in = nn.Sequential(
            Pad2d(in_padding, padding_mode),
            nn.Conv2d(in_channels, widths[0], 7, bias=bias),
            make_norm(norm_type, widths[0]),
            make_activation(activation_type),
        )
        self.down_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=bias),
                make_norm(norm_type, wide),
                make_activation(activation_type),
            )
            for narrow, wide in pairwise(widths)
        )
        self.mid_blocks = nn.ModuleList(
            ResnetBlock(
                widths[-1], norm_type, padding_mode, dropout_prob, activation_type, activation_after_add, separable
            )
            for _ in range(num_res_blocks)
        )
        self.up_blocks = nn.ModuleList(
            nn.Sequential(
                *_upsampling(wide, narrow, upsample_type, padding_mode, bias),
                make_norm(norm_type, narrow),
                make_activation(activation_type),
            )
            for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.conv_out = nn.Sequential(
            Pad2d(out_padding, padding_mode),
            nn.Conv2d(widths[0], out_channels, 7, bias=bias or not norm_on_last),
            make_norm(norm_type if norm_on_last else "none", out_channels),
        )

    @property
    def size_multiple(self) -> int:
        """Heights and widths that are a multiple of this leave as they came (with the default paddings)."""
        return 2 ** len(self.down_blocks)

    @property
    def min_size(self) -> int:
        """The smallest height and width: a reflection needs more pixels than it mirrors, a norm more than one."""
        return max(2 * self.size_multiple, self.config["in_padding"] + 1)

    @property
    def receptive_radius(self) -> int | None:
        """How far an output pixel sees in each direction, in pixels (in evaluation mode); `None`: without limit.

        An instance norm looks at the whole picture. Without one, a part of a picture that is cut with this margin is
        translated as in the whole.
        """
        if self.config["norm_type"] in ("instance", "instance_affine"):
            return None
        levels = len(self.down_blocks)
        ends = 2 * 3  # the 7×7 convolutions
        down = sum(2**level for level in range(levels))
        blocks = 2 * len(self.mid_blocks) * 2**levels
        up = sum(2 ** (level + 1) for level in range(levels))  # at most one pixel of the coarser side
        return ends + down + blocks + up

    def start_as_identity(self) -> None:
        """Set the last convolution to 0 (with `learn_residual`): training starts from the image as it is."""
        if self.config["learn_residual"]:
            zero_(self.conv_out[1])

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> GeneratorOutput | tuple[torch.Tensor]:
        """Translate pictures.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): Pictures in [-1, 1].
            return_dict: Return a `GeneratorOutput` (or a plain tuple).

        Returns:
            Pictures of shape `(batch_size, out_channels, height, width)` in [-1, 1]. Heights and widths that are not
            a multiple of `size_multiple` leave rounded up to one.

        Raises:
            ValueError: With `learn_residual`, a height or width that would not leave as it came.
        """
        if self.config["learn_residual"]:
            check_multiples(sample, self.size_multiple, " with `learn_residual`")
        hidden = self.conv_in(sample)  # (B, widths[0], H, W)
        for block in self.down_blocks:
            hidden = block(hidden)  # (B, widths[i], H/2^i, W/2^i)
        for block in self.mid_blocks:
            hidden = block(hidden)
        for block in self.up_blocks:
            hidden = block(hidden)
        hidden = self.conv_out(hidden)  # (B, out_channels, H, W)
        if self.config["learn_residual"]:
            hidden = hidden + before_tanh(sample)
        hidden = torch.tanh(hidden)
        if not return_dict:
            return (hidden,)
        return GeneratorOutput(sample=hidden)


def _upsampling(
    in_channels: int, out_channels: int, upsample_type: UpsampleType, padding_mode: PaddingMode, bias: bool
) -> list[nn.Module]:
    if upsample_type == "conv_transpose":
        return [nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)]
    return [Upsample2x(), Pad2d(1, padding_mode), nn.Conv2d(in_channels, out_channels, 3, bias=bias)]
