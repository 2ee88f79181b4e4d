"""This process among those that a launcher started: `torchrun`, `accelerate launch` and their like tell by environment variables."""  # noqa: E501

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cyclegan_hf.errors import one_line


if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Rank and world size of this process.

    Attributes:
        rank: Its number, from 0, over all machines.
        count: How many there are.
        local_rank: Its number on this machine.
        local_count: How many there are on this machine.
        can_meet: Whether the launcher has named an address where they can meet.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    can_meet: bool = False

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Processes:
        """Read `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `LOCAL_WORLD_SIZE` and `MASTER_ADDR`; one process without them.

        Raises:
            ValueError: If they are no numbers that fit together.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        given = {name: environment[name] for name in names if environment.get(name)}
        try:
            numbers = {name: int(value) for name, value in given.items()}
        except ValueError:
            numbers = {"RANK": -1}
        rank, count = numbers.get("RANK", 0), numbers.get("WORLD_SIZE", 1)
        if not 0 <= rank < count:
            told = " ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"expected 0 <= RANK < WORLD_SIZE of the launcher, got {told}")
        return cls(
            rank=rank,
            count=count,
            local_rank=numbers.get("LOCAL_RANK", 0),
            local_count=max(1, numbers.get("LOCAL_WORLD_SIZE", 1)),
            can_meet=count > 1 and bool(environment.get("MASTER_ADDR")),
        )

    @property
    def is_main(self) -> bool:
        """Whether this one speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of a work that all see whole: every `count`-th item."""
        return items[self.rank :: self.count]

    def device(self) -> str | None:
        """Return this process's GPU, if there are several processes and a GPU."""
        if self.count == 1:
            return None
        import torch

        if not torch.cuda.is_available():
            return None
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"

    def share_cores(self) -> None:
        """Let torch use this process's part of the machine: launchers leave each process one core."""
        if self.count > 1:
            import torch

            torch.set_num_threads(cores_of_this_process(self.local_count))

    @contextlib.contextmanager
    def meeting(self) -> Iterator[None]:
        """Let the processes add up numbers within this context; it begins when all are there.

        Raises:
            OSError: If one of them does not come, or ends too early.
        """
        if not self.can_meet:
            yield
            return
        from torch import distributed

        with _another_may_be_gone():
            # They meet at the beginning and once more at the end, however long the slowest takes.
            distributed.init_process_group("gloo", timeout=timedelta(days=365))
        yield
        distributed.destroy_process_group()

    def sum(self, numbers: Sequence[int]) -> list[int]:
        """Add up numbers over the processes, on each of them; return this one's own if they can't meet."""
        if not self.can_meet:
            return list(numbers)
        import torch
        from torch import distributed

        total: torch.Tensor = torch.tensor(numbers, dtype=torch.int64)
        with _another_may_be_gone():
            distributed.all_reduce(total)
        return total.tolist()


@contextlib.contextmanager
def _another_may_be_gone() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch makes of it
        raise OSError(f"another process has ended too early, or never came ({one_line(error, 200)})") from error


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP threads sleep instead of spin, unless the user has set how they wait. Call it before torch loads.

    With a core busy elsewhere, threads that spin for a late one take its time: a step takes several times as long.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}.isdisjoint(environment):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def cores_of_this_process(local_count: int) -> int:
    """Return the CPU cores that this process may use, shared out among `local_count` on this machine."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not have it
        cores = os.cpu_count() or 1
    return max(1, cores // local_count)


def lonely_process_warning(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a warning if `accelerate launch` was asked for several processes and started one; otherwise `None`.

    On processors it does so silently (accelerate 1.15) unless it is told `--multi_gpu`. What gives it away: it names
    an address for the processes to meet at, and no number of them.
    """
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= environment.keys() and "WORLD_SIZE" not in environment:
        return (
            "The launch asked for several processes and started one. On processors, `accelerate launch --multi_gpu "
            "--num_processes N` and `torchrun --nproc_per_node N` start N."
        )
    return None
