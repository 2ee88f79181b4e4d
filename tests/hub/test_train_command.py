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


def start(
    server: HubServer, folder: Path, role: str, *arguments: object, num_processes: int = 1
) -> subprocess.Popen[str]:
    write_domains(folder / "domains", count=3, size=40)
    write_recipe(folder / "tiny.yaml")
    environment = server.environment(folder / "home", role=role) | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    command = [
        sys.executable,
        *(launcher if num_processes > 1 else []),
        str(ROOT / "training" / "train.py"),
        "--recipe",
        "tiny.yaml",
        "--output-dir",
        "run",
    ]
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
    assert "Waiting for the push to tester/stopped, at most " in complaint and f"Pushed {saved.name}: " in complaint
    assert "last-checkpoint/training_state/run.json" in added(server, "tester/stopped")
    assert list((tmp_path / "run").glob(".push-*")) == []


def test_a_stop_does_not_wait_for_a_hub_that_is_mute(server: HubServer, tmp_path: Path) -> None:
    """Its uploads hang in threads of a pool, which Python would wait for at its end."""
    settings = ["--hub-model-id", "tester/mute", "--hub-strategy", "checkpoint", "--max-train-steps", 10**6]
    settings += ["--seed", 77]  # what another test has uploaded would not be sent again
    mute = server.fault("stall", "/lfs/", method="PUT", times=1000)
    process = start(server, tmp_path, "write", *settings, "--checkpointing-steps", 10**6)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    while not mute.fired:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    began = time.monotonic()
    try:
        _, complaint = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - began
    finally:
        mute.times = 0
        mute.released.set()
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in complaint
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    assert f"Not pushed to tester/mute: {saved.name}." in complaint
    assert took < 40, took  # 20 s of waiting, on a busy machine


def test_a_run_that_ends_by_an_error_waits_for_its_push(server: HubServer, tmp_path: Path) -> None:
    """Its loss is NaN at the second step, while the first one's checkpoint is on its way."""
    settings = ["--hub-model-id", "tester/broken", "--hub-strategy", "all", "--checkpointing-steps", 1]
    slow = server.fault("stall", "/tester/broken/commit/")
    process = start(server, tmp_path, "write", *settings, "--optimizer.learning-rate", 1e30)
    deadline = time.monotonic() + PATIENCE
    while not slow.fired:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(5)  # for the second step
    assert process.poll() is None
    slow.released.set()
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "Traceback" not in complaint
    assert "The run has failed (" in complaint and "Waiting for the push to tester/broken, at most " in complaint
    assert complaint.splitlines()[-1].startswith("error: ")
    assert "checkpoint-1/training_state/run.json" in added(server, "tester/broken")


def test_of_two_processes_one_pushes(server: HubServer, tmp_path: Path) -> None:
    settings = ["--hub-model-id", "tester/two", "--hub-strategy", "all", "--max-train-steps", 2]
    process = start(server, tmp_path, "write", *settings, "--checkpointing-steps", 1, num_processes=2)
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaint
    commits = [commit.title for commit in server.repos["models", "tester/two"].commits.values()][1:]
    assert commits == ["checkpoint-1", "checkpoint-2", "End of training"]
    assert len(server.seen("POST", "/tester/two/commit/")) == 3
    assert len(server.seen("POST", "/api/repos/create")) == 1 + 3  # at its start, and with each push
    assert "2 process(es)" in complaint
