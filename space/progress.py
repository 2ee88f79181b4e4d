"""What a tab shows while it works: a bar that stays until the work ends, and the time left."""

import itertools
import time
from collections import OrderedDict
from typing import Any

from uploads import escaped


def status(text: str, share: float | None = None) -> str:
    """Return the HTML of a line of text and, where `share` in [0, 1] is given, a progress bar."""
    bar = "" if share is None else f"<progress max='1' value='{share:.3f}' aria-label='Progress'></progress>"
    return f"<p>{text}</p>{bar}"


def plain_status(text: Any) -> str:
    """As `status`, for text that may hold anything."""
    return status(escaped(text))


class Clock:
    """Estimates how long a job still takes."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def left(self, done: int, total: int) -> str:
        """Return the time left in words; empty while nothing is known."""
        if not done or done >= total:
            return ""
        seconds = self.seconds / done * (total - done)
        return f" · about {seconds:.0f} s left" if seconds < 100 else f" · about {seconds / 60:.0f} minutes left"


class Jobs:
    """Knows each visitor's latest job: an earlier one ends at its next step, and shows nothing more.

    Gradio's own way (`cancels`) loses the race against a job that has just been sent, and lets a stopped job's last
    words arrive after the news that it was stopped (6.31).
    """

    def __init__(self, most: int = 10_000) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._numbers = itertools.count(1)
        self._most = most

    def start(self, session: str | None) -> int:
        """Begin a job, or end the one there is; return its number."""
        number = next(self._numbers)
        self._latest[str(session)] = number
        self._latest.move_to_end(str(session))
        while len(self._latest) > self._most:
            self._latest.popitem(last=False)
        return number

    def is_latest(self, session: str | None, number: int) -> bool:
        return self._latest.get(str(session)) == number
