"""The endless batches of a domain whose pictures come in the order of `cyclegan_hf/training/data/order.py`.

Three stages run at once: a thread reads rows ahead, the loader's processes decode, resize and augment, and the
training takes batches. How many processes load does not matter to what comes.
"""

import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.data.bad_images import BadPictures
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.order import Dealt, DomainOrder, Position, Share, next_passes
from cyclegan_hf.training.data.rows import open_picture
from cyclegan_hf.training.data.shards import Group
from cyclegan_hf.training.data.transforms import augment
from cyclegan_hf.training.interruption import end_workers_at_exit, leave_signals_to_the_main_process


_PORTION = 16  # rows that the reading thread is asked for at a time
_PREFETCHED = 2  # batches that each of the loader's processes has in hand


class Tag(NamedTuple):
    """An example without its picture: where the order stands after it, and its fault where it has one."""

    drawn: int
    group: int
    after: Position
    name: str
    fault: str | None


Example = tuple[torch.Tensor | None, Tag]
Chunk = tuple[torch.Tensor | None, list[Tag]]
"""The pictures of some examples that could be read, and the tags of all."""


class DealtDataset(Dataset[Example]):
    """Examples from what `DomainOrder` deals out. An unreadable picture is left out: the next one takes its place.

    Args:
        processor: Turns pictures into model space.
        config: Augmentation.
        seed: The run's seed.
        domain: 0 for A, 1 for B.
    """

    def __init__(self, processor: ImageProcessor, config: DataConfig, seed: int, domain: int) -> None:
        self.processor = processor
        self.config = config
        self.seed = seed
        self.domain = domain

    def __getitem__(self, dealt: Dealt) -> Example:
        tag = Tag(dealt.drawn, dealt.group, dealt.after, "", None)
        try:
            image = open_picture(dealt.picture, self.config.values)
        except ValueError as error:
            return None, tag._replace(name=str(dealt.picture), fault=str(error))
        rng = np.random.default_rng([self.seed, self.domain, *dealt.key])
        return torch.from_numpy(self.processor.to_array(augment(image, self.config, rng, self.domain))), tag


class DealtBatches(Sampler[list[Dealt]]):
    """What the loader's processes are given, a batch at a time.

    Args:
        rows: All that is dealt out.
        batch_size: Examples a batch.
        empty: Batches without an example that come first. As many as a loader asks for when it starts, and nothing is
            read before the stream's first batch is wanted: so the second domain's loader forks while the first one's
            reader has no thread yet. Python 3.11 can hang in a fork that meets threads of pyarrow's.
    """

    def __init__(self, rows: Iterator[Dealt], batch_size: int, empty: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.empty = empty

    def __iter__(self) -> Iterator[list[Dealt]]:
        yield from ([] for _ in range(self.empty))
        while True:
            yield [next(self.rows) for _ in range(self.batch_size)]


class ReadAhead(Iterator[Dealt]):
    """What an order deals out; a thread reads up to `count` rows ahead.

    Args:
        order: The order.
        count: Rows that wait.
    """

    def __init__(self, order: DomainOrder, count: int) -> None:
        rows, self._portion = iter(order), max(1, min(_PORTION, count))

        def take(portion: int = self._portion) -> list[Dealt]:  # without `self`, which it would keep alive
            return list(islice(rows, portion))

        self._count = count
        self._take = take
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._pending: deque[Future[list[Dealt]]] = deque()
        self._rows: deque[Dealt] = deque()
        self._end = weakref.finalize(self, _end_reading, order, self._pool)

    def __next__(self) -> Dealt:
        """Return the next row.

        Raises:
            ValueError: If the source cannot be read, or has no picture.
        """
        while not self._rows:
            while len(self._pending) * self._portion < self._count:
                self._pending.append(self._pool.submit(self._take))
            self._rows.extend(self._pending.popleft().result())
        return self._rows.popleft()

    def close(self) -> None:
        """Read no more; returns when the thread has ended."""
        self._end()


def _end_reading(order: DomainOrder, pool: ThreadPoolExecutor) -> None:
    order.stop()
    pool.shutdown(wait=True, cancel_futures=True)


class RowStream:
    """The endless batches of one domain, as `streams.DomainStream`; its state is each process's own.

    Args:
        groups: The domain's sources.
        processor: Turns pictures into model space.
        config: Augmentation, buffer, loaders.
        seed: The run's seed.
        domain: 0 for A, 1 for B.
        share: Which pictures are this process's.
        states: Every process's `state_dict` to go on from; of another number of processes, the next passes begin.
        length: Pictures in a pass, where that is known.

    Raises:
        ValueError: If the states are of other sources.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        processor: ImageProcessor,
        config: DataConfig,
        seed: int,
        domain: int,
        share: Share,
        states: Sequence[dict[str, Any]] = (),
        length: int | None = None,
    ) -> None:
        self.order = DomainOrder(groups, seed, domain, config.buffer, share)
        self.bad = BadPictures(config.max_bad_share, length, streamed=True)
        if states:
            same = len(states) == share.num_processes
            self.order.load_state_dict(
                states[share.rank]["order"] if same else next_passes([state["order"] for state in states])
            )
            self.bad.resume([state["bad"] for state in states], share.rank, share.num_processes)
        self._share = share
        self._ready: deque[Example] = deque()
        self._rows = ReadAhead(self.order, config.buffer)
        end_workers_at_exit()
        loader = DataLoader(
            DealtDataset(processor, config, seed, domain),
            batch_sampler=DealtBatches(self._rows, share.batch_size, empty=config.num_workers * _PREFETCHED),
            num_workers=config.num_workers,
            prefetch_factor=_PREFETCHED if config.num_workers else None,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_main_process,
            generator=torch.Generator(),  # a loader draws a number at its start: not from the networks' generator
        )
        self._chunks: Iterator[Chunk] = iter(loader)

    @property
    def position(self) -> int:
        """Examples dealt out, over all processes."""
        return self.order.drawn * self._share.num_processes

    def __next__(self) -> torch.Tensor:
        """Return the next batch, `(batch_size, channels, size, size)` in model space.

        Raises:
            ValueError: If a source cannot be read, or more of its pictures than `data.max_bad_share` allows.
        """
        try:
            return self._next()
        except ValueError:
            self.close()  # now: the error's traceback may keep this stream for long
            raise

    def _next(self) -> torch.Tensor:
        if not self._ready:
            pictures, tags = next(self._chunks)
            if pictures is not None and len(pictures) == len(tags):  # nearly always
                self._take(tags)
                return pictures
            self._keep(pictures, tags)
        batch: list[torch.Tensor] = []
        while len(batch) < self._share.batch_size:
            while not self._ready:
                self._keep(*next(self._chunks))
            picture, tag = self._ready.popleft()
            self._take([tag])
            if picture is not None:
                batch.append(picture)
        return torch.stack(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return what this process needs to resume after the last batch, in plain types."""
        return {"order": self.order.state_dict(), "bad": self.bad.state_dict()}

    def close(self) -> None:
        """Stop reading: a thread that reads while Python ends would end it with a crash."""
        self._rows.close()
        self._chunks = iter(())

    def _keep(self, pictures: torch.Tensor | None, tags: list[Tag]) -> None:
        rest = iter(() if pictures is None else pictures)
        self._ready.extend((None if tag.fault else next(rest), tag) for tag in tags)

    def _take(self, tags: list[Tag]) -> None:
        for tag in tags:
            self.order.advance(tag.drawn, tag.group, tag.after)
        faults = {tag.name: tag.fault for tag in tags if tag.fault is not None}
        self.bad.add(len(tags), len(tags) - len(faults), faults)


def _collate(examples: list[Example]) -> Chunk:
    pictures = [picture for picture, _ in examples if picture is not None]
    return torch.stack(pictures) if pictures else None, [tag for _, tag in examples]
