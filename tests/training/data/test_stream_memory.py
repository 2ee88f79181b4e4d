"""Memory over a long stream: 100,000 pictures made on the fly take no more than the first ten thousand."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Features, IterableDataset
from datasets import Image as ImageFeature

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.notation import read_sources
from cyclegan_hf.training.data.order import Share
from cyclegan_hf.training.data.row_stream import RowStream
from cyclegan_hf.training.data.shards import Group, StreamShards
from cyclegan_hf.training.data.table_source import DataSet, Labels
from tests.training.data_files import cell


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # 40 seconds of work, on a machine that others use too

SHARDS, ROWS, SIDE = 40, 2500, 24


def made(shards: list[int]) -> Iterator[dict[str, Any]]:
    """Noise as PPM files: 1.7 kB each, and quicker to make than to read."""
    for shard in shards:
        rng = np.random.default_rng(shard)
        for _ in range(ROWS):
            noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8).tobytes()
            yield {"image": cell(b"P6 %d %d 255\n" % (SIDE, SIDE) + noise)}


class Made(DataSet):
    """A data set that is made while it is streamed, in shards, by `datasets`' own generator."""

    def __init__(self) -> None:
        (self.spec,) = read_sources("made", "data.a")
        features = Features({"image": ImageFeature(decode=False)})
        self.stream = IterableDataset.from_generator(
            made, features=features, gen_kwargs={"shards": list(range(SHARDS))}
        )
        self.column, self.secret, self.labels = "image", None, Labels(self.spec, features)

    def streamed(self) -> IterableDataset:
        return self.stream

    def files(self) -> None:
        return None

    def count(self) -> int:
        return SHARDS * ROWS


def resident() -> float:
    """Memory of this process and its loaders, in MB: what each has for itself."""
    total = 0
    for process in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        fields = Path(f"/proc/{process}/smaps_rollup").read_text().split()
        total += int(fields[fields.index("Private_Clean:") + 1]) + int(fields[fields.index("Private_Dirty:") + 1])
    return total / 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux to tell a process's memory")
def test_memory_is_constant_over_a_hundred_thousand_streamed_pictures() -> None:
    config = DataConfig(image_size=16, load_size=(16, 16), num_workers=1, streaming=True)
    groups, batch_size = [Group(StreamShards(Made()), 1.0)], 50
    stream = RowStream(groups, ImageProcessor(), config, 0, 0, Share(batch_size=batch_size))
    curve = []
    for number in range(SHARDS * ROWS // batch_size):
        next(stream)
        if (number + 1) * batch_size % 10_000 == 0:
            curve.append(resident())
            print(f"{(number + 1) * batch_size:,} pictures: {curve[-1]:.0f} MB", flush=True)
    assert stream.order.positions[0].offset == SHARDS * ROWS
    assert max(curve[1:]) - curve[0] < 25  # of 170 MB that all the pictures are together
    stream.close()
