"""Signals as requests: the first is noted, an echo is ignored, a second one stops."""

import os
import signal
import threading

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
