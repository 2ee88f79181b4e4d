"""Instance norm folded into convolutions."""

import pytest
import torch
from torch import nn

from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.initialization import initialize_weights
from cyclegan_hf.models.layers import InstanceNorm2d
from training.folding import fold_instance_norm


RESNET = {"block_out_channels": (4, 8), "num_res_blocks": 2}
GENERATORS = {
    "transposed": (ResnetGenerator, RESNET),
    "resize_conv": (ResnetGenerator, RESNET | {"upsample_type": "resize_conv"}),
    "norm on last": (ResnetGenerator, RESNET | {"norm_on_last": True}),
    "unet": (UnetGenerator, {"block_out_channels": (4, 8, 8)}),
}


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count)) * 2 - 1


@pytest.mark.parametrize("name", GENERATORS)
def test_the_picture_that_was_measured_stays_the_same(name: str) -> None:
    kind, settings = GENERATORS[name]
    torch.manual_seed(0)
    generator, plain = kind(**settings, norm_type="instance").eval(), kind(**settings, norm_type="none").eval()
    initialize_weights(generator, "kaiming")
    before = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
    picture = pictures(1)
    plain.load_state_dict(fold_instance_norm(generator, [picture]))
    with torch.no_grad():
        assert torch.allclose(plain(picture).sample, generator(picture).sample, atol=1e-4)
    for key, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in generator.modules())


def test_the_median_over_all_pictures_counts() -> None:
    # A 1x1 convolution with weight 1 passes the picture on: one channel with means 0, 1, 5 and deviations 1, 2, 9.
    network = nn.Sequential(nn.Conv2d(1, 1, 1), InstanceNorm2d(eps=0))
    nn.init.ones_(network[0].weight)
    nn.init.zeros_(network[0].bias)
    unit = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).reshape(1, 1, 2, 2)
    batches = [torch.cat([unit, 5 + 9 * unit]), 1 + 2 * unit]
    weights = fold_instance_norm(network, batches)
    assert weights["0.weight"].item() == pytest.approx(1 / 2)
    assert weights["0.bias"].item() == pytest.approx((0 - 1) / 2)


@pytest.mark.parametrize(
    ("network", "batches", "complaint"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), [pictures(1)], "no instance norm to fold in this Sequ"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), InstanceNorm2d()), [], "at least one picture, got none"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), InstanceNorm2d()), [pictures(1)], "2 does not follow a convol"),
        (nn.Sequential(InstanceNorm2d()), [pictures(1)], "0 does not follow a convolution directly"),
    ],
)
def test_what_cannot_be_folded_is_refused(network: nn.Module, batches: list[torch.Tensor], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fold_instance_norm(network, batches)
