"""How many pictures a second a recipe's loaders give, from every kind of source, against what its training step takes.

The sources take turns in one process, on pictures of our own making, and the step comes last, alone: trust the
ratios. The step is the tuned one (bf16, compiled) unless told otherwise: the hungriest. Above 1 the model waits for no
picture. What a GPU would take is computed: the step's arithmetic at a rate that is given.

    python tests/benchmarks/bench_data.py --recipes summer2winter --side 256
    python tests/benchmarks/bench_data.py --recipes mnist2svhn summer2winter_v1 --kinds folder
    python tests/benchmarks/bench_data.py --side 1024 --eager --gpu-tflops 200
"""

import io
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode


ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_train_step import step  # noqa: E402

from cyclegan_hf.training.builders import build_networks, image_processors, num_channels  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path  # noqa: E402
from cyclegan_hf.training.data.normalization import dataset_statistics  # noqa: E402
from cyclegan_hf.training.data.order import Share  # noqa: E402
from cyclegan_hf.training.data.sources import load_sources  # noqa: E402
from cyclegan_hf.training.data.streams import open_stream  # noqa: E402
from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


Kind = Literal["folder", "parquet", "streamed parquet", "streamed webdataset"]
KINDS: tuple[Kind, ...] = ("folder", "parquet", "streamed parquet", "streamed webdataset")
SHARDS = 4


def main(
    recipes: tuple[str, ...] = (),
    kinds: tuple[Kind, ...] = KINDS,
    side: int | None = None,
    pictures: int = 64,
    rounds: int = 5,
    eager: bool = False,
    gpu_tflops: float = 300,
) -> None:
    """Time loaders and training steps.

    Args:
        recipes: Which; by default all.
        kinds: Which sources; recipes that need all pictures at hand have no streams.
        side: Height and width of the JPEG files; by default twice what a recipe loads them at.
        pictures: Files in each domain.
        rounds: Counted turns and steps; two more of each warm up.
        eager: Do not compile the step.
        gpu_tflops: Operations a second, in TFLOP, of the GPU whose need is computed: of a large one about a third of
            what its matrix products reach.
    """
    print(machine_line())
    every = sorted(path.stem for path in (ROOT / "training" / "recipes").glob("*.yaml"))
    for recipe in recipes or every:
        config = TrainConfig.from_yaml(recipe_path(recipe))
        if config.stages.batch_sizes:
            config.run.train_batch_size = max(config.stages.batch_sizes)
        file_side = side or 2 * max(map(max, config.data.load_sizes))
        supply = data_rates(config, kinds, file_side, pictures, rounds)
        demand, work = model_rate(config, rounds, eager)
        large = gpu_tflops * 1e12 / work
        print(
            f"{recipe}, batch {config.run.train_batch_size}: the step takes {demand:,.1f} pictures/s here; computed, "
            f"a GPU at {gpu_tflops:g} TFLOP/s {large:,.0f} ({work / 1e12:.2f} TFLOP a picture)"
        )
        print(f"pictures of {file_side}² from | pictures/s | against a folder | against the step | against the GPU")
        for kind, rate in supply.items():
            shares = [rate / next(iter(supply.values())), rate / demand, rate / large]
            print(f"{kind} | {rate:,.1f} | {' | '.join(f'{share:.2f}' for share in shares)}", flush=True)


def data_rates(config: TrainConfig, kinds: tuple[Kind, ...], side: int, count: int, rounds: int) -> dict[str, float]:
    """Pictures a second, of both domains together, through the trainer's own streams; the kinds take turns."""
    with tempfile.TemporaryDirectory() as folder:
        batch = config.run.train_batch_size
        batches = max(1, 2 * count // batch)  # long enough that what was read ahead does not count for much
        streams = {}
        for kind in kinds:
            config.data.a, config.data.b = (write(Path(folder), kind, domain, side, count) for domain in ("a", "b"))
            config.data.streaming = kind.startswith("streamed")
            try:
                sources = load_sources(config.data)
            except ValueError as error:  # of an option of the recipe's
                print(f"{kind}: {error}")
                continue
            known = config.data.normalization == "dataset"
            found = dataset_statistics(sources.train, config.data, num_channels(config)) if known else None
            streams[kind] = [
                open_stream(sources, key, processor, config.data, 0, Share(batch_size=batch))
                for key, processor in zip(("a", "b"), image_processors(config, found), strict=True)
            ]
        times: dict[str, list[float]] = {kind: [] for kind in streams}
        for _ in range(rounds + 2):
            for kind, pair in streams.items():
                start = time.perf_counter()
                for _ in range(batches):
                    for stream in pair:
                        next(stream)
                times[kind].append(time.perf_counter() - start)
        for pair in streams.values():
            for stream in pair:
                stream.close()
        return {kind: 2 * batch * batches / statistics.median(taken[2:]) for kind, taken in times.items()}


def write(root: Path, kind: Kind, domain: str, side: int, count: int) -> str:
    """A domain's pictures as a source of a kind, where they are not there yet; returns the source."""
    folder = root / f"{kind.removeprefix('streamed ')}-{domain}"
    if folder.exists():
        return str(folder)
    folder.mkdir()
    files = []
    for number in range(count):
        file = io.BytesIO()
        make_picture(domain.upper(), number, side).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    if kind == "folder":
        for number, data in enumerate(files):
            (folder / f"{number:05d}.jpg").write_bytes(data)
        return str(folder)
    for shard in range(SHARDS):
        part = files[shard * count // SHARDS : (shard + 1) * count // SHARDS]
        if kind == "streamed webdataset":
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for number, data in enumerate(part):
                    member = tarfile.TarInfo(f"{number:05d}.jpg")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        else:
            from datasets import Dataset, Features, Image

            rows = {"image": [{"bytes": data, "path": None} for data in part]}
            Dataset.from_dict(rows, features=Features({"image": Image()})).to_parquet(folder / f"{shard}.parquet")
    return str(folder)


def model_rate(config: TrainConfig, rounds: int, eager: bool) -> tuple[float, float]:
    """Pictures a second, of both domains together, that training steps take, and the operations of one picture."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
    networks, pictures = build_networks(config), 2 * config.run.train_batch_size
    plain = step(config, networks, device, tuned=False, layout=layout)
    with FlopCounterMode(display=False) as counter:  # compiled code hides its operators
        plain()
    run = plain if eager else step(config, networks, device, tuned=True, layout=layout)
    return pictures / seconds(run, rounds), counter.get_total_flops() / pictures


def seconds(run: Callable[[], None], rounds: int) -> float:
    """The median of some runs, after two that do not count."""
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    from datasets import disable_progress_bars

    disable_progress_bars()
    tyro.cli(main)
