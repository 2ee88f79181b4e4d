"""Shares the device and the memory among all requests, so that nobody's large photo blocks the others."""

import contextlib
import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


SHORT_IN_A_ROW = 3  # turns of short requests, then a long one gets its turn
MAX_OVERTAKEN = 20  # requests that may pass one for which there is not enough memory yet
POLL_SECONDS = 0.5  # how soon a request that waits notices that its visitor has left
TRIM_BYTES = 30_000_000  # a request of this size gives its memory back to the system

_numbers = itertools.count()


@dataclass(eq=False)
class Ticket:
    """One request's place in the line.

    Attributes:
        long: it needs many turns; short requests go first.
        number: its place among requests of its kind; each turn sends it to the end.
    """

    long: bool
    number: int = field(default_factory=lambda: next(_numbers))


class Turns:
    """Gives the device to one request at a time: short ones first, long ones in turn."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[Ticket] = []
        self._busy = False
        self._short_in_a_row = 0

    def join(self, ticket: Ticket) -> None:
        """Put a request in the line."""
        with self._condition:
            self._waiting.append(ticket)
            self._condition.notify_all()

    def leave(self, ticket: Ticket) -> None:
        """Take a request out of the line; harmless if it is not in it."""
        with self._condition:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self._condition.notify_all()

    def ahead(self, ticket: Ticket) -> int:
        """Count the requests that will be served before this one."""
        with self._condition:
            return sum((each.long, each.number) < (ticket.long, ticket.number) for each in self._waiting) + self._busy

    def take(self, ticket: Ticket, timeout: float) -> bool:
        """Wait for a request's turn.

        Args:
            ticket: the request; it must have joined.
            timeout: seconds.

        Returns:
            Whether the device is now this request's. If so, call `give_back` afterwards.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: not self._busy and self._next() is ticket, timeout):
                return False
            others_wait = any(each.long for each in self._waiting)
            self._short_in_a_row = 0 if ticket.long or not others_wait else self._short_in_a_row + 1
            self._busy = True
            ticket.number = next(_numbers)
            return True

    def give_back(self) -> None:
        """End a turn."""
        with self._condition:
            self._busy = False
            self._condition.notify_all()

    def _next(self) -> Ticket:
        due = self._short_in_a_row >= SHORT_IN_A_ROW
        return min(self._waiting, key=lambda ticket: (ticket.long != due, ticket.number))


class MemoryBudget:
    """Limits the bytes that all requests together hold as pictures.

    Args:
        total: bytes. A request that needs more than all of it waits until it is alone.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._condition = threading.Condition()
        self._held = 0
        self._waiting: dict[int, int] = {}  # a request's number → how many passed it

    @contextlib.contextmanager
    def reserved(self, amount: int) -> Iterator[Callable[[float], bool]]:
        """Hold memory while the block runs.

        Args:
            amount: bytes.

        Yields:
            A function that waits for the memory for some seconds, and tells whether it is there.
        """
        need, number = min(amount, self.total), next(_numbers)
        granted = False

        def wait(timeout: float) -> bool:
            nonlocal granted
            with self._condition:
                if self._condition.wait_for(lambda: self._may(need, number), timeout):
                    granted = True
                    self._held += need
                    self._waiting.pop(number)
                    for other in self._waiting:
                        self._waiting[other] += other < number
            return granted

        with self._condition:
            self._waiting[number] = 0
        try:
            yield wait
        finally:
            with self._condition:
                self._waiting.pop(number, None)
                self._held -= need if granted else 0
                self._condition.notify_all()
            if amount >= TRIM_BYTES:
                trim_memory()

    def _may(self, need: int, number: int) -> bool:
        blocked = any(other < number and passed >= MAX_OVERTAKEN for other, passed in self._waiting.items())
        return self._held + need <= self.total and not blocked


def waiting(wait: Callable[[float], bool]) -> Iterator[None]:
    """Yield every half second until `wait` succeeds."""
    while not wait(POLL_SECONDS):
        yield


def trim_memory() -> None:
    """Give freed memory back to the system. glibc keeps it otherwise; other C libraries do not have this call."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
