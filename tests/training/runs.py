"""Training runs in processes of their own, which may be killed: forked from a server that has loaded torch once.

So a run costs what its steps cost, and not the seconds that a new interpreter spends on its imports.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cyclegan_hf.training import __main__ as train
from tests.testing_utils import free_port


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])
PATIENCE = 120  # seconds, on a busy machine


class Run:
    """The training command, as one process or as several that meet over gloo.

    Args:
        arguments: The command line.
        log: File for what a process prints; its rank is added to the name.
        num_processes: How many.
        endless: The processes never end by themselves, so that a kill is never too late.
        variables: Of the environment, of every process.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        log: Path,
        *,
        num_processes: int = 1,
        endless: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.logs = [log.with_name(f"{log.name}-{rank}.txt") for rank in range(num_processes)]
        port = free_port()
        self.processes = []
        for rank, file in enumerate(self.logs):
            environment = {"ACCELERATE_USE_CPU": "1"}
            if num_processes > 1:  # what launchers set
                environment |= {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
                environment |= {name: str(num_processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= variables or {}
            words = [str(word) for word in (arguments[rank] if isinstance(arguments[0], list) else arguments)]
            process = _context.Process(target=_run, args=(words, environment, file, endless))
            process.start()
            self.processes.append(process)

    def ends_well(self) -> str:
        """Wait for it; what its main process has printed."""
        codes = self.wait()
        assert codes == [0] * len(codes), "\n".join(self.printed(rank) for rank in range(len(codes)))
        return self.printed()

    def wait(self, patience: float = PATIENCE) -> list[int]:
        """The exit codes; whoever does not end is killed, with code -9."""
        end = time.monotonic() + patience
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        self.kill()
        return [process.exitcode or 0 for process in self.processes]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something has happened while the run goes on."""
        end = time.monotonic() + PATIENCE
        while not condition():
            alive = all(process.is_alive() for process in self.processes)
            assert alive and time.monotonic() < end, self.printed()
            time.sleep(0.001)

    def kill(self, rank: int | None = None) -> None:
        """SIGKILL to one process, or to all."""
        chosen = self.processes if rank is None else [self.processes[rank]]
        for process in chosen:
            process.kill()
        for process in chosen:
            process.join()

    def printed(self, rank: int = 0) -> str:
        file = self.logs[rank]
        return file.read_text(encoding="utf-8") if file.exists() else ""


def _run(arguments: list[str], variables: dict[str, str], log: Path, endless: bool) -> None:
    """One process of a run, with everything it prints in a file."""
    multiprocessing.set_start_method("fork", force=True)  # of loaders' workers, as in a run of its own
    os.environ.update(variables)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["train.py", *arguments]
    try:
        train.main()
    finally:
        sys.stdout.flush()
        while endless:
            signal.pause()
