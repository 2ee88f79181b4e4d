"""Signals as requests: the first is noted, an echo is ignored, a second one stops."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from training import interruption
from training.interruption import Interrupted, Interruption


def test_a_first_signal_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    with Interruption() as request:
        assert request.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
    assert [record.message for record in caplog.records] == [
        "SIGTERM: saving and stopping after this step; a second one stops at once."
    ]


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
from training.interruption import end_workers_at_exit, leave_signals_to_the_main_process

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
