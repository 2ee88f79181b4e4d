import dataclasses
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from cyclegan_hf import CycleGANPipeline, PatchDiscriminator, ResnetGenerator, convert_official_checkpoint
from cyclegan_hf.conversion import _compared, load_official_network
from cyclegan_hf.conversion_layout import map_official_state_dict
from cyclegan_hf.conversion_parity import official_output
from tests.official_networks import Patch, Pixel, Resnet, Unet, randomized


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


def save(path: Path, network: nn.Module, **kwargs: Any) -> Path:
    torch.save(network.state_dict(), path, **kwargs)
    return path


def small_resnet(seed: int = 0, **kwargs: Any) -> nn.Module:
    return randomized(Resnet(**{"width": 4, "blocks": 2, **kwargs}), seed)


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


# Whole conversions, of files.


@pytest.fixture
def official_files(tmp_path: Path) -> dict[str, Path]:
    """G_A and G_B (3 to 1 channels and back) and the discriminators that play with them."""
    networks = {
        "G_A": small_resnet(1, in_channels=3, out_channels=1),
        "G_B": small_resnet(2, in_channels=1, out_channels=3, blocks=3),
        "D_A": randomized(Patch(1, width=2), 3),
        "D_B": randomized(Pixel(3, width=2), 4),
    }
    return {name: save(tmp_path / f"latest_net_{name}.pth", network) for name, network in networks.items()}


def test_both_directions(official_files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "new" / "model"
    report = convert_official_checkpoint(
        [official_files["G_A"], official_files["G_B"]],
        output,
        discriminators=[official_files["D_A"], official_files["D_B"]],
        domain_a="colour",
        domain_b="grey",
    )

    # G_A goes from a to b; D_A plays against it, and so judges domain b.
    roles = {network.role: (network.official_name, network.source) for network in report.networks}
    assert roles == {
        "generator_a2b": ("G_A", "latest_net_G_A.pth"),
        "generator_b2a": ("G_B", "latest_net_G_B.pth"),
        "discriminator_b": ("D_A", "latest_net_D_A.pth"),
        "discriminator_a": ("D_B", "latest_net_D_B.pth"),
    }
    assert PatchDiscriminator.from_pretrained(output / "discriminator_b").config["in_channels"] == 1
    assert (output / "discriminator_a" / "config.json").is_file()
    assert [path.name for path in output.parent.iterdir()] == ["model"]  # no temporary folder stays

    pipe = CycleGANPipeline.from_pretrained(output)
    assert (pipe.config["domain_a"], pipe.config["domain_b"]) == ("colour", "grey")
    sample = torch.rand(1, 3, 64, 64) * 2 - 1
    expected = official_output(torch.load(official_files["G_A"], weights_only=True), sample)
    with torch.no_grad():
        torch.testing.assert_close(pipe.generator_a2b(sample).sample, expected, rtol=0, atol=1e-4)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    translated = pipe(picture, direction="colour2grey", return_cycle=True)
    assert (translated.images[0].mode, translated.images[0].size) == ("L", (70, 50))
    assert (translated.cycles[0].mode, translated.cycles[0].size) == ("RGB", (70, 50))


def test_the_report_accounts_for_every_tensor(official_files: dict[str, Path], tmp_path: Path) -> None:
    generators = [official_files["G_A"], official_files["G_B"]]
    report = convert_official_checkpoint(generators, tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "conversion.json").read_text())
    assert str(tmp_path) not in json.dumps(saved)  # no path of the machine that it was made on
    for network, reported, path in zip(report.networks, saved["networks"], generators, strict=True):
        assert dataclasses.asdict(network) == reported
        source = torch.load(path, weights_only=True)
        assert {entry["source"]: tuple(entry["shape"]) for entry in reported["tensors"]} == {
            name: tuple(tensor.shape) for name, tensor in source.items()
        }
        assert 0 <= reported["max_difference"] < 1e-4
        assert reported["input_size"] == 256
        assert reported["num_parameters"] == sum(tensor.numel() for tensor in source.values())
    assert saved["notes"] == ["The files do not tell the padding: `reflect`, the official default."]

    first, *lines = str(report).splitlines()
    assert str(tmp_path / "model") in first
    assert len(lines) == 3
    assert "generator_b2a = G_B (latest_net_G_B.pth): ResnetGenerator" in lines[1]
    assert "24 tensors, none left over; largest difference" in lines[1]


@pytest.mark.parametrize(
    ("name", "direction", "expected"),
    [
        ("latest_net_G.pth", None, "a2b"),
        ("latest_net_G.pth", "b2a", "b2a"),
        ("200_net_G_A.pth", None, "a2b"),
        ("200_net_G_B.pth", None, "b2a"),
        ("200_net_G_B.pth", "a2b", "a2b"),  # said explicitly, it holds
    ],
)
def test_one_direction(tmp_path: Path, name: str, direction: Any, expected: str) -> None:
    file = save(tmp_path / name, small_resnet(in_channels=3, out_channels=1))
    convert_official_checkpoint([file], tmp_path / "model", direction=direction)
    pipe = CycleGANPipeline.from_pretrained(tmp_path / "model")
    assert (pipe.generator_a2b is not None, pipe.generator_b2a is not None) == (expected == "a2b", expected == "b2a")
    source, target = expected.split("2")
    assert pipe.config[f"image_processor_{source}"]["num_channels"] == 3
    assert pipe.config[f"image_processor_{target}"]["num_channels"] == 1


def test_a_unet_runs_at_the_size_of_its_depth(tmp_path: Path) -> None:
    file = save(tmp_path / "latest_net_G.pth", randomized(Unet(width=2, downs=7)))
    report = convert_official_checkpoint([file], tmp_path / "model")
    assert any("training size (128² by its depth)" in note for note in report.notes)
    pipe = CycleGANPipeline.from_pretrained(tmp_path / "model")
    result = pipe(Image.new("RGB", (200, 100), "green"))
    assert result.images[0].size == (200, 100)
    assert result.sizes == [(64, 128)]


def test_the_outputs_are_compared_at_the_smallest_legal_size_above_256(tmp_path: Path) -> None:
    file = save(tmp_path / "latest_net_G.pth", randomized(Unet(width=1, downs=9)))
    assert convert_official_checkpoint([file], tmp_path / "model").networks[0].input_size == 512


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_file_formats(tmp_path: Path, form: str) -> None:
    network, path = small_resnet(), tmp_path / "latest_net_G.pth"
    match form:
        case "safetensors":
            safetensors.torch.save_file(network.state_dict(), path)
        case _:
            save(path, network, _use_new_zipfile_serialization=form == "zip")
    mapped = load_official_network(path, "generator")
    assert torch.equal(mapped.state_dict["conv_in.1.weight"], network.state_dict()["model.1.weight"])


def test_batch_norm_and_dropout_are_noted(tmp_path: Path) -> None:
    file = save(tmp_path / "latest_net_G.pth", small_resnet(norm="batch", dropout=True))
    discriminator = save(tmp_path / "latest_net_D.pth", randomized(Patch(width=2)))
    report = convert_official_checkpoint([file], tmp_path / "model", discriminators=[discriminator])
    assert [note.split()[0] for note in report.notes] == ["The", "The", "Batch", "Dropout"]


def test_swapped_weights_fail_the_comparison(tmp_path: Path) -> None:
    network = small_resnet()
    path = save(tmp_path / "latest_net_G.pth", network)
    mapped = load_official_network(path, "generator")
    _compared("generator_a2b", path, network.state_dict(), mapped, "reflect")
    first, second = "mid_blocks.0.conv1.weight", "mid_blocks.1.conv1.weight"
    swapped = {**mapped.state_dict, first: mapped.state_dict[second], second: mapped.state_dict[first]}
    with pytest.raises(ValueError, match=r"output differs from the official one's by \d"):
        wrong = dataclasses.replace(mapped, state_dict=swapped)
        _compared("generator_a2b", path, network.state_dict(), wrong, "reflect")
    with pytest.raises(ValueError, match="output differs"):
        _compared("generator_a2b", path, network.state_dict(), mapped, "zero")


def test_nothing_is_left_behind_when_writing_fails(official_files: dict[str, Path], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError):
        convert_official_checkpoint([official_files["G_A"]], blocked / "model")
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_folder_may_be_empty_but_not_full(official_files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    convert_official_checkpoint([official_files["G_A"]], output)
    weights = (output / "generator_a2b" / "diffusion_pytorch_model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="already exists; expected a new or empty folder"):
        convert_official_checkpoint([official_files["G_B"]], output, direction="b2a")
    assert (output / "generator_a2b" / "diffusion_pytorch_model.safetensors").read_bytes() == weights


# What must not be converted.


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("inside", ["alone", "beside tensors"])
def test_no_code_in_a_file_is_run(tmp_path: Path, form: str, inside: str) -> None:
    path, marker = tmp_path / "latest_net_G.pth", tmp_path / "pwned"
    content: Any = Malicious(marker)
    if inside == "beside tensors":
        content = OrderedDict(small_resnet().state_dict(), extra=content)
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError) as error:
        convert_official_checkpoint([path], tmp_path / "model")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not marker.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()  # the file does harm where it is trusted: the test is one


def write_bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def write(content: Any, **kwargs: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **kwargs)


def write_half(**kwargs: Any) -> Callable[[Path], None]:
    def half(path: Path) -> None:
        save(path, small_resnet(), **kwargs)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return half


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")


def write_torchscript(path: Path) -> None:
    with torch.jit.optimized_execution(False):
        torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)), path)


def changed(network: nn.Module, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A state dict with tensors replaced, added or (`None`) removed; `__` stands for a dot."""
    tensors = dict(network.state_dict())
    for name, value in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if value is not None:
            tensors[name.replace("__", ".")] = value
    return tensors


def zero_padded_convolutions() -> dict[str, torch.Tensor]:
    """The official `padding_type="zero"`: without a layer for it, the blocks' convolutions move up."""
    moves = {"conv_block.1.": "conv_block.0.", "conv_block.5.": "conv_block.3."}
    tensors = {}
    for name, tensor in small_resnet().state_dict().items():
        for old, new in moves.items():
            name = name.replace(old, new)
        tensors[name] = tensor
    return tensors


CUT_NAMES = {"model.1.weight": torch.zeros(4, 3, 7, 7), "model.7.filt": torch.zeros(8, 1, 3, 3)}
TINY = {"block_out_channels": (4, 8), "num_res_blocks": 1}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (write_bytes(b""), "is empty"),
        (write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "Git LFS pointer"),
        (write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"), "web page"),
        (write_bytes(b"\n\n  <html>"), "web page"),
        (write_bytes(b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>"), "web page"),
        (write_bytes(b'{"error": "not found"}'), "is no PyTorch weight file"),
        (write_bytes(b"hello, this is a text\n" * 20), "is no PyTorch weight file"),
        (write_bytes(bytes(range(256)) * 4), "is no PyTorch weight file"),
        (write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "is no PyTorch weight file"),
        (write_bytes((10**6).to_bytes(8, "little") + b'{"a": '), "damaged safetensors"),
        (write_half(), "zip archive that PyTorch cannot read, truncated"),
        (write_half(_use_new_zipfile_serialization=False), "is truncated"),
        (write_zip, "zip archive that PyTorch cannot read"),
        (write_torchscript, "is a TorchScript program"),
        (write(nn.Conv2d(3, 3, 3)), "pickled Python objects .`torch.nn.modules.conv.Conv2d`."),
        (write(Resnet(width=2, blocks=1)), "pickled Python objects .`tests.official_networks.Resnet`."),
        (write(torch.zeros(3)), "holds a Tensor; expected a `state_dict`"),
        (write([torch.zeros(3)]), "holds a list; expected a `state_dict`"),
        (write({}), "holds no tensors"),
        (write({"model.1.weight": torch.zeros(3).to_sparse()}), "sparse"),
        (write({"meta": {}, "state_dict": {"generators.a.x": torch.zeros(1)}}), "another framework .*'state_dict'"),
        (write({"epoch": 3, "model": {}}), "another framework .* entries 'epoch', 'model'"),
        (write({"generators.photo.c.conv.weight": torch.zeros(1)}), "an mmagic checkpoint"),
        (write(CUT_NAMES), "CUT with antialiased resampling"),
        (write({f"module.{name}": tensor for name, tensor in CUT_NAMES.items()}), "CUT with antialiased resampling"),
        (
            lambda path: safetensors.torch.save_file({"text_model.weight": torch.zeros(2)}, path),
            "names such as 'text_",
        ),
        (write(ResnetGenerator(**TINY).state_dict()), "already in the layout of diffusers"),
        (write(nn.Sequential(nn.Linear(2, 2)).state_dict()), "2 tensors with names such as '0.weight', '0.bias'"),
        (write({"a\n\x1b[31mb": torch.zeros(1)}), r"names such as 'a\\n\\x1b"),
        (write({"model.1.weight": torch.zeros(4, 3, 7, 7)}), r"1 tensors with names such as 'model\.1\.weight'"),
        (write(Patch(width=2).state_dict()), r"is a discriminator \(PatchDiscriminator\), expected a generator"),
        (write(Pixel(width=2).state_dict()), r"is a discriminator \(PixelDiscriminator\), expected a generator"),
        (write(zero_padded_convolutions()), "residual blocks pad with zeros"),
        (write(changed(small_resnet(), model__1__bias=None)), "would be left over"),
        (
            write(changed(small_resnet(), model__12__weight=None)),
            "as a ResnetGenerator, 'model.12.weight' would be missing",
        ),
        (write(changed(small_resnet(), model__7__bias=torch.zeros(3))), r"`model.7.bias` has shape \(3,\), expected"),
        (write(changed(small_resnet(), model__1__weight=torch.zeros(4))), r"has shape \(4,\), expected a kernel's"),
        (write(changed(small_resnet(), model__1__weight=torch.zeros(4, 3, 3, 3))), r"expected \(4, 3, 7, 7\)"),
        (
            write(changed(small_resnet(), model__1__weight=torch.full((4, 3, 7, 7), torch.nan))),
            "holds NaN or infinity",
        ),
        (write(changed(small_resnet(), model__1__bias=torch.zeros(4, dtype=torch.int64))), "holds torch.int64"),
        (write(changed(small_resnet(), model__99__weight=torch.zeros(4))), "'model.99.weight' would be left over"),
        (write(changed(small_resnet(), model__99__conv_block__1__weight=torch.zeros(4))), "`model.10` to `model.99`"),
    ],
)
def test_refused_as_generator(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "latest_net_G.pth"
    make(path)
    with pytest.raises(ValueError, match=message) as error:
        convert_official_checkpoint([path], tmp_path / "model")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"latest_net_G.pth"}


def test_a_generator_is_no_discriminator(tmp_path: Path) -> None:
    path = save(tmp_path / "latest_net_D_A.pth", small_resnet())
    with pytest.raises(ValueError, match=r"is a generator \(ResnetGenerator\), expected a discriminator"):
        load_official_network(path, "discriminator")


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


@pytest.mark.parametrize(
    ("generators", "discriminators", "settings", "message"),
    [
        ([], [], {}, "expected one generator or two, .* got 0 files"),
        (["G_A", "G_B", "G_A"], [], {}, "expected one generator or two, .* got 3 files"),
        (["G_A", "G_B"], ["D_A"], {}, "one for each generator, got 1 for 2"),
        (["G_B", "G_A"], [], {}, "expected G_A for `generator_a2b`, got latest_net_G_B.pth"),
        (["G_A", "G_B"], ["D_B", "D_A"], {}, "expected D_A for `discriminator_b`, got latest_net_D_B.pth"),
        (["G_A", "G_B"], [], {"direction": "a2b"}, "`direction` is for a single generator"),
        (["G_A"], [], {"direction": "forward"}, "must be 'a2b' or 'b2a', got 'forward'"),
        (["G_A", "G_B"], [], {"domain_a": "x", "domain_b": "x"}, "two different names"),
        (["G_A"], [], {"padding_mode": "replicate"}, "`padding_mode` must be 'reflect' or 'zero'"),
        (["G_A"], [], {"dropout_prob": 2.0}, "dropout probability"),
        (
            ["G_A"],
            ["D_B"],
            {"direction": "a2b"},
            "`discriminator_b` has 3 channels in domain b, `generator_a2b` has 1",
        ),
    ],
)
def test_bad_arguments(
    official_files: dict[str, Path],
    tmp_path: Path,
    generators: list[str],
    discriminators: list[str],
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        convert_official_checkpoint(
            [official_files[name] for name in generators],
            tmp_path / "model",
            discriminators=[official_files[name] for name in discriminators],
            **settings,
        )
    assert not (tmp_path / "model").exists()


def test_generators_must_fit_one_another(tmp_path: Path) -> None:
    forward = save(tmp_path / "latest_net_G_A.pth", small_resnet(in_channels=3, out_channels=1))
    backward = save(tmp_path / "latest_net_G_B.pth", small_resnet(in_channels=3, out_channels=3))
    message = "`generator_b2a` has 3 channels in domain b, `generator_a2b` has 1"
    with pytest.raises(ValueError, match=message):
        convert_official_checkpoint([forward, backward], tmp_path / "model")
    assert not (tmp_path / "model").exists()
