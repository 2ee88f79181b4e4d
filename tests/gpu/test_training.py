"""The trainer on the GPU: arithmetic, averages, pools, resuming, one NCCL process, and steps that never wait."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from cyclegan_hf.feature_networks import MissingPackageError, weights_file
from cyclegan_hf.training.checkpointing import CONFIG_NAME, RUN_NAME, STATE_FOLDER
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.ema import EmaModel
from cyclegan_hf.training.image_pool import ImagePool
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.step import TrainingStep
from cyclegan_hf.training.trainer import Trainer
from tests.gpu.support import COMPILES, DEVICE, ON_GPU, synchronize
from tests.training.tiny import DISCRIMINATOR, GENERATOR, identical, largest_difference, tiny_config, weights


pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ("no", "bf16", "fp16") if ON_GPU else ("no", "bf16")
SMALL = {
    "generator": GENERATOR | {"block_out_channels": [16, 32]},
    "discriminator": DISCRIMINATOR | {"block_out_channels": [16, 32]},
}


def trainer_of(folder: Path, **groups: dict[str, Any]) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(tiny_config(folder, **SMALL | groups))


def whole_step(trainer: Trainer, next_batch: Callable[[], Any] | None = None) -> dict[str, torch.Tensor]:
    """The loop at a step that logs nothing."""
    values = trainer.update(trainer.step + 1, 1.0, next_batch or trainer.next_batch)
    for average, generator in zip(trainer.ema, trainer.raw.generators, strict=False):
        average.update_parameters(generator)
    trainer.watch.add(values)
    trainer.step += 1
    return values


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


LOSSES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "augmentation": {"losses": {"discriminator_augmentation": ["flip", "light", "color", "translation", "cutout"]}},
    "penalty": {"losses": {"adversarial": "wgan", "lambda_penalty": 10.0}},
    "all terms": {
        "losses": {"adaptive": "dwa", "lambda_source": 0.5, "lambda_edge": 1.0, "lambda_color": 1.0, "lambda_tv": 1.0},
        "optimizer": {"max_grad_norm": 1.0, "discriminator_steps": 2, "separate": True},
        "run": {"steps_per_epoch": 100},
    },
    "frozen features": {"losses": {"discriminator_augmentation": ["flip", "light", "translation"]}},
}


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_never_waits_for_the_device(tmp_path: Path, precision: str, losses: str) -> None:
    """PyTorch raises an error where the CPU waits for the GPU, from loading the images to the running means."""
    run = {"mixed_precision": precision, "train_batch_size": 2, "channels_last": precision != "no"}
    groups = LOSSES[losses] | {"ema": {"decay": 0.9}, "run": LOSSES[losses].get("run", {}) | run}
    config = tiny_config(tmp_path, **SMALL | groups)
    if losses == "frozen features":
        config.discriminator = {"_class_name": "FeatureDiscriminator", "num_channels": 8}
        try:
            weights_file("efficientnet-lite0")
        except MissingPackageError as error:
            pytest.skip(str(error))
    trainer = Trainer(config)
    for _ in range(3):
        values = whole_step(trainer)
    synchronize()
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("error")
    for _ in range(3):
        values = whole_step(trainer)
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in values.values())
    assert all(value.device.type == DEVICE.type for value in values.values())


@pytest.mark.parametrize(
    "run",
    [
        {"channels_last": True},
        {"compile": True, "channels_last": True},
        {"mixed_precision": "bf16", "channels_last": True},
        {"mixed_precision": "bf16", "compile": True, "channels_last": True},
        *([{"mixed_precision": "fp16"}] if ON_GPU else []),
    ],
    ids=lambda run: "-".join(f"{key}" if value is True else str(value) for key, value in run.items()),
)
def test_other_arithmetic_trains_alike(
    tmp_path: Path, run: dict[str, Any], record_property: Callable[..., None]
) -> None:
    """The losses of ten steps, against float32 and eager ones."""
    if run.get("compile") and not COMPILES:
        pytest.skip("compiles on a GPU, or with CYCLEGAN_GPU_COMPILE=1")
    curves = []
    for name, settings in (("plain", {"mixed_precision": "no"}), ("other", run)):
        trainer = trainer_of(tmp_path / name, run=settings)
        curves.append([float(whole_step(trainer)["generator"]) for _ in range(10)])
        if settings.get("mixed_precision") == "fp16":
            assert trainer.accelerator.scaler.get_scale() > 0
        restart()
    plain, other = torch.tensor(curves)
    error = ((other - plain).abs() / plain).max().item()
    record_property("relative_error", float(f"{error:.3g}"))
    assert error < (0.1 if run.get("mixed_precision") else 1e-2)


def restart() -> None:
    """Let the next trainer choose its own precision: accelerate keeps the first one's."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_a_scaled_step_skips_infinite_gradients(tmp_path: Path) -> None:
    if not ON_GPU:
        pytest.skip("fp16 needs a GPU")
    trainer = trainer_of(tmp_path / "run", run={"mixed_precision": "fp16"})
    whole_step(trainer)
    before, scale = weights(trainer.raw), trainer.accelerator.scaler.get_scale()
    images = {key: torch.full((1, 3, 32, 32), float("inf"), device=DEVICE) for key in "ab"}
    trainer.update(2, 1.0, lambda: images)
    after = weights(trainer.raw)
    assert all(torch.equal(before[key], after[key]) for key in before if "generator" in key)
    assert trainer.accelerator.scaler.get_scale() < scale


def test_averages_and_pools_are_on_the_device_and_the_cpus() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    other.load_state_dict(network.state_dict())
    other.to(DEVICE)
    averages = [EmaModel(network, 0.9), EmaModel(other, 0.9)]
    pools = [ImagePool(3, seed=1), ImagePool(3, seed=1)]
    for _ in range(8):
        images = torch.rand(2, 3, 8, 8)
        with torch.no_grad():
            for weight, twin in zip(network.parameters(), other.parameters(), strict=True):
                weight.add_(torch.randn_like(weight))
                twin.copy_(weight)
        for average, model in zip(averages, (network, other), strict=True):
            average.update_parameters(model)
        shown = [pool.query(images.to(device)) for pool, device in zip(pools, ("cpu", DEVICE), strict=True)]
        assert shown[1].device.type == DEVICE.type
        assert torch.equal(shown[0], shown[1].cpu())
    assert all(image.device.type == DEVICE.type for image in pools[1].images)
    for ours, theirs in zip(averages[1].module.parameters(), averages[0].module.parameters(), strict=True):
        assert ours.device.type == DEVICE.type
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_resumed_run_is_the_unbroken_one(tmp_path: Path, deterministic: None, precision: str) -> None:
    """To the last bit, with kernels that add up in a fixed order: zero padding, for reflection has none on CUDA."""
    groups = {
        "run": {"checkpointing_steps": 2, "mixed_precision": precision, "channels_last": True},
        "ema": {"decay": 0.9},
        "generator": SMALL["generator"] | {"padding_mode": "zero"},
    }
    unbroken = trainer_of(tmp_path, **groups)
    unbroken.train()
    restart()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    config = TrainConfig.from_yaml(checkpoint / STATE_FOLDER / CONFIG_NAME)
    config.run.output_dir = str(tmp_path / "again")
    resumed = Trainer(config, checkpoint)
    resumed.train()
    assert largest_difference(weights(resumed.raw), weights(unbroken.raw)) == 0
    assert identical(cpu(resumed.update.state_dict()), cpu(unbroken.update.state_dict()))
    assert identical(cpu(resumed.update.process_state()), cpu(unbroken.update.process_state()))
    for ours, theirs in zip(resumed.ema, unbroken.ema, strict=True):
        assert identical(ours.state_dict(), theirs.state_dict())


def cpu(state: Any) -> Any:
    """A nested state on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: cpu(value) for key, value in state.items()}
    return [cpu(value) for value in state] if isinstance(state, list | tuple) else state


def test_one_process_with_distributed_gradients_is_one_without(tmp_path: Path) -> None:
    """Wrapped as `accelerate` wraps networks of several processes; over NCCL on a GPU."""
    steps = []
    for wrapped in (False, True):
        trainer = trainer_of(tmp_path / str(wrapped))
        if wrapped:
            distributed.init_process_group(
                "nccl" if ON_GPU else "gloo",
                init_method=f"file://{tmp_path}/meeting",
                rank=0,
                world_size=1,
                device_id=torch.device("cuda", 0) if ON_GPU else None,
            )
        try:
            networks = trainer.raw
            if wrapped:
                networks = Networks(
                    **{
                        name: DistributedDataParallel(network, broadcast_buffers=False)
                        for name, network in vars(trainer.raw).items()
                    }
                )
            trainer.update = TrainingStep(networks, trainer.raw, trainer.config, trainer.accelerator)
            steps.append([float(whole_step(trainer)["generator"]) for _ in range(4)])
        finally:
            if wrapped:
                distributed.destroy_process_group()
        restart()
    assert steps[1] == pytest.approx(steps[0], rel=1e-3)


def test_the_command_trains_under_a_launcher(tmp_path: Path, record_property: Callable[..., None]) -> None:
    """`torchrun` with one process: NCCL, samples, an evaluation, a checkpoint, and the finished pipeline."""
    config = tiny_config(tmp_path, evaluation={"epochs": 1}, run={"validation_steps": 2, "checkpointing_steps": 2})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.to_yaml(), encoding="utf-8")
    domains = tmp_path / "domains"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    command += [str(ROOT / "training" / "train.py"), "--recipe", str(recipe), "--output-dir", str(tmp_path / "out")]
    command += [f"--data.test-{key}={domains / f'test{key.upper()}'}" for key in "ab"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (tmp_path / "out" / "model_index.json").is_file()
    facts = json.loads((tmp_path / "out" / "checkpoint-4" / STATE_FOLDER / RUN_NAME).read_text())
    record_property("device", facts.get("device"))
    assert facts["step"] == 4
