"""Whole conversions, of files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline, PatchDiscriminator, convert_official_checkpoint
from cyclegan_hf.official.networks import _compared, load_official_network
from cyclegan_hf.official.parity import official_output
from tests.official.official_networks import Patch, Unet, randomized, save, small_resnet


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


@pytest.mark.parametrize(
    "name",
    [
        "module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "model._orig_mod.{}",  # a part that was compiled alone
    ],
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, name: str) -> None:
    network, path = small_resnet(), tmp_path / "latest_net_G.pth"
    tensors = network.state_dict()
    inner = {key: key.removeprefix("model.") for key in tensors} if name.startswith("model.") else {}
    torch.save({name.format(inner.get(key, key)): tensor for key, tensor in tensors.items()}, path)
    report = convert_official_checkpoint([path], tmp_path / "model").networks[0]
    assert {entry["source"] for entry in report.tensors} == tensors.keys()


def test_an_averaged_model_is_read_without_its_counter(tmp_path: Path) -> None:
    network, path = small_resnet(), tmp_path / "latest_net_G.pth"
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), path)
    mapped = load_official_network(path, "generator")
    assert torch.equal(mapped.state_dict["conv_in.1.weight"], network.state_dict()["model.1.weight"])


@pytest.mark.parametrize("name", ["state_dict", "model", "params_ema"])
def test_a_training_scripts_checkpoint_is_opened(tmp_path: Path, name: str) -> None:
    network, path = small_resnet(), tmp_path / "latest_net_G.pth"
    torch.save({name: network.state_dict(), "epoch": 5, "optimizer": {"state": {}, "param_groups": []}}, path)
    mapped = load_official_network(path, "generator")
    assert torch.equal(mapped.state_dict["conv_in.1.weight"], network.state_dict()["model.1.weight"])
    torch.save({"state_dict": {name: network.state_dict()}}, path)
    assert load_official_network(path, "generator").state_dict.keys() == mapped.state_dict.keys()


def test_batch_norm_and_dropout_are_noted(tmp_path: Path) -> None:
    file = save(tmp_path / "latest_net_G.pth", small_resnet(norm="batch", dropout=True))
    discriminator = save(tmp_path / "latest_net_D.pth", randomized(Patch(width=2)))
    report = convert_official_checkpoint([file], tmp_path / "model", discriminators=[discriminator])
    assert [note.split()[0] for note in report.notes] == ["The", "The", "Batch", "Dropout"]


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_batch_statistics_are_the_official_train_mode(tmp_path: Path, architecture: str) -> None:
    """Of one picture, as the official test.py has it without --eval; each picture of a batch has its own."""
    network = (
        small_resnet(norm="batch") if architecture == "resnet" else randomized(Unet(width=2, downs=5, norm="batch"))
    )
    file = save(tmp_path / "latest_net_G.pth", network)
    report = convert_official_checkpoint([file], tmp_path / "model", batch_statistics=True)
    assert any("own statistics" in note and "without --eval" in note for note in report.notes)
    assert any(name.endswith("running_var") for name in report.networks[0].dropped)
    generator = CycleGANPipeline.from_pretrained(tmp_path / "model").generator_a2b
    samples = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        stored = network.eval()(samples)
        expected = torch.cat([network.train()(sample[None]) for sample in samples])
        found = generator(samples).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (expected - stored).abs().max() > 0.1


def test_batch_statistics_of_official_files_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "latest_net_G.pth", small_resnet(norm="batch"))
    stored = CycleGANPipeline.from_pretrained(tmp_path, official=True)
    assert "--batch-statistics" in caplog.text and "--eval" in caplog.text
    caplog.clear()
    own = CycleGANPipeline.from_pretrained(tmp_path, official=True, batch_statistics=True)
    assert caplog.text == ""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    images = [np.asarray(pipe(picture).images[0], dtype=int) for pipe in (stored, own)]
    assert np.abs(images[0] - images[1]).max() > 10
    own.memory_budget = 1  # in strips, whose statistics are the picture's
    assert np.abs(np.asarray(own(picture).images[0], dtype=int) - images[1]).max() <= 1


def test_batch_statistics_without_batch_norms(tmp_path: Path) -> None:
    file = save(tmp_path / "latest_net_G.pth", small_resnet())
    with pytest.raises(ValueError, match="`batch_statistics` is for generators with batch norm"):
        convert_official_checkpoint([file], tmp_path / "model", batch_statistics=True)
    with pytest.raises(ValueError, match="`batch_statistics` is for files of the official code"):
        CycleGANPipeline.from_pretrained(tmp_path, batch_statistics=True)


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
