"""How many pictures a second a recipe's loaders give, against what its training step takes.

Both are measured alone, one after the other in one process, on pictures of our own making. The step is the tuned one
(bf16, compiled) unless told otherwise: the hungriest. Above 1 the model waits for no picture.

    python tests/benchmarks/bench_data.py --recipes mnist2svhn summer2winter_v1
    python tests/benchmarks/bench_data.py --side 1024 --eager
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_train_step import step  # noqa: E402

from tests.testing_utils import make_picture  # noqa: E402
from training.builders import build_networks, image_processors, num_channels  # noqa: E402
from training.config import TrainConfig, recipe_path  # noqa: E402
from training.data.normalization import dataset_statistics  # noqa: E402
from training.data.streams import DomainDataset, DomainStream  # noqa: E402


def main(
    recipes: tuple[str, ...] = (), side: int | None = None, pictures: int = 64, rounds: int = 5, eager: bool = False
) -> None:
    """Time loaders and training steps.

    Args:
        recipes: Which; by default all.
        side: Height and width of the JPEG files; by default twice what a recipe loads them at.
        pictures: Files in each domain.
        rounds: Counted batches and steps; two more of each warm up.
        eager: Do not compile the step.
    """
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print("recipe | files | data, pictures/s | model, pictures/s | data / model")
    every = sorted(path.stem for path in (ROOT / "training" / "recipes").glob("*.yaml"))
    for recipe in recipes or every:
        config = TrainConfig.from_yaml(recipe_path(recipe))
        if config.stages.batch_sizes:
            config.run.train_batch_size = max(config.stages.batch_sizes)
        file_side = side or 2 * max(map(max, config.data.load_sizes))
        supply = data_rate(config, file_side, pictures, rounds)
        demand = model_rate(config, rounds, eager)
        name = f"{recipe}, batch {config.run.train_batch_size}"
        print(f"{name} | {file_side}² | {supply:,.1f} | {demand:,.1f} | {supply / demand:.1f}", flush=True)


def data_rate(config: TrainConfig, side: int, pictures: int, rounds: int) -> float:
    """Pictures a second, of both domains together, through the trainer's own streams."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for domain in ("a", "b"):
            files[domain] = [Path(folder) / f"{domain}{number:03d}.jpg" for number in range(pictures)]
            for number, path in enumerate(files[domain]):
                make_picture(domain.upper(), number, side).save(path, quality=90)
        statistics_ = None
        if config.data.normalization == "dataset":
            statistics_ = dataset_statistics(files, config.data, num_channels(config))
        batch = config.run.train_batch_size
        streams = [
            DomainStream(DomainDataset(files[domain], processor, config.data, 0, number), batch, 0, 0, 1)
            for number, (domain, processor) in enumerate(
                zip(("a", "b"), image_processors(config, statistics_), strict=True)
            )
        ]
        batches = max(rounds, 4 * pictures // batch)  # long enough that what was read ahead does not count for much

        def some() -> None:
            for _ in range(batches):
                for stream in streams:
                    next(stream)

        return 2 * batch * batches / seconds(some, 1)


def model_rate(config: TrainConfig, rounds: int, eager: bool) -> float:
    """Pictures a second, of both domains together, that training steps take."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
    run = step(config, build_networks(config), device, tuned=not eager, layout=layout)
    return 2 * config.run.train_batch_size / seconds(run, rounds)


def seconds(run: Callable[[], None], rounds: int) -> float:
    """The median of some runs, after two that do not count."""
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    tyro.cli(main)
