"""One process in an output folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_hf.training.run_lock import LOCK_NAME, check_unlocked, run_lock
from cyclegan_hf.training.stages import train_in_stages
from tests.training.tiny import tiny_config


HOLDER = """
import sys
from pathlib import Path
from cyclegan_hf.training.run_lock import run_lock

with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    owner = hold(tmp_path)
    try:
        for refuse in (lambda: check_unlocked(tmp_path), lambda: run_lock(tmp_path).__enter__()):
            with pytest.raises(ValueError, match=f"in use by process {owner.pid} on .* since 20") as error:
                refuse()
            assert "\n" not in str(error.value)
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == owner.pid
    finally:
        owner.kill()
        owner.wait()
    assert (tmp_path / LOCK_NAME).exists()  # left behind
    check_unlocked(tmp_path)
    with run_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_NAME).exists()


def in_stages(folder: Path) -> None:
    stages = {"batch_sizes": [1], "epochs": [1], "evaluation_epochs": [1], "metric": "swd"}
    train_in_stages(tiny_config(folder, stages=stages))


def in_a_sweep(folder: Path) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    from cyclegan_hf.training.sweep.trials import sweep

    config = tiny_config(folder, evaluation={"metric": "swd", "epochs": 1})
    sweep(config, ["losses.lambda_gan=1,2"], sampler="grid")


@pytest.mark.parametrize("start", [in_stages, in_a_sweep])
def test_the_folder_of_several_runs_is_held_too(tmp_path: Path, start: Callable[[Path], None]) -> None:
    folder = Path(tiny_config(tmp_path).run.output_dir)
    folder.mkdir()
    owner = hold(folder)
    try:
        with pytest.raises(ValueError, match="in use by process"):
            start(tmp_path)
        assert [file.name for file in folder.iterdir()] == [LOCK_NAME]
    finally:
        owner.kill()
        owner.wait()


def test_nothing_is_written_where_nothing_is_held(tmp_path: Path) -> None:
    check_unlocked(tmp_path / "missing")
    with run_lock(tmp_path, wanted=False):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "no JSON", '{"pid": 1}'])
def test_a_file_that_says_nothing_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_NAME).write_text(content)
    with run_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
