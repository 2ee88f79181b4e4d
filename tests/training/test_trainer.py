"""The loop itself: what it writes, what stops it, and what it goes on from."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import RunConfig
from cyclegan_hf.training.distributed import make_accelerator
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import largest_difference, tiny_config, weights


def trained(config: TrainConfig, checkpoint: Path | None = None) -> Trainer:
    trainer = Trainer(config, checkpoint)
    trainer.train()
    return trainer


def test_the_pipeline_holds_the_trained_generators(tmp_path: Path) -> None:
    trainer = trained(tiny_config(tmp_path))
    pipe = CycleGANPipeline.from_pretrained(tmp_path / "run")
    for name in ("generator_a2b", "generator_b2a"):
        saved, raw = getattr(pipe, name).state_dict(), getattr(trainer.raw, name).state_dict()
        assert all(torch.equal(saved[key], raw[key]) for key in raw)
    assert pipe.image_processor_a.size == (32, 32)


def test_the_pipeline_holds_the_averages_where_there_are_any(tmp_path: Path) -> None:
    trainer = trained(tiny_config(tmp_path, ema={"decay": 0.999}))
    saved = CycleGANPipeline.from_pretrained(tmp_path / "run").generator_a2b.state_dict()
    averaged, raw = trainer.ema[0].module.state_dict(), trainer.raw.generator_a2b.state_dict()
    assert all(torch.equal(saved[key], averaged[key]) for key in saved)
    assert not torch.equal(saved["conv_in.1.weight"], raw["conv_in.1.weight"])


def test_every_term_is_logged_by_its_name(tmp_path: Path) -> None:
    trained(tiny_config(tmp_path, run={"logging_steps": 3}))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4]  # the last one always
    assert set(lines[0]) == {
        *("step", "generator", "gan_a2b", "gan_b2a", "cycle_a", "cycle_b", "identity_a", "identity_b"),
        *("discriminator_a", "discriminator_b", "accuracy_a", "accuracy_b", "learning_rate"),
    }
    weighted = {"gan_a2b": 1, "gan_b2a": 1, "cycle_a": 10, "cycle_b": 10, "identity_a": 5, "identity_b": 5}
    assert lines[0]["generator"] == pytest.approx(sum(w * lines[0][name] for name, w in weighted.items()), rel=1e-5)


def test_a_run_without_identity_has_no_such_terms_and_no_such_samples(tmp_path: Path) -> None:
    generator = {"in_channels": 1, "out_channels": 3}
    config = tiny_config(
        tmp_path, losses={"lambda_identity": 0}, generator=generator, run={"validation_steps": 4, "logging_steps": 4}
    )
    trained(config)
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert "identity_a" not in line
    with Image.open(tmp_path / "run" / "samples" / "0000004-a2b.png") as grid:
        assert grid.width == 3 * 72 + 2 * 4  # input, translation, cycle, at twice their size
    pipe = CycleGANPipeline.from_pretrained(tmp_path / "run")
    assert (pipe.image_processor_a.num_channels, pipe.image_processor_b.num_channels) == (1, 3)


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_term(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, optimizer={"learning_rate": 1e30}, run={"checkpointing_steps": 1})
    with pytest.raises(FloatingPointError, match=r"Step 2: .*cycle_a = nan.*last good checkpoint is .*checkpoint-1"):
        trained(config)
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == ["checkpoint-1", "log.jsonl"]


def test_weights_that_are_no_numbers_are_not_published(tmp_path: Path) -> None:
    # The last step's losses are finite, the weights after it are not.
    config = tiny_config(tmp_path, optimizer={"learning_rate": float("inf")}, run={"max_train_steps": 1})
    with pytest.raises(ValueError, match=r"`generator_a2b.conv_in.1.weight` holds NaN"):
        trained(config)
    assert not (tmp_path / "run" / "model_index.json").exists()


# Dropout draws from the networks' generator, batch norm keeps statistics, the pools keep pictures, and what the
# discriminators see is drawn too.
STATEFUL = {
    "losses": {"discriminator_augmentation": ["color", "translation", "cutout"]},
    "generator": {"dropout_prob": 0.5, "norm_type": "batch"},
    "discriminator": {"norm_type": "batch"},
    "ema": {"decay": 0.99},
    "lr_scheduler": {"constant": 1, "decay": 2},
}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path: Path, num_workers: int) -> None:
    run = {"max_train_steps": 8, "checkpointing_steps": 4, "image_pool_size": 2, "train_batch_size": 2}
    config = tiny_config(tmp_path, run=run, data={"num_workers": num_workers}, **STATEFUL)
    unbroken = trained(config)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")

    torch.manual_seed(123)  # whatever the process did before
    resumed = trained(config, tmp_path / "unbroken" / "checkpoint-4")
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0
    for ours, theirs in zip(unbroken.ema, resumed.ema, strict=True):
        assert largest_difference(ours.state_dict(), theirs.state_dict()) == 0
    for key in ("a", "b"):
        assert torch.equal(
            torch.stack(unbroken.update.pools[key].images), torch.stack(resumed.update.pools[key].images)
        )
    first, second = (tmp_path / name / "checkpoint-8" for name in ("unbroken", "run"))
    for file in first.rglob("*.safetensors"):
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes(), file.name


def test_the_gradient_scaler_goes_on_from_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_scaler(run: RunConfig) -> Accelerator:  # accelerate has one on a GPU in fp16 alone
        accelerator = make_accelerator(run)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, growth_interval=5)
        return accelerator

    monkeypatch.setattr("cyclegan_hf.training.run.make_accelerator", with_scaler)
    config = tiny_config(tmp_path, run={"max_train_steps": 12, "checkpointing_steps": 6})
    unbroken = trained(config)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    resumed = trained(config, tmp_path / "unbroken" / "checkpoint-6")
    scales = [unbroken.accelerator.scaler.state_dict(), resumed.accelerator.scaler.state_dict()]
    assert scales[0] == scales[1]
    assert scales[0]["scale"] not in (2.0**100, 65536.0)  # it has skipped steps and lowered its scale
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0


def test_resuming_under_other_circumstances_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config(tmp_path, run={"checkpointing_steps": 2})
    trained(config)
    caplog.clear()
    Trainer(config, tmp_path / "run" / "checkpoint-2")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    config.run.train_batch_size = 2
    config.run.allow_other_pictures = True
    (tmp_path / "domains" / "trainA" / "000.png").unlink()
    Trainer(config, tmp_path / "run" / "checkpoint-2")
    assert "{'a': 2, 'b': 3}, was {'a': 3, 'b': 3}" in caplog.text
    assert "batch_pictures: 2, was 1" in caplog.text


def test_another_batch_size_goes_on_where_the_streams_stood(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, run={"checkpointing_steps": 1, "max_train_steps": 3})
    trained(config)
    config.run.train_batch_size, config.run.max_train_steps = 2, 4
    trained(config, tmp_path / "run" / "checkpoint-3")
    run = json.loads((tmp_path / "run" / "checkpoint-4" / "training_state" / "run.json").read_text())
    assert run["positions"] == {"a": 5, "b": 5}


def test_an_average_cannot_begin_in_the_middle(tmp_path: Path) -> None:
    trained(tiny_config(tmp_path, run={"checkpointing_steps": 2}))
    with pytest.raises(ValueError, match=r"`ema.decay` cannot be 0.9: .*checkpoint-4 was trained without"):
        Trainer(tiny_config(tmp_path, ema={"decay": 0.9}), tmp_path / "run" / "checkpoint-4")


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    trained(tiny_config(tmp_path, run={"checkpointing_steps": 4}))
    trainer = trained(tiny_config(tmp_path, run={"max_train_steps": 6}), tmp_path / "run" / "checkpoint-4")
    assert trainer.step == 6
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_the_tracker_shows_no_step_twice_after_a_stretch_was_lost(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, run={"checkpointing_steps": 2, "report_to": "tensorboard"})
    trained(config)
    trained(config, tmp_path / "run" / "checkpoint-2")  # the second two steps were lost, as after a kill
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("cycle_a")] == [1, 2, 3, 4]


def test_an_epoch_is_a_pass_over_the_longer_domain(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, run={"max_train_steps": None, "num_train_epochs": 2, "train_batch_size": 2})
    (tmp_path / "domains" / "trainA" / "000.png").unlink()  # 2 and 3 pictures
    assert Trainer(config).total_steps == 4


def test_pictures_come_from_sub_folders_and_the_samples_from_the_test_folders(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, data={"test_a": str(tmp_path / "domains" / "testA")})
    trainer = Trainer(config)
    assert [path.parent.name for path in trainer.sample_pictures["a2b"]] == ["testA", "testA"]
    assert [path.parent.name for path in trainer.sample_pictures["b2a"]] == ["trainB", "trainB"]


def test_leftovers_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    for name in (".checkpoint-3.0a1b2c3d.tmp", ".run.0a1b2c3d.tmp"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-notes").mkdir()
    trained(config)
    assert not list((tmp_path / "run").glob(".*"))
    assert (tmp_path / "run" / "checkpoint-notes").is_dir()


def test_bf16_trains_and_saves_fp32(tmp_path: Path) -> None:
    trainer = trained(tiny_config(tmp_path, run={"mixed_precision": "bf16", "checkpointing_steps": 4}))
    assert trainer.accelerator.mixed_precision == "bf16"
    for file in (tmp_path / "run").rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}


@pytest.mark.slow
def test_a_compiled_run_in_half_precision_resumes_bit_for_bit(tmp_path: Path) -> None:
    run = {"max_train_steps": 6, "checkpointing_steps": 3, "validation_steps": 2, "image_pool_size": 2}
    run |= {"compile": True, "channels_last": True, "mixed_precision": "bf16"}
    config = tiny_config(tmp_path, run=run, ema={"decay": 0.99}, generator={"upsample_type": "resize_conv"})
    unbroken = trained(config)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    torch.compiler.reset()
    resumed = trained(config, tmp_path / "unbroken" / "checkpoint-3")
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0
    for ours, theirs in zip(unbroken.ema, resumed.ema, strict=True):
        assert largest_difference(ours.state_dict(), theirs.state_dict()) == 0


@pytest.mark.parametrize("generator", ["ResnetGenerator", "LocalAffineGenerator"])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_tuned_step_is_the_plain_one(tmp_path: Path, generator: str, compiled: bool) -> None:
    """Compiled, channels innermost, passes in one batch: 20 fp32 steps have the losses of eager and separate ones."""
    run = {"max_train_steps": 20, "image_pool_size": 4}
    # Rounding errors grow with each step, and a game's course with them: small steps keep them what they are.
    settings: dict[str, Any] = {"optimizer": {"learning_rate": 2e-5, "adam_epsilon": 1e-3}}
    settings["generator"] = {"_class_name": generator, "block_out_channels": [8, 16], "num_res_blocks": 1}
    settings["discriminator"] = {"norm_type": "none"}  # instance norm of its few patches makes much of every digit
    plain = Trainer(tiny_config(tmp_path, run=run, **settings))
    plain.update.together = False
    plain.train()
    expected = logged(tmp_path)
    shutil.rmtree(tmp_path / "run")
    torch.compiler.reset()
    trained(tiny_config(tmp_path, run=run | {"compile": compiled, "channels_last": True}, **settings))
    found = logged(tmp_path)
    assert len(found) == len(expected) == 20
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def logged(folder: Path) -> list[dict[str, float]]:
    """The losses of each step of the run in a folder."""
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


@pytest.mark.parametrize("error", [ValueError("a drive went away"), OSError("disk"), RuntimeError("out of memory")])
def test_every_orderly_end_leaves_a_checkpoint(tmp_path: Path, error: Exception) -> None:
    config = tiny_config(tmp_path, run={"max_train_steps": 5})
    trainer = Trainer(config)
    whole = trainer.next_batch

    def fails() -> Any:
        if trainer.step == 3:
            raise error
        return whole()

    trainer.next_batch = fails  # type: ignore[method-assign]
    with pytest.raises(type(error), match=str(error)):
        trainer.train()
    saved = tmp_path / "run" / "checkpoint-3"
    resumed = Trainer(config, saved)
    resumed.train()
    assert resumed.step == 5 and not (tmp_path / "run" / "run.lock").exists()
    unbroken = Trainer(tiny_config(tmp_path, run={"max_train_steps": 5, "output_dir": str(tmp_path / "unbroken")}))
    unbroken.train()
    assert largest_difference(weights(resumed.raw), weights(unbroken.raw)) == 0


@pytest.mark.parametrize(("file", "content"), [("run.json", "[]"), ("run.json", "{}"), ("state.pt", None)])
def test_a_checkpoint_that_only_looks_like_one_is_refused(tmp_path: Path, file: str, content: str | None) -> None:
    config = tiny_config(tmp_path, run={"max_train_steps": 1, "checkpointing_steps": 1})
    Trainer(config).train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    if content is None:
        torch.save({}, checkpoint / "training_state" / file)
    else:
        (checkpoint / "training_state" / file).write_text(content)
    with pytest.raises(ValueError, match=f"checkpoint-1 cannot be resumed from: .*{file}"):
        Trainer(config, checkpoint)


def test_changed_settings_are_told_in_one_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config(tmp_path, run={"max_train_steps": 1, "checkpointing_steps": 1})
    Trainer(config).train()
    caplog.clear()
    Trainer(config, tmp_path / "run" / "checkpoint-1")
    assert "Resumed" not in caplog.text
    config.optimizer.learning_rate, config.losses.lambda_a = 1e-4, 3.0
    Trainer(config, tmp_path / "run" / "checkpoint-1")
    (told,) = [record.getMessage() for record in caplog.records if "Resumed" in record.getMessage()]
    assert "\n  losses.lambda_a: 3.0, was 10.0\n  optimizer.learning_rate: 0.0001, was 0.0002" in told
