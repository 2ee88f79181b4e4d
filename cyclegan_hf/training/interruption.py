"""Ctrl-C, SIGTERM (a preempted machine, a time limit) and a closed terminal as requests that the training loop answers."""  # noqa: E501

import atexit
import contextlib
import ctypes
import errno
import functools
import logging
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch


logger = logging.getLogger(__name__)

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, _HANGUP)))
ECHO_SECONDS = 2.0  # a terminal's Ctrl-C reaches a process directly, and once more through its launcher
_LAUNCHERS = {"accelerate", "accelerate-launch", "torchrun"}
_LAUNCHER_MODULES = {
    *("accelerate.commands.launch", "accelerate.commands.accelerate_cli"),
    *("torch.distributed.run", "torch.distributed.launch"),
}
_PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


class Interrupted(KeyboardInterrupt):
    """A run stopped because it was asked to, with its work saved.

    Args:
        message: How to go on.
        number: The signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # what a shell calls a program that this signal ended


class Interruption:
    """Within this context, a first signal is noted in `number`; a second one, two seconds later, stops at once.

    So a signal never ends a step, a save, or the reading of a picture half-way. Python delivers signals to the main
    thread alone: in any other one this context does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in SIGNALS:
                if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores it for us
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, accelerator: Any, step: int) -> int:
        """Return the signal that any process of the run got, the same on all of them at a step; 0 for none.

        Args:
            accelerator: The run's `accelerate.Accelerator`.
            step: How many steps are made.
        """
        if accelerator.num_processes == 1:
            return self.number or 0
        if accelerator.device.type != "cpu" and step % 10:  # asking at each step would stall a GPU's queue
            return 0
        return int(accelerator.gather(torch.tensor([self.number or 0], device=accelerator.device)).max())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._since = number, time.monotonic()
            _at_parents_end(0)  # that the launcher ends too is then no second one, however long it takes
            name = signal.Signals(number).name
            logger.warning(
                "%s: saving and stopping after this step, even if the prompt comes back before (process %d); a second "
                "one stops at once.",
                *(name, os.getpid()),
            )
        elif number != _HANGUP and time.monotonic() - self._since > ECHO_SECONDS:  # a terminal may close after Ctrl-C
            raise KeyboardInterrupt


class LastingStream:
    """A stream to a terminal or pipe, whose end does not end the run: what is written after it goes nowhere.

    Ctrl-C ends the launcher or the `tee` that reads the log, while the run is still saving; the terminal may close.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        self._do("write", text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        self._do("flush")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _do(self, name: str, *arguments: str) -> None:
        try:
            getattr(self._stream, name)(*arguments)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ENXIO):
                raise
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def end_with_launcher() -> None:
    """Take the end of the launcher that started this process as a SIGTERM: call it first, in the main thread.

    accelerate 1.15 starts one process and waits: a SIGTERM to the launcher alone ends the launcher, tells the trainer
    nothing, and would leave it training for nobody. Any other parent, such as a shell that closes, may end first, and
    so may a launcher where the system is not Linux.
    """
    parent = os.getppid()
    if sys.platform == "linux" and _is_launcher(parent):
        _at_parents_end(signal.SIGTERM)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGTERM)


def _is_launcher(process: int) -> bool:
    """Whether a process is a launcher, by its command line."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")[:8]
    except OSError:  # hidden, or ended
        return False
    if not Path(words[0]).name.startswith("python"):
        return Path(words[0]).name in _LAUNCHERS
    for place, word in enumerate(words[1:], start=1):
        if not word.startswith("-"):  # the script, after the interpreter's own flags
            return word in _LAUNCHER_MODULES if words[place - 1] == "-m" else Path(word).name in _LAUNCHERS
    return False


def _at_parents_end(number: int) -> None:
    """Which signal Linux sends this process when its parent ends; 0 for none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def leave_signals_to_the_main_process(worker: int) -> None:
    """For a loader's worker: signals to the whole group must not end it before the step that waits for its pictures.

    A worker ends when its main process tells it to or is gone.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@functools.cache  # once a process
def end_workers_at_exit() -> None:
    """Call it before a loader starts: workers that are still there when the program ends are then ended too.

    Python sends them a SIGTERM, which they ignore, and would wait for them for ever. What is registered last is
    called first.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes an ended worker for a fault
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
