"""`--dry-run`: what it says of a run, and that it leaves nothing behind."""

import re
from pathlib import Path

import pytest

from cyclegan_hf.training.command import parse_command
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.dry_run import dry_run
from tests.testing_utils import write_domains
from tests.training.tiny import tiny_config, write_recipe


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(tmp_path: Path) -> None:
    report = dry_run(tiny_config(tmp_path, run={"max_train_steps": 1000}, lr_scheduler={"unit": "step"}))
    for fact in (
        r"domain a .*3 pictures .*trainA",
        r"generator_a2b +ResnetGenerator, 2,939 parameters",
        r"discriminator_b +PatchDiscriminator, [\d,]+ parameters",
        r"steps +0 to 1000, .*3 steps per epoch",
        r"schedule +Learning rate 0.0002",
        r"time +[\d.e-]+ s per step .* for 1000 steps",
        r"memory +\d\.\d\d GiB",
    ):
        assert re.search(fact, report), (fact, report)
    assert not (tmp_path / "run").exists()


def test_its_time_is_that_of_the_steps_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 100, 100, 101, 101, 103, 103, 106])  # the first step compiles: it doesn't count
    monkeypatch.setattr("cyclegan_hf.training.dry_run.time.perf_counter", lambda: next(ticks))
    report = dry_run(tiny_config(tmp_path, run={"max_train_steps": 90}))
    assert "2 s per step" in report and "3 minutes for 90 steps" in report


def test_a_dry_run_lists_the_stages(tmp_path: Path) -> None:
    stages = {"batch_sizes": [2, 1], "epochs": [4, 3], "evaluation_epochs": [1, 1]}
    report = dry_run(tiny_config(tmp_path, stages=stages, run={"max_train_steps": None}))
    assert re.search(r"steps +0 to 8, with 2 image", report) and re.search(r"then +3 epochs at batch size 1", report)
    assert not (tmp_path / "run").exists()


def test_the_flag_needs_no_free_output_folder_and_is_not_saved(tmp_path: Path) -> None:
    domains, recipe = write_domains(tmp_path / "domains", count=2), write_recipe(tmp_path / "tiny.yaml")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_index.json").write_text("{}")
    words = ["--recipe", str(recipe), "--data.a", str(domains / "trainA"), "--data.b", str(domains / "trainB")]
    words += ["--output-dir", str(tmp_path / "run")]
    config, _ = parse_command([*words, "--dry-run"])
    assert config.run.dry_run and "dry_run" not in config.to_yaml()
    with pytest.raises(ValueError, match="finished pipeline"):
        parse_command(words)


def test_the_flags_on_top_of_the_help_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_command(["--help"])
    text = capsys.readouterr().out
    flags = re.findall(r"--[a-z][\w.-]+", (TrainConfig.__doc__ or "").partition("know first:")[2])
    assert len(flags) == 10
    top, _, table = text.partition("is a flag below.")
    rows = {line.strip("│| ").partition(" ")[0].rstrip(",") for line in table.splitlines()}
    assert "The flags to know first" in top and set(flags) <= rows, set(flags) - rows
