"""What sleeping OpenMP threads cost on an idle machine, and what they gain beside a busy process.

Threads that wait can spin or sleep (`OMP_WAIT_POLICY`, which torch reads when it loads). A process of each kind takes
turns, a round alone and a round beside busy loops: trust the ratios within a round.

    python tests/benchmarks/bench_threads.py
    python tests/benchmarks/bench_threads.py --recipe summer2winter --size 32 --rounds 8
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

BUSY = "while True: pass"
WORKER = """
import sys, time
import torch
from accelerate import Accelerator
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig, recipe_path
from cyclegan_hf.training.step import TrainingStep

recipe, size, threads, steps = sys.argv[1], *map(int, sys.argv[2:])
config = TrainConfig.from_yaml(recipe_path(recipe))
config.data.image_size, config.data.load_size = size, (size, size)
torch.set_num_threads(threads)
networks = build_networks(config)
update = TrainingStep(networks, networks, config, Accelerator(cpu=True))
batch = {key: torch.rand(1, 3, size, size) * 2 - 1 for key in "ab"}
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(steps):
        update(1, 1.0, lambda: batch)
    print(time.perf_counter() - start, flush=True)
"""


class Worker:
    """A process that makes training steps on request.

    Args:
        policy: Its `OMP_WAIT_POLICY`; empty leaves libgomp's own, which spins for a while.
        arguments: Of `WORKER`.
    """

    def __init__(self, policy: str, arguments: list[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environment |= {"PYTHONPATH": str(ROOT)} | ({"OMP_WAIT_POLICY": policy} if policy else {})
        command = [sys.executable, "-c", WORKER, *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def seconds(self) -> float:
        """Make the steps once, and return how long they took."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main(recipe: str = "summer2winter", size: int = 32, threads: int = 2, steps: int = 1, rounds: int = 8) -> None:
    """Compare both kinds.

    Args:
        recipe: Whose networks are trained.
        size: Side of the pictures.
        threads: Of each process.
        steps: Training steps a turn.
        rounds: Rounds alone, and as many beside busy loops.
    """
    workers = {name: Worker(policy, [recipe, *map(str, (size, threads, steps))]) for name, policy in KINDS.items()}
    try:
        for worker in workers.values():
            worker.seconds()  # warm-up
        for busy in (0, 1):
            loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
            try:
                times = {name: [] for name in workers}
                for _ in range(rounds):
                    for name, worker in workers.items():
                        times[name].append(worker.seconds())
            finally:
                for loop in loops:
                    loop.kill()
            ratios = [slow / fast for slow, fast in zip(times["spinning"], times["sleeping"], strict=True)]
            medians = {name: statistics.median(seconds) for name, seconds in times.items()}
            print(
                f"{busy} busy loops: spinning {medians['spinning']:.2f} s, sleeping {medians['sleeping']:.2f} s, "
                f"{statistics.median(ratios):.2f}x as fast ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )
    finally:
        for worker in workers.values():
            worker.process.kill()


KINDS = {"spinning": "", "sleeping": "PASSIVE"}

if __name__ == "__main__":
    tyro.cli(main)
