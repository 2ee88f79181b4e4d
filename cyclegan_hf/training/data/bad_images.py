"""Pictures that cannot be read: skipped, counted, named once, and too many stop the run."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import distributed


logger = logging.getLogger(__name__)

LEAST_READ = 1000
"""Pictures over which a stream's share is taken at least: one of the first ten is not yet ten per cent."""
_FRUITLESS = 100
"""Unreadable pictures of a stream in a row that are enough, whatever the share."""
_LISTED = 20


class BadPictures:
    """What could not be read of a domain: by this process, and by the others as far as `take_over` was told.

    Args:
        share: Of the pictures that may be unreadable; one always may.
        total: Pictures in the domain; of a stream, where it is known.
        streamed: The share is of what was read so far, and not of the domain.
    """

    def __init__(self, share: float, total: int | None, streamed: bool = False) -> None:
        self.share = share
        self.read = 0
        self.faults: dict[str, str] = {}
        self._total = total
        self._streamed = streamed
        self._fruitless = 0  # read since the last good one
        self._elsewhere = 0  # read by other processes
        self._untold: dict[str, str] = {}  # faults of which the other processes do not know yet

    def add(self, read: int, good: int, faults: Mapping[str, str]) -> None:
        """Take in some pictures.

        Args:
            read: How many were read.
            good: How many of them could be.
            faults: The faults of the others, by their names.

        Raises:
            ValueError: If there are too many by now, or nothing else; the message lists them.
        """
        self.read += read
        self._fruitless = 0 if good else self._fruitless + read
        new = {name: fault for name, fault in faults.items() if name not in self.faults}
        self.faults |= new
        self._untold |= new
        self._check()
        for number, fault in enumerate(new.values(), start=len(self.faults) - len(new) + 1):
            logger.warning("Skipped a picture (%d of this domain so far): %s", number, fault)

    def news(self) -> dict[str, Any]:
        """Return the news for the other processes, in plain types, once."""
        untold, self._untold = self._untold, {}
        return {"read": self.read, "faults": untold}

    def take_over(self, news: Sequence[Mapping[str, Any]]) -> None:
        """Count what all processes have read; nothing of it is named again.

        Args:
            news: What every process's `news` or `state_dict` gave, this one's too.

        Raises:
            ValueError: If all of it together is too much.
        """
        self._elsewhere = sum(one["read"] for one in news) - self.read
        for one in news:
            self.faults |= {name: fault for name, fault in one["faults"].items() if name not in self.faults}
        self._check()

    def _check(self) -> None:
        of, in_a_row = self._total or LEAST_READ, self._total or _FRUITLESS
        if self._streamed:
            of, in_a_row = max(self.read + self._elsewhere, min(of, LEAST_READ)), min(in_a_row, _FRUITLESS)
        if len(self.faults) > max(1, self.share * of) or self._fruitless >= in_a_row:
            raise ValueError(self._too_many())

    def _too_many(self) -> str:
        total = f"{self.read + self._elsewhere} pictures read so far" if self._streamed else f"{self._total} pictures"
        listed = "; ".join(list(self.faults.values())[-_LISTED:])
        more = f"; and {len(self.faults) - _LISTED} that were named before" if len(self.faults) > _LISTED else ""
        return (
            f"{len(self.faults)} of {total} could not be read, more than `data.max_bad_share` ({self.share:g}) "
            f"allows: {listed}{more}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on counting, and to name nothing twice."""
        return {"read": self.read, "faults": dict(self.faults)}

    def resume(self, states: Sequence[Mapping[str, Any]], rank: int, num_processes: int) -> None:
        """Go on from an earlier run's processes, as many as now or not.

        Args:
            states: What each of them gave as `state_dict`; may be empty.
            rank: This process.
            num_processes: How many there are.
        """
        if len(states) == num_processes:
            self.read = states[rank]["read"]
        elif rank == 0:  # once, for the sum to be right
            self.read = sum(state["read"] for state in states)
        self.take_over(states)


class Stream(Protocol):
    """A domain's stream.

    Attributes:
        bad: What of it could not be read.
    """

    bad: BadPictures


def share_bad_pictures(streams: Mapping[str, Stream]) -> None:
    """Let every process know what the others could not read; all of them must call this.

    Raises:
        ValueError: On every process, if it is too much together.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    told: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(told, {key: stream.bad.news() for key, stream in streams.items()})
    for key, stream in streams.items():
        stream.bad.take_over([news[key] for news in told])
