"""Two endless streams of training examples, unpaired or in pairs, whose whole state is a number each.

The order of a domain's epoch is a function of (seed, domain, epoch), an example's augmentation one of (seed, domain,
epoch, picture). So a stream is resumed by its position alone, whatever its workers had read ahead. Data sets that are
streamed, mixed by weights or shuffled in a buffer have streams of their own: see `row_stream.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.data.bad_images import BadPictures
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.order import Share
from cyclegan_hf.training.data.row_stream import RowStream
from cyclegan_hf.training.data.rows import Picture, open_picture
from cyclegan_hf.training.data.sources import Sources
from cyclegan_hf.training.data.transforms import augment
from cyclegan_hf.training.interruption import end_workers_at_exit, leave_signals_to_the_main_process


class Key(NamedTuple):
    """One example: which picture, in which pass over the domain."""

    epoch: int
    index: int


Example = tuple[torch.Tensor | None, dict[str, str]]
"""A picture in model space (or none, where none could be read), and the fault of each unreadable file by its path."""


class DomainDataset(Dataset[Example]):
    """The training examples of one domain, by `Key`.

    An unreadable picture gives its place to the next one, which comes in its own place too: so a pass is as long for
    all processes, whatever each of them could read. Nothing is raised: an error that leaves a loader's process arrives
    with that process's traceback in its message.

    Args:
        pictures: The domain's pictures.
        processor: Turns pictures into model space.
        config: Augmentation.
        seed: The run's seed.
        domain: 0 for A, 1 for B.
    """

    def __init__(
        self, pictures: Sequence[Picture], processor: ImageProcessor, config: DataConfig, seed: int, domain: int
    ) -> None:
        self.pictures = pictures
        self.processor = processor
        self.config = config
        self.seed = seed
        self.domain = domain

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Key) -> Example:
        bad: dict[str, str] = {}
        for offset in range(len(self.pictures)):
            index = (key.index + offset) % len(self.pictures)
            picture = self.pictures[index]
            try:
                image = open_picture(picture, self.config.values)
            except ValueError as error:
                bad[str(picture)] = str(error)
                continue
            rng = np.random.default_rng([self.seed, self.domain, key.epoch, index])
            return torch.from_numpy(self.processor.to_array(augment(image, self.config, rng, self.domain))), bad
        return None, bad


class StreamBatches(Sampler[list[Key]]):
    """The keys of one process's batches, endlessly, from a position on.

    A pass deals every picture of the domain out once, over all processes together.

    Args:
        num_pictures: Pictures in the domain.
        batch_size: Examples a batch on this process.
        seed: The run's seed.
        domain: 0 for A, 1 for B.
        start: Examples already dealt out, over all processes.
        rank: This process.
        num_processes: How many there are.
    """

    def __init__(
        self, num_pictures: int, batch_size: int, seed: int, domain: int, start: int, rank: int, num_processes: int
    ) -> None:
        self.num_pictures = num_pictures
        self.batch_size = batch_size
        self.seed = seed
        self.domain = domain
        self.start = start
        self.rank = rank
        self.num_processes = num_processes

    def __iter__(self) -> Iterator[list[Key]]:
        first = self.start + self.rank * self.batch_size
        epoch, order = -1, np.empty(0, dtype=np.int64)
        while True:
            keys = []
            for position in range(first, first + self.batch_size):
                now, place = divmod(position, self.num_pictures)
                if now != epoch:
                    epoch = now
                    order = np.random.default_rng([self.seed, self.domain, epoch]).permutation(self.num_pictures)
                keys.append(Key(epoch, int(order[place])))
            yield keys
            first += self.batch_size * self.num_processes


def _collate(examples: list[Example]) -> Example:
    bad: dict[str, str] = {}
    for _, faults in examples:
        bad |= faults
    pictures = [picture for picture, _ in examples if picture is not None]
    return torch.stack(pictures) if len(pictures) == len(examples) else None, bad


class DomainStream:
    """The endless batches of one domain, and the count of what could not be read.

    Args:
        dataset: The domain's examples.
        batch_size: Examples a batch on this process.
        start: Examples already dealt out, over all processes.
        rank: This process.
        num_processes: How many there are.
        order_domain: The domain whose order is followed, where pictures come in pairs; unset, the dataset's own. A
            picture that cannot be read breaks its pair: the next one takes its place.
    """

    def __init__(
        self,
        dataset: DomainDataset,
        batch_size: int,
        start: int,
        rank: int,
        num_processes: int,
        order_domain: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.position = start
        self._step = batch_size * num_processes
        self.bad = BadPictures(dataset.config.max_bad_share, len(dataset))
        order = dataset.domain if order_domain is None else order_domain
        keys = StreamBatches(len(dataset), batch_size, dataset.seed, order, start, rank, num_processes)
        workers = dataset.config.num_workers
        end_workers_at_exit()
        loader = DataLoader(
            dataset,
            batch_sampler=keys,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_main_process,
            generator=torch.Generator(),  # a loader draws a number at its start: not from the networks' generator
        )
        self._batches: Iterator[Example] = iter(loader)

    def __next__(self) -> torch.Tensor:
        """Return the next batch, `(batch_size, channels, size, size)` in model space.

        Raises:
            ValueError: If more pictures than `data.max_bad_share` allows could not be read.
        """
        batch, faults = next(self._batches)
        self.position += self._step
        read = len(self.dataset) if batch is None else len(batch)
        try:
            self.bad.add(read, 0 if batch is None else read, faults)
        except ValueError:
            self.close()  # now: the error's traceback may keep this stream for long
            raise
        assert batch is not None, "nothing but bad pictures is an error"
        return batch

    def close(self) -> None:
        """Let the loader's processes end."""
        self._batches = iter(())

    def state_dict(self) -> dict[str, Any]:
        """Return what this process needs to go on, besides the position."""
        return {"bad": self.bad.state_dict()}


def open_stream(
    sources: Sources,
    key: str,
    processor: ImageProcessor,
    config: DataConfig,
    seed: int,
    share: Share,
    position: int = 0,
    states: Sequence[dict[str, Any]] = (),
) -> DomainStream | RowStream:
    """Return a domain's stream, from where an earlier run left it.

    Args:
        sources: The run's pictures.
        key: `"a"` or `"b"`.
        processor: Turns pictures into model space.
        config: Augmentation, loaders.
        seed: The run's seed.
        share: Which pictures are this process's.
        position: Examples already dealt out, over all processes.
        states: What each process's stream gave as its `state_dict`.
    """
    domain = "ab".index(key)
    if sources.groups.get(key):
        groups, length = sources.groups[key], sources.length(key)
        return RowStream(groups, processor, config, seed, domain, share, states, length)
    dataset = DomainDataset(sources.train[key], processor, config, seed, domain)
    order = 0 if sources.paired else domain
    stream = DomainStream(dataset, share.batch_size, position, share.rank, share.num_processes, order)
    stream.bad.resume([state["bad"] for state in states], share.rank, share.num_processes)
    return stream
