"""Signals as requests: the first is noted, an echo is ignored, a second one stops."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cyclegan_hf.training import interruption
from cyclegan_hf.training.interruption import Interrupted, Interruption, LastingStream


def test_a_first_signal_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    with Interruption() as request:
        assert request.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
    (message,) = [record.message for record in caplog.records]
    assert message.startswith("SIGTERM: saving and stopping after this step") and str(os.getpid()) in message


def test_the_launchers_echo_is_not_a_second_one() -> None:
    with Interruption() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.number == signal.SIGINT


def test_a_second_signal_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "ECHO_SECONDS", -1.0)
    with Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_terminal_that_closes_after_ctrl_c_is_no_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "ECHO_SECONDS", -1.0)
    with Interruption() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.number == signal.SIGINT
    with Interruption() as request:
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.number == signal.SIGHUP


def test_nohup_stays_what_it_is() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stream_outlives_its_reader() -> None:
    reader, writer = os.pipe()
    stream = LastingStream(os.fdopen(writer, "w", buffering=1))
    stream.write("read\n")
    assert os.read(reader, 100) == b"read\n"
    os.close(reader)
    for _ in range(2):
        assert stream.write("nobody reads this\n") == 18
        stream.flush()
    assert not stream.isatty()


@pytest.mark.parametrize("ends_by", ["Ctrl-C", "closing"])
def test_a_run_outlives_its_terminal(tmp_path: Path, ends_by: str) -> None:
    (tmp_path / "trainer.py").write_text(TERMINAL_TRAINER)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        os.execv(sys.executable, [sys.executable, "trainer.py"])
    wait_for(tmp_path / "begun")
    if ends_by == "Ctrl-C":
        os.write(terminal, b"\x03")
        wait_for(tmp_path / "noted")
    os.close(terminal)
    assert wait_for(tmp_path / "saved") == str(int(signal.SIGINT if ends_by == "Ctrl-C" else signal.SIGHUP))
    assert os.waitpid(process, 0)[1] == 0


TERMINAL_TRAINER = """
import sys, time
from pathlib import Path
from cyclegan_hf.training.interruption import Interruption, LastingStream

sys.stdout, sys.stderr = LastingStream(sys.stdout), LastingStream(sys.stderr)
with Interruption() as request:
    Path("begun").write_text("yes")
    while request.number is None:
        print("training", flush=True)
        time.sleep(0.01)
    Path("noted").write_text("yes")
    for _ in range(50):  # the terminal closes meanwhile
        print("saving", flush=True)
        time.sleep(0.01)
    Path("saved.tmp").write_text(str(int(request.number)))
    Path("saved.tmp").rename("saved")
"""


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in interruption.SIGNALS] != before
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_another_thread_has_no_signals_and_no_error() -> None:
    seen = []

    def work() -> None:
        with Interruption() as request:
            seen.append(request.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_the_exit_code_is_the_shells() -> None:
    assert Interrupted("stopped", signal.SIGTERM).exit_code == 143
    assert isinstance(Interrupted("stopped", signal.SIGINT), KeyboardInterrupt)  # what other commands catch


def test_a_program_ends_although_its_workers_ignore_signals_and_something_holds_them() -> None:
    script = """
import sys
from torch.utils.data import DataLoader
from cyclegan_hf.training.interruption import end_workers_at_exit, leave_signals_to_the_main_process

end_workers_at_exit()
sys.held = iter(DataLoader(range(9), num_workers=2, worker_init_fn=leave_signals_to_the_main_process))
print(next(sys.held))
raise ValueError("an error that nobody expected")
"""
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == "tensor([0])\n"
    assert ended.stderr.endswith("ValueError: an error that nobody expected\n")


LAUNCHER = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]]).wait()"
TRAINER = """
import os, time
from pathlib import Path
from cyclegan_hf.training import interruption

launcher = os.getppid()
interruption.end_with_launcher()
interruption.ECHO_SECONDS = -1.0  # nothing is an echo
with interruption.Interruption() as request:
    Path("begun").write_text(str(os.getpid()))
    while request.number is None:
        time.sleep(0.01)
    Path("noted").touch()
    while os.getppid() == launcher:
        time.sleep(0.01)
    time.sleep(0.2)
    Path("saved.tmp").write_text(str(request.number))
    Path("saved.tmp").rename("saved")
"""


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 120
    while not (file.exists() and (text := file.read_text())):
        assert time.monotonic() < deadline, f"no {file.name}"
        time.sleep(0.01)
    return text


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that its parent has ended")
@pytest.mark.parametrize("name", ["torchrun", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_the_end_of_the_launcher_alone_is_a_request(tmp_path: Path, name: str) -> None:
    """With torchrun's name, the launcher is killed; with accelerate's, Ctrl-C reaches the trainer before that."""
    (tmp_path / name).write_text(LAUNCHER)
    (tmp_path / "trainer").write_text(TRAINER)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    launcher = subprocess.Popen([sys.executable, name, "trainer"], cwd=tmp_path, env=environment)
    trainer = int(wait_for(tmp_path / "begun"))
    if name == "accelerate":
        os.kill(trainer, signal.SIGINT)
        while not (tmp_path / "noted").exists():
            time.sleep(0.01)
    launcher.terminate()
    assert launcher.wait() == -signal.SIGTERM
    assert wait_for(tmp_path / "saved") == str(int(signal.SIGTERM if name == "torchrun" else signal.SIGINT))


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize(
    ("words", "launches"),
    [
        (["python", "-u", "/venv/bin/accelerate", "launch", "train.py"], True),
        (["python3.11", "-m", "accelerate.commands.launch", "--cpu", "train.py"], True),
        (["/usr/bin/python3", "-m", "torch.distributed.run", "train.py"], True),
        (["/venv/bin/python", "/venv/bin/torchrun", "--nproc_per_node", "2", "train.py"], True),
        (["bash"], False),
        (["bash", "torchrun"], False),
        (["/bin/sh", "-c", "torchrun --nproc_per_node 2 train.py; python train.py"], False),
        (["python", "queue.py", "accelerate"], False),
        (["python", "-m", "pytest", "torchrun"], False),
    ],
)
def test_a_launcher_is_known_by_its_command_line(
    words: list[str], launches: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    monkeypatch.setattr(
        interruption, "Path", lambda path: tmp_path / "cmdline" if "/proc" in str(path) else Path(path)
    )
    assert interruption._is_launcher(1) is launches
