"""Staged training: what each stage is, what passes between them, and that an interruption changes nothing."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.command import parse_command
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import StageConfig
from cyclegan_hf.training.stages import history, stage_configs, stage_seeds, train_in_stages
from cyclegan_hf.training.trainer import Trainer
from tests.metrics.test_inception import save_network
from tests.training.tiny import tiny_config, weights


REPORT = {"batch_sizes": [3, 2, 1], "epochs": [100, 50, 30], "evaluation_epochs": [10, 5, 3], "seed": 1722426635407800}
TINY = {
    "metric": "swd",
    "batch_sizes": [2, 1],
    "epochs": [3, 2],
    "evaluation_epochs": [2, 1],
    "seed": 1722426635407800,
}


def staged(tmp_path: Path, name: str = "run", **groups: dict[str, Any]) -> TrainConfig:
    groups["stages"] = TINY | groups.get("stages", {})
    places = {f"test_{key}": str(tmp_path / "domains" / f"test{key.upper()}") for key in ("a", "b")}
    groups["data"] = places | groups.get("data", {})
    run = {"output_dir": str(tmp_path / name), "max_train_steps": None}
    return tiny_config(tmp_path, **groups | {"run": run | groups.get("run", {})})


def state(folder: Path) -> dict[str, torch.Tensor]:
    """The four networks as they trained."""
    return {
        f"{file.stem}.{key}": tensor
        for file in sorted((folder / "training_state").glob("*.safetensors"))
        for key, tensor in load_file(file).items()
    }


def test_the_reports_stages() -> None:
    config = TrainConfig(stages=StageConfig(**REPORT, metric="gms"))
    plan = stage_configs(config)
    assert [stage.run.train_batch_size for stage in plan] == [3, 2, 1]
    assert [stage.run.num_train_epochs for stage in plan] == [100, 50, 30]
    assert [stage.evaluation.epochs for stage in plan] == [10, 5, 3]
    assert [stage.run.seed for stage in plan] == stage_seeds(1722426635407800, 3)
    assert plan[0].run.seed == 1722426635407800
    assert len({stage.run.seed for stage in plan}) == 3
    assert [stage.run.warm_start for stage in plan] == [
        None, "runs/cyclegan/stage-1/best", "runs/cyclegan/stage-2/best"
    ]  # fmt: skip
    assert {stage.evaluation.metric for stage in plan} == {"gms"}
    assert {stage.optimizer.learning_rate for stage in plan} == {config.optimizer.learning_rate}
    assert not any(stage.stages.epochs for stage in plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [100, 50]}, "`stages.evaluation_epochs` must have one entry a stage each, got 3, 2, 3 entries."),
        ({"evaluation_epochs": []}, "must have one entry a stage each, got 3, 3, 0 entries."),
        ({"batch_sizes": [3, 0, 1]}, "`stages.batch_sizes` must hold numbers of at least 1, got [3, 0, 1]."),
        ({"epochs": [100, -50, 30]}, "`stages.epochs` must hold numbers of at least 1, got [100, -50, 30]."),
        ({"seed": -1}, "`stages.seed` must be at least 0, got -1."),
    ],
)
def test_wrong_lists_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        StageConfig(**REPORT | change)
    assert str(error.value).endswith(message)


def test_a_staged_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train_in_stages(staged(tmp_path, ema={"decay": 0.5}))
    root = tmp_path / "run"
    rows = json.loads((root / "history.json").read_text())["candidates"]
    # Three pictures: two steps an epoch at batch size 2, three at 1. Scored where it is due, and the last always.
    assert [(row["stage"], row["epoch"], row["step"]) for row in rows] == [(1, 2, 4), (1, 3, 6), (2, 1, 3), (2, 2, 6)]
    assert [row["batch_size"] for row in rows] == [2, 2, 1, 1]
    assert {row["seed"] for row in rows[:2]} == {1722426635407800}
    for stage in (1, 2):
        candidates = [row for row in rows if row["stage"] == stage]
        assert [row["chosen"] for row in candidates] == [
            row["mean"] == min(other["mean"] for other in candidates) for row in candidates
        ]
    table = (root / "history.md").read_text()
    assert table.count("| chosen |") == 2
    assert "selecting on the test set" in table
    for said in ("Stage 1 of 2: 3 epochs at batch size 2, scored every 2, seed 1722426635407800.", "Stage 2: epoch"):
        assert said in caplog.text
    assert str(rows[2]["seed"]) in caplog.text

    best = root / "stage-2" / "best"
    published = CycleGANPipeline.from_pretrained(root)
    for name in ("generator_a2b", "generator_b2a"):
        saved = load_file(best / name / "diffusion_pytorch_model.safetensors")
        assert all(torch.equal(saved[key], tensor) for key, tensor in getattr(published, name).state_dict().items())
    told = json.loads((root / "metrics.json").read_text())
    last = told.pop("last")
    assert told == json.loads((best / "metrics.json").read_text())
    assert (last["step"], last["swd"]) == (6, rows[3]["mean"])
    assert {"a2b", "b2a", "spread"} <= last.keys()
    assert not (root / "training_state").exists()
    recipe = TrainConfig.from_yaml(root / "recipe.yaml")
    assert recipe.stages == StageConfig(**TINY)
    assert "## Stages, by swd" in (root / "README.md").read_text()
    assert str(tmp_path) not in (root / "README.md").read_text() + (root / "recipe.yaml").read_text()


def test_weights_and_nothing_else_pass_to_the_next_stage(tmp_path: Path) -> None:
    config = staged(tmp_path, stages={"batch_sizes": [1], "epochs": [2], "evaluation_epochs": [1]})
    train_in_stages(config)
    best = tmp_path / "run" / "stage-1" / "best"
    config.stages = StageConfig(**TINY)
    trainer = Trainer(stage_configs(config)[1])
    now, then = weights(trainer.raw), state(best)
    assert now.keys() == then.keys()
    assert all(torch.equal(now[key], then[key]) for key in now)  # without EMA the best's generators are the raw ones
    assert (trainer.step, trainer.update.pools["a"].images) == (0, [])
    assert not trainer.update.optimizers_g[0].state_dict()["state"]


def test_the_model_that_the_first_stage_started_from_is_named_at_the_end(tmp_path: Path) -> None:
    start = tmp_path / "pulled"
    CycleGANPipeline(*build_networks(tiny_config(tmp_path)).generators).save_pretrained(start)
    (start / "README.md").write_text("---\nbase_model: user/model\n---\n")  # it, too, was trained from another
    stages = {"epochs": [1, 1], "evaluation_epochs": [1, 1]}
    train_in_stages(staged(tmp_path, run={"warm_start": str(start)}, stages=stages))
    for folder in (tmp_path / "run" / "stage-1", tmp_path / "run"):
        assert ModelCard.load(folder / "README.md").data.base_model == "user/model"


def test_the_starting_weights_are_a_candidate_where_that_is_asked_for(tmp_path: Path) -> None:
    train_in_stages(staged(tmp_path, stages={"keep_start": True}, optimizer={"learning_rate": 1e-30}))
    rows = json.loads((tmp_path / "run" / "history.json").read_text())["candidates"]
    assert [(row["stage"], row["epoch"]) for row in rows] == [(1, 2), (1, 3), (2, 0), (2, 1), (2, 2)]
    assert rows[2]["mean"] == rows[0]["mean"]
    assert [row["chosen"] for row in rows] == [True, False, True, False, False]  # nothing after it was better


@pytest.mark.parametrize("stop", ["stage-1/checkpoint-4", "stage-2/checkpoint-4", "stage-2"])
def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path: Path, stop: str) -> None:
    run = {"checkpointing_steps": 2, "image_pool_size": 2}
    groups = {"generator": {"dropout_prob": 0.5}, "ema": {"decay": 0.5}}
    train_in_stages(staged(tmp_path, "unbroken", run=run, **groups))
    shutil.copytree(tmp_path / "unbroken", tmp_path / "run")
    interrupt(tmp_path / "run", stop)

    torch.manual_seed(123)  # whatever the process did before
    flags = ["--output-dir", str(tmp_path / "run"), "--resume-from-checkpoint", "latest"]
    config, checkpoint = parse_command(flags)
    assert checkpoint is None
    train_in_stages(config)
    first, second = tmp_path / "unbroken", tmp_path / "run"
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    compared = [
        file
        for file in files
        if file.suffix in (".safetensors", ".jsonl", ".json", ".md") and file.name not in ("run.json", "training.json")
    ]
    assert len(compared) > 40
    for file in compared:
        if file.name == "README.md":  # which tells the time it took
            continue
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def interrupt(root: Path, stop: str) -> None:
    """Take away what a run that was killed some time after the checkpoint `stop` would not have written."""
    last = root / stop
    for path in [*root.glob("*.json"), *root.glob("*.md"), *root.glob("generator_*"), root / "recipe.yaml"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    stages = sorted(root.glob("stage-*"))
    for folder in stages[stages.index(last if last.parent == root else last.parent) :]:
        if last.parent != folder:
            shutil.rmtree(folder)
            continue
        (folder / "model_index.json").unlink()
        for checkpoint in folder.glob("checkpoint-*"):
            if int(checkpoint.name.partition("-")[2]) > int(last.name.partition("-")[2]):
                shutil.rmtree(checkpoint)


def test_a_folder_with_stages_is_not_begun_again(tmp_path: Path) -> None:
    config = staged(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stages.yaml").write_text(config.to_yaml(), encoding="utf-8")
    places = ["--data.a", "A", "--data.b", "B", "--output-dir", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="holds the stages of an earlier run: go on with `--resume-from-checkpoint"):
        parse_command(places)
    resumed, _ = parse_command([*places, "--resume-from-checkpoint", "latest"])
    assert resumed.stages == config.stages


def test_the_steps_of_a_trial_are_those_of_each_stage(tmp_path: Path) -> None:
    train_in_stages(staged(tmp_path, run={"max_train_steps": 1}))
    rows = json.loads((tmp_path / "run" / "history.json").read_text())["candidates"]
    assert [(row["stage"], row["step"]) for row in rows] == [(1, 1), (2, 1)]


def test_gms_needs_its_network_before_anything_is_written(tmp_path: Path) -> None:
    config = staged(tmp_path, stages={"metric": "gms"})
    with pytest.raises(ValueError, match=r"`stages.metric: gms` needs .*; `--stages.metric swd` needs none\.$"):
        train_in_stages(config)
    assert not (tmp_path / "run").exists()
    config.evaluation.inception = str(save_network(tmp_path / "tiny.pt"))
    config.run.max_train_steps = 1
    train_in_stages(config)
    assert {row["metric"] for row in history(stage_configs(config))} == {"gms"}
