"""The recipes against the papers and course reports that they are of: every number that can be checked."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cyclegan_hf.models.layers import InstanceNorm2d
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.data.sources import load_sources, species
from cyclegan_hf.training.optimizers import learning_rate_factor
from cyclegan_hf.training.stages import stage_configs


def recipe(name: str) -> TrainConfig:
    return TrainConfig.from_yaml(recipe_path(name))


class Expected(NamedTuple):
    """What a recipe's networks must be; shapes are (channels, height, width), the generators' of what they return."""

    generators: tuple[int, int]  # parameters
    discriminators: tuple[int, int]
    inputs: tuple[tuple[int, int, int], tuple[int, int, int]]
    middle: tuple[int, int, int]  # behind the last residual block, or the U-Net's last pooling and its convolutions
    patches: tuple[int, int, int]
    field: int


RGB = (3, 256, 256)
# The sums behind the parameters are in the models' own tests. A receptive field is 1 + Σ (kernel - 1) · (the strides
# before it): 1 + 3·(1 + 2 + 4 + 8 + 8) = 70; with a last stride of 2 and an 8×8 head 1 + 3·15 + 7·16 = 158; of four
# strided ones 1 + 3·15 = 46, where the report `human2anime` says 70; of five 1 + 3·31 = 94; of two heads' patches
# 1 + 3·15 + 2·16 = 78 and, with a block less, 1 + 3·7 + 2·8 = 38.
NETWORKS = {
    "summer2winter": Expected(
        (11_378_179, 11_378_179), (2_764_737, 2_764_737), (RGB, RGB), (256, 64, 64), (1, 30, 30), 70
    ),
    "summer2winter_v2": Expected(
        (11_378_179, 11_378_179), (2_764_737, 2_764_737), (RGB, RGB), (256, 64, 64), (1, 30, 30), 70
    ),
    "summer2winter_v1": Expected(
        *((4_860_099, 4_860_099), (2_790_209, 2_790_209)),
        *(((3, 128, 128), (3, 128, 128)), (256, 16, 16), (1, 1, 1), 158),
    ),
    "human2anime_unet": Expected(
        (46_740_419, 46_740_419), (662_977, 662_977), ((3, 96, 96), (3, 96, 96)), (1024, 6, 6), (1, 6, 6), 46
    ),
    # 7,837,699 less 2·64·49 weights of the first convolution, or less 2·(64·49 + 1) of the last; 2,764,737 less
    # 2·64·16
    "mnist2svhn": Expected(
        (7_831_427, 7_831_425), (2_762_689, 2_764_737), ((1, 28, 28), (3, 32, 32)), (256, 8, 8), (1, 2, 2), 94
    ),
    # 2,764,737 and two more of a head of 512·16 + 1
    "selfie2anime": Expected(
        (7_837_699, 7_837_699), (2_781_123, 2_781_123), (RGB, RGB), (256, 64, 64), (3, 30, 30), 70
    ),
    "face2cartoon_attention": Expected(
        (11_517_836, 11_517_836), (2_761_666, 2_761_666), (RGB, RGB), (256, 64, 64), (1, 16, 16), 78
    ),
    "animal2pokemon_vq": Expected(
        (11_648_908, 11_648_908), (661_185, 661_185), ((3, 96, 96), (3, 96, 96)), (256, 24, 24), (1, 12, 12), 38
    ),
}
NAMES = list(NETWORKS)
STAGED = ["face2cartoon_attention", "animal2pokemon_vq"]


@pytest.mark.parametrize("name", NAMES)
def test_networks(name: str) -> None:
    expected = NETWORKS[name]
    device = "cpu" if name == "animal2pokemon_vq" else "meta"  # its codes ask for the device's autocast
    with torch.device(device), torch.no_grad():
        networks = build_networks(recipe(name))
        samples = [torch.empty(1, *shape) for shape in expected.inputs]
        assert tuple(map(parameters, networks.generators)) == expected.generators
        assert tuple(map(parameters, networks.discriminators)) == expected.discriminators
        for generator, sample, target in zip(networks.generators, samples, reversed(samples), strict=True):
            last = generator.down_blocks if name == "human2anime_unet" else generator.mid_blocks
            assert output_of(last[-1], lambda: generator(sample)) == expected.middle  # noqa: B023
            assert generator(sample).sample.shape == target.shape
        for discriminator, sample in zip(networks.discriminators, samples, strict=True):
            dual = name in STAGED
            head = discriminator.patch_head if dual else discriminator.conv_out
            assert output_of(head, lambda: discriminator(sample)) == expected.patches  # noqa: B023
            assert receptive_field(discriminator) == expected.field


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def output_of(layer: nn.Module, run: Callable[[], Any]) -> tuple[int, ...]:
    seen: list[tuple[int, ...]] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(tuple(output.shape[1:])))
    run()
    handle.remove()
    return seen[-1]


def receptive_field(discriminator: nn.Module) -> int:
    field, stride = 1, 1
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            field += (layer.kernel_size[0] - 1) * stride
            stride *= layer.stride[0]
    return field


def test_heads_and_features_of_the_dual_discriminators() -> None:
    with torch.device("meta"):
        faces, sprites = (build_networks(recipe(name)).discriminator_b for name in STAGED)
        judged = faces(torch.empty(2, 3, 256, 256))
        assert judged.features.shape == (2, 512, 16, 16)
        assert judged.global_logits.shape == (2, 1)
        judged = sprites(torch.empty(2, 3, 96, 96))
        assert judged.features.shape == (2, 256, 12, 12)
        assert judged.global_logits is None


def test_layers_that_the_reports_name() -> None:
    with torch.device("meta"):
        built = {name: build_networks(recipe(name)) for name in NAMES}

    def count(name: str, network: str, kind: type[nn.Module]) -> int:
        return sum(isinstance(layer, kind) for layer in getattr(built[name], network).modules())

    assert [len(built[name].generator_a2b.mid_blocks) for name in NAMES if name != "human2anime_unet"] == [
        *(9, 9, 3, 6, 6, 9, 9)
    ]  # fmt: skip
    assert count("selfie2anime", "generator_a2b", nn.Dropout) == 6
    dropouts = [layer for layer in built["selfie2anime"].generator_b2a.modules() if isinstance(layer, nn.Dropout)]
    assert {layer.p for layer in dropouts} == {0.5}
    # Two in each of three residual blocks, and two on either side; three in the discriminator.
    assert count("summer2winter_v1", "generator_a2b", nn.BatchNorm2d) == 6 + 2 + 2
    assert count("summer2winter_v1", "discriminator_a", nn.BatchNorm2d) == 3
    assert count("mnist2svhn", "discriminator_a", InstanceNorm2d) == 4  # the first one too
    assert count("summer2winter", "discriminator_a", InstanceNorm2d) == 3
    assert not any(count("human2anime_unet", network, InstanceNorm2d) for network in vars(built["human2anime_unet"]))
    for name in ("summer2winter_v1", "human2anime_unet"):
        assert count(name, "discriminator_b", nn.LeakyReLU) == 0
    for name in ("summer2winter", "mnist2svhn", "selfie2anime", "face2cartoon_attention"):
        judges = built[name].discriminator_b.modules()
        assert [layer.negative_slope for layer in judges if isinstance(layer, nn.LeakyReLU)] == [0.2] * 4
    vq = built["animal2pokemon_vq"].generator_b2a.quantizer
    assert (tuple(vq.codebook.shape), vq.commitment_cost) == ((512, 256), 0.25)
    for name in STAGED:
        blocks = built[name].generator_a2b.mid_blocks
        assert [block.channel_attention is not None for block in blocks] == [False, True] * 4 + [False]
        assert blocks[1].squeeze_excitation.fc1.out_features == 256 // 16
        assert blocks[1].spatial_attention.conv.kernel_size == (7, 7)


PAPER = {
    "run.train_batch_size": 1,
    "run.image_pool_size": 50,
    "data.image_size": 256,
    "data.load_size": (286, 286),
    "data.resize_mode": "squash",
    "data.horizontal_flip": True,
    "losses.adversarial": "lsgan",
    "losses.lambda_gan": 1,
    "losses.lambda_a": 10,
    "losses.lambda_b": 10,
    "losses.lambda_identity": 0,
    "losses.discriminator_scale": 0.5,
    "optimizer.learning_rate": 2e-4,
    "optimizer.discriminator_learning_rate": None,
    "optimizer.adam_beta1": 0.5,
    "optimizer.adam_beta2": 0.999,
    "optimizer.separate": False,
    "optimizer.discriminators_first": False,
    "optimizer.discriminator_steps": 1,
    "ema.decay": 0,
    "init.type": "normal",
    "init.gain": 0.02,
    "stages.epochs": [],
}
AS_THEY_ARE = {"data.horizontal_flip": False, "data.rotation": 0, "data.color_jitter": 0, "data.blur": 0}
FACES = AS_THEY_ARE | {
    "run.seed": 42,
    "data.load_size": (256, 256),
    "data.validation_share": 0.01,
    "losses.adversarial": "relativistic",
    "losses.patch_share": 0.7,
    "losses.lambda_identity": 0.5,  # of 10: 5
    "losses.lambda_feature": 5,
    "losses.feature_matching": "elementwise",
    "losses.lambda_penalty": 10,
    "lr_scheduler.type": "cosine_restarts",
    "lr_scheduler.unit": "epoch",
    "stages.batch_sizes": [3, 2, 1],
    "stages.epochs": [100, 50, 30],
    "stages.evaluation_epochs": [10, 5, 3],
    "stages.seed": 1722426635407800,
    "stages.metric": "gms",
    "stages.keep_start": False,
    "evaluation.split": "test",
}
# What differs from the paper's system without its identity loss.
SETTINGS: dict[str, dict[str, Any]] = {
    "summer2winter": {"run.num_train_epochs": 200, "losses.lambda_identity": 0.5},
    "summer2winter_v2": {"run.num_train_epochs": 25, "run.num_validation_images": 10},
    "summer2winter_v1": {
        "init.type": "xavier",
        "init.gain": 1,
        "run.num_train_epochs": 4000,
        "run.train_batch_size": 16,
        "data.image_size": 128,
        "data.load_size": (143, 143),
    },
    "human2anime_unet": {
        "run.num_train_epochs": 25,
        "run.train_batch_size": 32,
        "run.image_pool_size": 0,
        "data.normalization": "dataset",
        "data.image_size": 96,
        "data.load_size": (96, 96),
        "data.rotation": 15,
        "data.resize_jitter": 0.1,
        "data.crop_fraction": 0.25,
        "data.validation_share": 0.05,
        "data.test_share": 0.05,
        "losses.lambda_gan": 2,
        "losses.discriminator_scale": 1,
        "optimizer.learning_rate": 1e-5,
        "optimizer.adam_beta1": 0.9,
        "optimizer.adam_epsilon": 1e-8,
        "optimizer.separate": True,
        "optimizer.discriminators_first": True,
        "init.type": "xavier",
        "init.gain": 1,
    },
    "mnist2svhn": AS_THEY_ARE
    | {
        "run.num_train_epochs": 200,
        "run.image_pool_size": 0,
        "data.image_sizes": (28, 32),
        "data.image_size": 28,
        "data.load_size": (28, 28),
        "data.load_size_b": (32, 32),
    },
    "selfie2anime": {"run.num_train_epochs": 50, "run.image_pool_size": 20},
    "face2cartoon_attention": FACES,
    "animal2pokemon_vq": FACES
    | {
        "data.image_size": 96,
        "data.load_size": (96, 96),
        "data.remove_background_a": True,
        "data.remove_background_b": False,
        "data.pairing": "random_capped",
        "data.pairing_cap": 6,
        "data.test_share": 0.1,
        "data.validation_share": 0.009,  # 0.01 of the 0.9
        "losses.adversarial": "lsgan",
        "losses.lambda_feature": 0,
        "losses.lambda_penalty": 0,
        "losses.lambda_edge": 1,
        "losses.lambda_color": 1,
        "losses.lambda_quantization": 1,
        "losses.adaptive": "dwa",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_settings(name: str) -> None:
    config = recipe(name)
    wanted = PAPER | SETTINGS[name]
    found = {}
    for key in wanted:
        group, field = key.split(".")
        found[key] = getattr(getattr(config, group), field)
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        # constant for 100 epochs, then in a line to 0, which epoch 201 would have
        ("summer2winter", {1: 2e-4, 100: 2e-4, 101: 2e-4 * 100 / 101, 150: 2e-4 * 51 / 101, 200: 2e-4 / 101, 201: 0}),
        ("mnist2svhn", {1: 2e-4, 100: 2e-4, 150: 2e-4 * 51 / 101, 200: 2e-4 / 101}),
        ("summer2winter_v2", {1: 2e-4, 25: 2e-4}),
        ("summer2winter_v1", {1: 2e-4, 4000: 2e-4}),
        ("human2anime_unet", {1: 1e-5, 25: 1e-5}),
        ("selfie2anime", {1: 2e-4, 50: 2e-4}),
        # Half cosines of 10, 20, 40, 80 epochs from 2e-4 down to 1e-5: anew after 10, 30 and 70; half-way 1.05e-4.
        *(
            (
                name,
                {
                    **dict.fromkeys((1, 11, 31, 71), 2e-4),
                    **dict.fromkeys((6, 21, 51), 1.05e-4),
                    10: 1e-5 + 1.9e-4 * (1 + math.cos(0.9 * math.pi)) / 2,
                    30: 1e-5 + 1.9e-4 * (1 + math.cos(0.95 * math.pi)) / 2,
                    70: 1e-5 + 1.9e-4 * (1 + math.cos(0.975 * math.pi)) / 2,
                },
            )
            for name in STAGED
        ),
    ],
)
def test_learning_rates_at_named_epochs(name: str, rates: dict[int, float]) -> None:
    config = recipe(name)
    full = config.optimizer.learning_rate
    found = {epoch: full * learning_rate_factor(config.lr_scheduler, epoch, 10**6, full) for epoch in rates}
    assert found == pytest.approx(rates, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", STAGED)
def test_stages(name: str) -> None:
    config = recipe(name)
    plan = stage_configs(config)
    assert [
        (stage.run.train_batch_size, stage.run.num_train_epochs, stage.evaluation.epochs) for stage in plan
    ] == [(3, 100, 10), (2, 50, 5), (1, 30, 3)]  # fmt: skip
    seeds = [stage.run.seed for stage in plan]
    assert seeds[0] == 1722426635407800
    assert len(set(seeds)) == 3
    np.random.seed(seeds[0] % 2**32)  # NumPy takes no larger one
    assert [Path(stage.run.warm_start or "none").parts[-2:] for stage in plan] == [
        ("none",), ("stage-1", "best"), ("stage-2", "best")
    ]  # fmt: skip
    assert {stage.optimizer.learning_rate for stage in plan} == {2e-4}


def test_the_pokemon_reports_split_and_pairs(tmp_path: Path) -> None:
    """5,400 animals: 4,860 and 540, then 4,811 and 49; 1,025 species, none of them more than six times."""
    for folder, names in (
        ("a", [f"kind {kind}/{number}.jpg" for kind in range(90) for number in range(60)]),
        ("b", [f"{number}.png" for number in range(1025)]),
    ):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    config = recipe("animal2pokemon_vq").data
    sources = load_sources(replace(config, a=str(tmp_path / "a"), b=str(tmp_path / "b")))
    assert [len(split["a"]) for split in (sources.train, sources.validation, sources.test)] == [4811, 49, 540]
    partners = [species(path, tmp_path / "b") for path in sources.train["b"]]
    assert len(partners) == 4811
    assert max(partners.count(one) for one in set(partners)) == 6
    assert sources.paired
