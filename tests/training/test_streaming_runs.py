"""Runs on data sets: streamed ones go on inside the buffer as if unbroken, and say how long an epoch is, or ask."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.trainer import Trainer
from tests.testing_utils import make_picture, write_domains
from tests.training.data_files import cell
from tests.training.tiny import identical, largest_difference, tiny_config, weights


def write_sets(root: Path) -> None:
    """Domain A as three parquet shards of five rows, B as two tar files of three, test pictures as a folder."""
    import io
    import tarfile

    def png(domain: str, seed: int) -> bytes:
        file = io.BytesIO()
        make_picture(domain, seed, size=40).save(file, "PNG")
        return file.getvalue()

    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    for shard in range(3):
        rows = {"image": [cell(png("A", 5 * shard + row)) for row in range(5)]}
        data = Dataset.from_dict(rows, features=Features({"image": ImageFeature()}))
        data.to_parquet(root / "a" / f"train-{shard}.parquet")
    for shard in range(2):
        with tarfile.open(root / "b" / f"{shard}.tar", "w") as tar:
            for row in range(3):
                picture = png("B", 3 * shard + row)
                member = tarfile.TarInfo(f"{row}.png")
                member.size = len(picture)
                tar.addfile(member, io.BytesIO(picture))
    write_domains(root / "folders", count=2, size=40)


def streaming_config(root: Path, **groups: dict[str, Any]) -> TrainConfig:
    """A tiny run on both, of unknown length: B's shards do not tell."""
    if not (root / "a").exists():
        write_sets(root)
    data = {"a": f"{root}/a/*.parquet", "b": f"{root}/b/*.tar", "streaming": True, "shuffle_buffer": 4}
    data |= {"stream_samples": 3}
    groups["data"] = data | groups.get("data", {})
    groups["lr_scheduler"] = {"unit": "step", "constant": 4, "decay": 4} | groups.get("lr_scheduler", {})
    return tiny_config(root, **groups)


def trained(config: TrainConfig, checkpoint: Path | None = None) -> Trainer:
    trainer = Trainer(config, checkpoint)
    trainer.train()
    return trainer


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path: Path, num_workers: int) -> None:
    run = {"max_train_steps": 8, "checkpointing_steps": 3, "image_pool_size": 2, "train_batch_size": 2}
    config = streaming_config(
        tmp_path, run=run, data={"num_workers": num_workers}, generator={"dropout_prob": 0.5}, ema={"decay": 0.99}
    )
    unbroken = trained(config)
    shutil.move(tmp_path / "run", tmp_path / "unbroken")

    torch.manual_seed(123)  # whatever the process did before
    resumed = trained(config, tmp_path / "unbroken" / "checkpoint-3")
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0
    first, second = (tmp_path / name / "checkpoint-6" / "training_state" for name in ("unbroken", "run"))
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (first, second)]
    assert identical(states[0], states[1])
    (process,) = states[0]["processes"]
    assert process["streams"]["a"]["order"]["sources"][0]["offset"] == 12  # of fifteen rows
    assert json.loads((first / "run.json").read_text())["positions"] == {"a": 12, "b": 12}


def test_a_run_that_is_streamed_is_the_run_that_is_not(tmp_path: Path) -> None:
    streamed = trained(streaming_config(tmp_path))
    shutil.rmtree(tmp_path / "run")
    mapped = trained(streaming_config(tmp_path, data={"streaming": False}))
    assert largest_difference(weights(streamed.raw), weights(mapped.raw)) == 0


def test_a_stream_of_unknown_length_has_no_epochs(tmp_path: Path) -> None:
    config = streaming_config(tmp_path, run={"validation_steps": 2})
    trainer = trained(config)
    assert trainer.total_steps == trainer.steps_per_epoch == 4
    assert "15 of a, an unknown number of b" in (tmp_path / "run" / "README.md").read_text()
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 4
    lines = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 4)]


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ({"run": {"max_train_steps": None}}, "`num_train_epochs` counts epochs"),
        ({"lr_scheduler": {"unit": "epoch"}}, "`lr_scheduler.unit: epoch` counts epochs"),
        ({"evaluation": {"epochs": 1}}, "`evaluation.epochs` counts epochs"),
        ({"losses": {"adaptive": "dwa"}}, "`losses.adaptive` counts epochs"),
    ],
)
def test_what_counts_epochs_needs_to_know_how_long_one_is(
    tmp_path: Path, groups: dict[str, dict[str, Any]], named: str
) -> None:
    groups = {"evaluation": {}} | groups
    groups["evaluation"] |= {"image_size": 32}
    with pytest.raises(ValueError, match=named) as error:
        Trainer(streaming_config(tmp_path, **groups))
    assert "`data.b` is a stream whose length is not known" in str(error.value)
    assert "`--steps-per-epoch`" in str(error.value)
    assert "`--max-train-steps`" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_epoch_of_so_many_steps(tmp_path: Path) -> None:
    config = streaming_config(
        tmp_path,
        run={"max_train_steps": None, "num_train_epochs": 2, "steps_per_epoch": 3},
        lr_scheduler={"unit": "epoch"},
        evaluation={"epochs": 1, "image_size": 32},
        losses={"adaptive": "dwa"},
        data={"test_a": f"{tmp_path}/folders/testA", "test_b": f"{tmp_path}/b/*.tar"},
    )
    trainer = trained(config)
    assert trainer.total_steps == 6
    lines = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6)]
    metrics = json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())
    for kind, counts in (("pictures", {"a": 2, "b": 3}), ("reference", {"a": 3, "b": 3})):
        assert {key: entry["count"] for key, entry in metrics["protocol"][kind].items()} == counts
        assert all(len(entry["fingerprint"]) == 16 for entry in metrics["protocol"][kind].values())


def test_an_epoch_is_a_pass_where_lengths_are_known(tmp_path: Path) -> None:
    write_sets(tmp_path)
    data = {"b": [f"{tmp_path}/a/train-0.parquet", f"{tmp_path}/folders/trainB"]}
    run = {"max_train_steps": None, "num_train_epochs": 2, "train_batch_size": 2}
    assert Trainer(streaming_config(tmp_path, run=run, data=data)).total_steps == 2 * 8  # fifteen of A, seven of B


def test_a_table_in_memory_is_a_folder_for_everything_else(tmp_path: Path) -> None:
    shares = {"test_share": 0.2, "validation_share": 0.2}
    settings: dict[str, Any] = {"streaming": False, "shuffle_buffer": None, **shares}
    run = {"max_train_steps": 6, "validation_steps": 2, "checkpointing_steps": 3}
    config = streaming_config(tmp_path, data=settings, run=run)
    trainer = trained(config)
    splits = (trainer.sources.train, trainer.sources.validation, trainer.sources.test)
    assert [len(split["a"]) for split in splits] == [9, 3, 3]
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    resumed = trained(config, tmp_path / "unbroken" / "checkpoint-3")
    assert largest_difference(weights(trainer.raw), weights(resumed.raw)) == 0


def test_other_sources_than_the_run_began_with_are_refused(tmp_path: Path) -> None:
    config = streaming_config(tmp_path, run={"checkpointing_steps": 2})
    trained(config)
    config.data.a = [f"{config.data.a},weight=2", f"{tmp_path}/folders/trainA"]
    with pytest.raises(ValueError, match="The run began with other pictures"):
        Trainer(config, tmp_path / "run" / "checkpoint-2")
    config.run.allow_other_pictures = True
    with pytest.raises(ValueError, match="The run began with 1 sources, got 2"):
        Trainer(config, tmp_path / "run" / "checkpoint-2")


def test_another_buffer_is_another_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = streaming_config(tmp_path, run={"checkpointing_steps": 2})
    trained(config)
    caplog.clear()
    config.data.shuffle_buffer = 7
    Trainer(config, tmp_path / "run" / "checkpoint-2")
    assert "data.shuffle_buffer: 7, was 4" in caplog.text
