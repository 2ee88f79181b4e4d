"""The training command with a Hub that refuses, or that is slow when the run is asked to stop."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub.test_push import added
from tests.hub_server import HubServer
from tests.testing_utils import write_domains
from tests.training.tiny import write_recipe


ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds, on a busy machine
pytestmark = pytest.mark.slow


def start(server: HubServer, folder: Path, role: str, *arguments: object) -> subprocess.Popen[str]:
    write_domains(folder / "domains", count=3, size=40)
    write_recipe(folder / "tiny.yaml")
    environment = server.environment(folder / "home", role=role) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "training" / "train.py"), "--recipe", "tiny.yaml", "--output-dir", "run"]
    command += ["--data.a", "domains/trainA", "--data.b", "domains/trainB", "--push-to-hub", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes)


def test_a_token_that_may_not_write_is_told_in_one_line(server: HubServer, tmp_path: Path) -> None:
    process = start(server, tmp_path, "read", "--hub-model-id", "tester/read-only")
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert complaint.startswith("error: this token may not write to tester/read-only") and complaint.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_asked_to_stop_waits_for_its_push(server: HubServer, tmp_path: Path) -> None:
    settings = ["--hub-model-id", "tester/stopped", "--hub-strategy", "checkpoint", "--max-train-steps", 10**6]
    process = start(server, tmp_path, "write", *settings, "--checkpointing-steps", 10**6)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    slow = server.fault("stall", "/tester/stopped/commit/")
    os.killpg(process.pid, signal.SIGTERM)
    while not slow.fired:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    assert process.poll() is None  # it has saved, and waits
    slow.released.set()
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in complaint
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    assert "Waiting for the push to tester/stopped.\n" in complaint and f"Pushed {saved.name}: " in complaint
    assert "last-checkpoint/training_state/run.json" in added(server, "tester/stopped")
    assert list((tmp_path / "run").glob(".push-*")) == []
