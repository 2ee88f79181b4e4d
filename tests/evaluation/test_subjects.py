"""What is loaded to be evaluated: weights of a checkpoint, averaged or raw, and its discriminators."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cyclegan_hf.evaluation.subjects import load_subject
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.training.trainer import Trainer
from tests.evaluation.tiny import pipeline
from tests.training.tiny import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that averages, with a checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config(folder, run={"max_train_steps": 3, "checkpointing_steps": 2}, ema={"decay": 0.5})
    Trainer(config).train()
    return folder / "run"


def test_averaged_and_raw_weights_of_a_checkpoint(run: Path) -> None:
    folder = run / "checkpoint-2"
    averaged, raw = (load_subject(str(folder), weights=weights) for weights in ("saved", "raw"))
    assert (averaged.name, averaged.facts["weights"], averaged.facts["step"]) == ("checkpoint-2", "averaged", 2)
    assert (raw.facts["weights"], raw.facts["step"]) == ("raw", 2)
    for subject, file in (
        (averaged, folder / "generator_a2b" / "diffusion_pytorch_model.safetensors"),
        (raw, folder / "training_state" / "generator_a2b.safetensors"),
    ):
        expected = load_file(file)
        for name, tensor in subject.pipeline.generator_a2b.state_dict().items():
            assert torch.equal(tensor, expected[name].float())
    assert averaged.facts["sha256"]["generator_a2b"] != raw.facts["sha256"]["generator_a2b"]
    assert averaged.folder == folder


def test_a_checkpoints_discriminators_judge_as_in_training(run: Path) -> None:
    subject = load_subject(str(run / "checkpoint-2"))
    judge, adversarial = subject.judges["b"]
    assert adversarial == "lsgan"
    images = torch.rand(3, 3, 32, 32)
    scores = judge(images)
    assert scores.shape == (3,)
    weights = load_file(run / "checkpoint-2" / "training_state" / "discriminator_b.safetensors")
    network = PatchDiscriminator(block_out_channels=[4, 8]).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        expected = network(2 * images - 1).prediction.mean((1, 2, 3))
    assert scores.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_pipeline_has_neither(run: Path, tmp_path: Path) -> None:
    subject = load_subject(str(run))
    assert subject.judges == {}
    assert subject.facts["weights"] == "saved"
    with pytest.raises(ValueError, match="expected a checkpoint with raw weights in training_state/, found none"):
        load_subject(str(run), weights="raw")
    pipeline().save_pretrained(tmp_path / "plain")
    assert "step" not in load_subject(str(tmp_path / "plain")).facts
    (tmp_path / "plain" / "metrics.json").write_text(json.dumps({"step": 7, "epoch": 2}), encoding="utf-8")
    assert load_subject(str(tmp_path / "plain")).facts["step"] == 7


def test_the_bundled_weights() -> None:
    subject = load_subject(None)
    assert subject.name == "bundled"
    assert set(subject.facts["sha256"]) == {"generator_a2b", "generator_b2a"}


def test_damaged_state_is_refused_or_said(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = tmp_path / "checkpoint-2"
    shutil.copytree(run / "checkpoint-2", copy)
    (copy / "training_state" / "discriminator_b.safetensors").write_bytes(b"broken")
    assert list(load_subject(str(copy)).judges) == ["a"]
    assert "discriminator_b cannot judge" in caplog.text
    (copy / "training_state" / "generator_a2b.safetensors").unlink()
    with pytest.raises(ValueError, match="expected the raw weights of `generator_a2b`") as error:
        load_subject(str(copy), weights="raw")
    assert "\n" not in str(error.value)
