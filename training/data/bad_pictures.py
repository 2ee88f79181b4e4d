"""Pictures that cannot be read: skipped, counted, named once, and too many stop the run."""

import logging
from collections.abc import Mapping
from typing import Any


logger = logging.getLogger(__name__)

LEAST_READ = 1000
"""Pictures over which a stream's share is taken at least: one of the first ten is not yet ten per cent."""
_FRUITLESS = 100
"""Unreadable pictures of a stream in a row that are enough, whatever the share."""
_LISTED = 20


class BadPictures:
    """What could not be read of a domain.

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
        of, in_a_row = self._total or LEAST_READ, self._total or _FRUITLESS
        if self._streamed:
            of, in_a_row = max(self.read, min(of, LEAST_READ)), min(in_a_row, _FRUITLESS)
        if len(self.faults) > max(1, self.share * of) or self._fruitless >= in_a_row:
            raise ValueError(self._too_many())
        for number, fault in enumerate(new.values(), start=len(self.faults) - len(new) + 1):
            logger.warning("Skipped a picture (%d of this domain so far): %s", number, fault)

    def _too_many(self) -> str:
        total = f"{self.read} pictures read so far" if self._streamed else f"{self._total} pictures"
        listed = "; ".join(list(self.faults.values())[-_LISTED:])
        more = f"; and {len(self.faults) - _LISTED} that were named before" if len(self.faults) > _LISTED else ""
        return (
            f"{len(self.faults)} of {total} could not be read, more than `data.max_bad_share` ({self.share:g}) "
            f"allows: {listed}{more}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on counting, and to name nothing twice."""
        return {"read": self.read, "faults": dict(self.faults)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.read, self.faults = state["read"], dict(state["faults"])
