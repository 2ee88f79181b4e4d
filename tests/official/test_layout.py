from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan_hf.official.layout import map_official_state_dict
from cyclegan_hf.official.parity import official_output
from tests.official.official_networks import Patch, Pixel, Resnet, Unet, randomized, small_resnet


NORMS = ("instance", "batch", "none")

# Everything the official options can make, narrow: (network, our class, part of our config).
CASES: list[tuple[Callable[[], nn.Module], str, dict[str, Any]]] = [
    *(
        (
            lambda norm=norm, blocks=blocks, dropout=dropout: Resnet(3, 3, 4, blocks, norm, dropout),
            "ResnetGenerator",
            {
                "norm_type": norm,
                "num_res_blocks": blocks,
                "dropout_prob": 0.5 if dropout else 0.0,
                "block_out_channels": [4, 8, 16],
                "padding_mode": "reflect",
            },
        )
        for norm in NORMS
        for blocks in (1, 6, 9)
        for dropout in (False, True)
    ),
    (lambda: Resnet(1, 4, 4, 2), "ResnetGenerator", {"in_channels": 1, "out_channels": 4}),
    (lambda: Resnet(3, 3, 2, 2, downs=4), "ResnetGenerator", {"block_out_channels": [2, 4, 8, 16, 32]}),
    *(
        (
            lambda norm=norm, downs=downs, dropout=dropout: Unet(3, 3, 2, downs, norm, dropout),
            "UnetGenerator",
            {"norm_type": norm, "block_out_channels": [2, 4, 8, 16, 16, 16, 16, 16][:downs], "dropout_prob": 0.0},
        )
        for norm in NORMS
        for downs in (5, 7, 8)
        for dropout in (False, True)
    ),
    (lambda: Unet(1, 4, 2, 5), "UnetGenerator", {"in_channels": 1, "out_channels": 4}),
    *(
        (
            lambda norm=norm, n_layers=n_layers: Patch(3, 2, n_layers, norm),
            "PatchDiscriminator",
            {"norm_type": norm, "block_out_channels": [2, 4, 8, 16, 16, 16][: n_layers + 1]},
        )
        for norm in NORMS
        for n_layers in (1, 3, 5)
    ),
    *(
        (lambda norm=norm: Pixel(4, 4, norm), "PixelDiscriminator", {"norm_type": norm, "block_out_channels": [4, 8]})
        for norm in NORMS
    ),
]


@pytest.mark.parametrize(("make", "class_name", "config"), CASES)
def test_names_tensors_and_outputs(make: Callable[[], nn.Module], class_name: str, config: dict[str, Any]) -> None:
    official = randomized(make())
    source = official.state_dict()
    network = map_official_state_dict(source)
    assert network.model_class.__name__ == class_name
    assert {key: network.config[key] for key in config} == config

    # Every tensor is somewhere, once, unchanged. Outputs alone would not show a lost bias before an instance norm: it
    # must have come from the same layer as its weight, which they do show.
    assert sorted(network.sources.values()) == sorted(source)
    assert network.dropped == ()
    for ours, theirs in network.sources.items():
        assert torch.equal(network.state_dict[ours], source[theirs]), ours
        assert network.state_dict[ours].data_ptr() != source[theirs].data_ptr()
    layers = {(ours.rpartition(".")[0], theirs.rpartition(".")[0]) for ours, theirs in network.sources.items()}
    assert len(layers) == len({ours for ours, _ in layers}) == len({theirs for _, theirs in layers})
    assert all(ours.rpartition(".")[2] == theirs.rpartition(".")[2] for ours, theirs in network.sources.items())
    model = network.build()
    assert model.state_dict().keys() == network.state_dict.keys() == network.sources.keys() | set(network.filled)
    assert all(name.endswith(".bias") for name in network.filled) and bool(network.filled) == (
        network.config["norm_type"] == "none"
    )
    assert all(parameter.requires_grad for parameter in model.parameters()) and not model.training

    # In double precision the three differ by rounding only.
    generator = torch.Generator().manual_seed(1)
    shape = (1, network.config["in_channels"], *[max(2 * model.min_size, 64)] * 2)
    sample = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    double = {name: tensor.double() for name, tensor in source.items()}
    with torch.no_grad():
        expected = official.double()(sample)
        torch.testing.assert_close(model.double()(sample)[0], expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(official_output(double, sample), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01  # a flat or saturated output would agree with anything


@pytest.mark.parametrize(
    ("make", "parameters", "tensor_count", "names"),
    [
        (Resnet, 11_378_179, 48, {"model.1.bias", "model.18.conv_block.5.weight", "model.22.bias", "model.26.weight"}),
        (lambda: Resnet(blocks=6), 7_837_699, 36, {"model.15.conv_block.5.bias", "model.19.weight", "model.23.bias"}),
        (lambda: Resnet(dropout=True), 11_378_179, 48, {"model.10.conv_block.6.weight"}),
        (Unet, 54_409_603, 32, {"model.model.1.model" + ".3.model" * 6 + ".3.weight", "model.model.3.bias"}),
        (lambda: Unet(downs=7), 41_825_667, 28, {"model.model.1.model" + ".3.model" * 5 + ".1.bias"}),
        (lambda: Unet(norm="batch"), 54_413_955, 82, {"model.model.1.model.6.running_var"}),
        (lambda: Unet(downs=7, norm="batch"), 41_828_995, 70, {"model.model.1.model.2.num_batches_tracked"}),
        (Patch, 2_764_737, 10, {"model.0.bias", "model.2.bias", "model.5.weight", "model.8.weight", "model.11.bias"}),
        (lambda: Patch(n_layers=5), 11_154_369, 14, {"model.14.weight", "model.17.weight"}),
        (Pixel, 8_705, 6, {"net.0.weight", "net.2.weight", "net.5.weight"}),
    ],
)
def test_full_size(make: Callable[[], nn.Module], parameters: int, tensor_count: int, names: set[str]) -> None:
    with torch.device("meta"):
        official = make()
    assert sum(parameter.numel() for parameter in official.parameters()) == parameters
    source = {name: torch.empty_like(tensor, device="cpu").zero_() for name, tensor in official.state_dict().items()}
    assert len(source) == tensor_count and source.keys() >= names
    network = map_official_state_dict(source)
    assert len(network.sources) == tensor_count
    model = network.build()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("make", [Resnet, Unet, Patch, Pixel])
def test_files_of_2017(make: type[nn.Module]) -> None:
    """Instance norms recorded statistics, `DataParallel` named the tensors, batch norms did not count."""
    settings = {"width": 4, "downs": 5} if make is Unet else {"width": 4}
    old = randomized(make(norm="instance_2017", **settings)).state_dict()
    plain = map_official_state_dict({name: old[name] for name in make(norm="instance", **settings).state_dict()})
    network = map_official_state_dict({f"module.{name}": tensor for name, tensor in old.items()})
    assert network.config == plain.config
    assert network.sources == plain.sources
    assert sorted([*network.sources.values(), *network.dropped]) == sorted(old)
    assert network.dropped and all("running_" in name or "num_batches" in name for name in network.dropped)
    assert all(torch.equal(network.state_dict[name], plain.state_dict[name]) for name in plain.state_dict)

    counted = randomized(make(norm="batch", **settings)).state_dict()
    uncounted = {name: tensor for name, tensor in counted.items() if not name.endswith("num_batches_tracked")}
    network = map_official_state_dict(uncounted)
    assert network.config["norm_type"] == "batch"
    assert network.filled and all(name.endswith("num_batches_tracked") for name in network.filled)
    network.build()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(dtype: torch.dtype) -> None:
    source = {name: tensor.to(dtype) for name, tensor in small_resnet().state_dict().items()}
    network = map_official_state_dict(source)
    for ours, theirs in network.sources.items():
        assert network.state_dict[ours].dtype == torch.float32
        assert torch.equal(network.state_dict[ours].to(dtype), source[theirs])


def test_what_the_names_do_not_tell_can_be_set() -> None:
    plain, dropout = small_resnet().state_dict(), small_resnet(dropout=True).state_dict()
    assert map_official_state_dict(plain, padding_mode="zero").config["padding_mode"] == "zero"
    assert map_official_state_dict(plain, dropout_prob=0.3).config["dropout_prob"] == 0.3
    assert map_official_state_dict(dropout, dropout_prob=0.0).config["dropout_prob"] == 0.0
    unet = randomized(Unet(width=2, downs=5)).state_dict()
    assert map_official_state_dict(unet, dropout_prob=0.5).config["dropout_prob"] == 0.5


def test_zero_padding_everywhere() -> None:
    official = small_resnet(padding=nn.ZeroPad2d)
    model = map_official_state_dict(official.state_dict(), padding_mode="zero").build()
    sample = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model(sample).sample, official(sample), rtol=0, atol=1e-4)
        rebuilt = official_output(official.state_dict(), sample, "zero")
        torch.testing.assert_close(rebuilt, official(sample), rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", [Resnet, Unet, Patch, Pixel])
@pytest.mark.parametrize("norm", NORMS)
def test_no_tensor_may_be_missing_or_too_many(make: type[nn.Module], norm: str) -> None:
    settings = {Unet: {"width": 2, "downs": 5}, Resnet: {"width": 2, "blocks": 1}}.get(make, {"width": 2})
    source = randomized(make(norm=norm, **settings)).state_dict()
    for name in source:
        if name.endswith("num_batches_tracked"):
            continue
        with pytest.raises(ValueError, match="not an official CycleGAN network"):
            map_official_state_dict({other: tensor for other, tensor in source.items() if other != name})
        with pytest.raises(ValueError, match="not an official CycleGAN network"):
            map_official_state_dict({**source, f"{name}_orig": source[name]})
        with pytest.raises(ValueError, match="not an official CycleGAN network"):
            map_official_state_dict({**source, name: source[name][None]})
