"""The record of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan_hf.training.config_groups import RunConfig
from cyclegan_hf.training.record.logs import Record, check_tracker, in_console


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_holds_a_steps_scalars(tmp_path: Path) -> None:
    record = Record(Accelerator(), tmp_path, 0)
    record.scalars(10, {"cycle_a": 0.25, "learning_rate": 2e-4})
    record.scalars(20, {"cycle_a": 0.125, "learning_rate": 2e-4})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"step": 20, "cycle_a": 0.125, "learning_rate": 2e-4}
    assert steps(tmp_path) == [10, 20]


def test_lines_of_a_stretch_that_was_lost_are_dropped(tmp_path: Path) -> None:
    first = Record(Accelerator(), tmp_path, 0)
    for step in (10, 20, 30):
        first.scalars(step, {"x": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 40, "x": 0.')  # cut by a kill
    again = Record(Accelerator(), tmp_path, 20)
    assert steps(tmp_path) == [10, 20]
    again.scalars(30, {"x": 2.0})
    assert steps(tmp_path) == [10, 20, 30]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_the_tracker_gets_scalars_and_pictures(tmp_path: Path) -> None:
    accelerator = Accelerator(log_with="tensorboard", project_dir=tmp_path)
    accelerator.init_trackers("logs")
    record = Record(accelerator, tmp_path, 0)
    record.scalars(7, {"cycle_a": 0.5})
    record.images(7, {"a2b": np.zeros((4, 6, 3), dtype=np.uint8)})
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    (scalar,) = events.Scalars("cycle_a")
    assert (scalar.step, scalar.value) == (7, 0.5)
    (image,) = events.Images("a2b")
    assert (image.step, image.width, image.height) == (7, 6, 4)


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan_hf.training.record.logs.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install wandb"):
        check_tracker(RunConfig(report_to="wandb"))
    check_tracker(RunConfig(report_to="none"))


def test_the_console_shows_both_sides_and_every_term_of_the_generators() -> None:
    scalars = {"generator": 9.0, "gan_a2b": 0.5, "gan_b2a": 0.25, "cycle_a": 1.0, "cycle_b": 2.0, "accuracy_a": 1.0}
    shown = in_console(scalars | {"discriminator_a": 0.5, "discriminator_b": 0.25})
    assert shown == {"generator": "9.000", "discriminator": "0.750", "gan": "0.750", "cycle": "3.000"}
