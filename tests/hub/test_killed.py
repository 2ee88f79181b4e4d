"""A pusher that is killed in the middle of its upload: nothing of it can be seen, and the next one goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from tests.hub_server import HubServer


ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds, on a busy machine


def test_a_killed_push_leaves_nothing_to_be_seen(server: HubServer, tmp_path: Path) -> None:
    for number, name in enumerate(("summer", "winter")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9), (number, 0, 99)).save(tmp_path / name / "0.png")
    command = [sys.executable, "-m", "cyclegan_hf.cli", "dataset", "push", "summer", "winter", "tester/killed"]
    command += ["--license", "mit"]
    environment = server.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    # The first of two uploads passes, the second one hangs: one is there by then.
    stall = server.fault("stall", "/lfs/", method="PUT", after=1)
    pusher = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE
    while not stall.fired or not any(request.status == 200 for request in server.seen("PUT", "/lfs/")):
        assert pusher.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(pusher.pid, signal.SIGKILL)
    pusher.wait(PATIENCE)
    stall.released.set()
    repo = server.repos["datasets", "tester/killed"]
    assert len(repo.commits) == 1 and list(server.files("dataset", "tester/killed")) == [".gitattributes"]

    server.requests.clear()
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert len(repo.commits) == 2
    assert {"README.md", "trainA/00000-of-00001.parquet", "trainB/00000-of-00001.parquet"} < set(
        server.files("dataset", "tester/killed")
    )
    assert len(server.seen("PUT", "/lfs/")) == 1  # what had arrived is not sent again
