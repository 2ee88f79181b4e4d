"""Weights to start from."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.trainer import Trainer
from cyclegan_hf.training.warm_start import load_weights
from tests.official import official_networks
from tests.training.tiny import DISCRIMINATOR, GENERATOR, largest_difference, tiny_config, weights


def fresh_networks(**generator: object) -> Networks:
    return build_networks(TrainConfig(generator=GENERATOR | generator, discriminator=DISCRIMINATOR))


def test_a_checkpoint_of_ours_gives_averages_and_discriminators(tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(tmp_path, run={"checkpointing_steps": 4}, ema={"decay": 0.99}))
    trainer.train()
    networks = fresh_networks()
    load_weights(networks, str(tmp_path / "run" / "checkpoint-4"))
    averaged = Networks(*(ema.module for ema in trainer.ema), *trainer.raw.discriminators)
    assert largest_difference(weights(networks), weights(averaged)) == 0


def test_a_pipeline_gives_the_generators_it_has(tmp_path: Path) -> None:
    networks, source = fresh_networks(), fresh_networks()
    before = weights(networks)
    CycleGANPipeline(generator_b2a=source.generator_b2a).save_pretrained(tmp_path / "one")
    load_weights(networks, str(tmp_path / "one"))
    after = weights(networks)
    expected = {key: weights(source)[key] if key.startswith("generator_b2a") else before[key] for key in before}
    assert largest_difference(after, expected) == 0


def test_half_precision_files_give_full_precision_networks(tmp_path: Path) -> None:
    source = fresh_networks()
    CycleGANPipeline(*(network.half() for network in source.generators)).save_pretrained(tmp_path)
    networks = fresh_networks()
    load_weights(networks, str(tmp_path))
    assert networks.generator_a2b.conv_in[1].weight.dtype == torch.float32
    assert torch.equal(networks.generator_a2b.conv_in[1].weight, source.generator_a2b.conv_in[1].weight.float())


def write_official(folder: Path, names: str = "G_A G_B D_A D_B", epoch: str = "latest") -> dict[str, torch.nn.Module]:
    """Files as the official code leaves them."""
    folder.mkdir(exist_ok=True)
    written = {}
    for seed, name in enumerate(names.split()):
        if name.startswith("G"):
            network: torch.nn.Module = official_networks.Resnet(width=4, blocks=1, downs=1)
        else:
            network = official_networks.Patch(width=4, n_layers=1)
        written[name] = official_networks.randomized(network, seed)
        official_networks.save(folder / f"{epoch}_net_{name}.pth", network)
    return written


def test_official_files_go_to_the_networks_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    official = write_official(tmp_path / "official")
    networks = fresh_networks()
    with caplog.at_level(logging.INFO):
        load_weights(networks, str(tmp_path / "official"))
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    roles = {"generator_a2b": "G_A", "generator_b2a": "G_B", "discriminator_b": "D_A", "discriminator_a": "D_B"}
    with torch.no_grad():
        for ours, theirs in roles.items():
            (found,) = getattr(networks, ours)(picture, return_dict=False)
            assert torch.allclose(found, official[theirs](picture), atol=1e-5), ours
    assert "generator_a2b, generator_b2a, discriminator_b, discriminator_a" in caplog.text


def test_official_generators_alone_leave_the_discriminators(tmp_path: Path) -> None:
    write_official(tmp_path / "official", "G_A")
    networks = fresh_networks()
    before = weights(networks)
    load_weights(networks, str(tmp_path / "official"))
    changed = {key.split(".")[0] for key, tensor in weights(networks).items() if not torch.equal(tensor, before[key])}
    assert changed == {"generator_a2b"}


def test_an_official_export_of_one_direction_goes_from_a_to_b(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = write_official(tmp_path / "official", "G")
    networks = fresh_networks()
    before = weights(networks)
    load_weights(networks, str(tmp_path / "official"))
    changed = {key.split(".")[0] for key, tensor in weights(networks).items() if not torch.equal(tensor, before[key])}
    assert changed == {"generator_a2b"}
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(networks.generator_a2b(picture).sample, official["G"](picture), atol=1e-5)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == f"{tmp_path / 'official'} has no weights for generator_b2a, which starts afresh."


def test_a_copy_for_the_official_test_does_not_stand_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "official"
    official = write_official(folder, "G_A G_B")
    (folder / "latest_net_G.pth").write_bytes((folder / "latest_net_G_B.pth").read_bytes())
    networks = fresh_networks()
    load_weights(networks, str(folder))
    first = next(iter(official["G_A"].state_dict().values()))
    assert torch.equal(networks.generator_a2b.conv_in[1].weight, first)


def test_of_several_epochs_the_latest_is_taken(tmp_path: Path) -> None:
    write_official(tmp_path / "official", "G_A", epoch="5")
    write_official(tmp_path / "official", "D_A G_A", epoch="10")  # other weights
    with pytest.raises(ValueError, match=r"or a latest_net_G_A.pth, found 10_net_G_A.pth, 5_net_G_A.pth"):
        load_weights(fresh_networks(), str(tmp_path / "official"))
    official = write_official(tmp_path / "official", "D_A D_B G_A", epoch="latest")
    networks = fresh_networks()
    load_weights(networks, str(tmp_path / "official"))
    first = next(iter(official["G_A"].state_dict().values()))
    assert torch.equal(networks.generator_a2b.conv_in[1].weight, first)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_compiled_and_wrapped_official_files_are_read(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    official = write_official(tmp_path / "official", "G_A")
    state = {f"{prefix}{name}": tensor for name, tensor in official["G_A"].state_dict().items()}
    file = tmp_path / "official" / "latest_net_G_A.pth"
    torch.save({"state_dict": state, "epoch": 5} if wrapped else state, file)
    networks = fresh_networks()
    load_weights(networks, str(tmp_path / "official"))
    first = next(iter(official["G_A"].state_dict().values()))
    assert torch.equal(networks.generator_a2b.conv_in[1].weight, first)


@pytest.mark.parametrize("kind", ["official", "ours"])
def test_weights_of_another_shape_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    if kind == "official":
        write_official(tmp_path / "source")
    else:
        CycleGANPipeline(*fresh_networks().generators).save_pretrained(tmp_path / "source")
    with pytest.raises(ValueError, match="generator_a2b does not fit this recipe's network: ") as error:
        load_weights(fresh_networks(num_res_blocks=2), str(tmp_path / "source"))
    assert "\n" not in str(error.value)


def test_nothing_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no such folder"):
        load_weights(fresh_networks(), str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no model_index.json"):
        load_weights(fresh_networks(), str(tmp_path))


def test_a_run_starts_from_them_and_counts_from_nought(tmp_path: Path) -> None:
    official = write_official(tmp_path / "official")
    trainer = Trainer(tiny_config(tmp_path, run={"warm_start": str(tmp_path / "official")}, ema={"decay": 0.9}))
    first = next(iter(official["G_A"].state_dict().values()))
    assert trainer.step == 0
    for network in (trainer.raw.generator_a2b, trainer.ema[0].module):
        assert torch.equal(network.conv_in[1].weight, first)


def test_a_resumed_run_does_not_start_again(tmp_path: Path) -> None:
    write_official(tmp_path / "official")
    config = tiny_config(tmp_path, run={"warm_start": str(tmp_path / "official"), "checkpointing_steps": 4})
    trainer = Trainer(config)
    trainer.train()
    resumed = Trainer(config, tmp_path / "run" / "checkpoint-4")
    assert largest_difference(weights(resumed.raw), weights(trainer.raw)) == 0


@pytest.mark.parametrize(("group", "role"), [("generator", "generator_a2b"), ("discriminator", "discriminator_a")])
def test_weights_of_another_norm_are_refused_in_one_line(tmp_path: Path, group: str, role: str) -> None:
    """Instance norm has no weights of its own, so that the shapes would fit."""
    Trainer(tiny_config(tmp_path, run={"checkpointing_steps": 1, "max_train_steps": 1})).train()
    source = tmp_path / "run" / "checkpoint-1"
    networks = build_networks(tiny_config(tmp_path, **{group: {"norm_type": "none"}}))
    with pytest.raises(ValueError) as error:
        load_weights(networks, str(source))
    said = f"`--warm-start {source}`: {role} was trained with `norm_type: instance`, the recipe has 'none'."
    assert str(error.value) == said


def test_a_resumed_run_remembers_that_it_began_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which looks like an id, and is gone by then."""
    monkeypatch.chdir(tmp_path)
    CycleGANPipeline(*fresh_networks().generators).save_pretrained("old/run")
    config = tiny_config(tmp_path, run={"warm_start": "old/run", "max_train_steps": 1, "checkpointing_steps": 1})
    Trainer(config).train()
    shutil.rmtree("old")
    config.run.max_train_steps = 2
    Trainer(config, tmp_path / "run" / "checkpoint-1").train()
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "2 steps of 1" in card and "base_model" not in card
