"""The order of a domain's pictures where its sources are streamed, mixed by weight, or shuffled in a buffer.

A pass over a source shuffles its shards, reads them one after the other, and shuffles what it reads in blocks of
`data.shuffle_buffer` rows; the first block of a pass is of a random length, so that one shard alone is not cut alike
in every pass. All of this is a function of (seed, domain, source, pass) and of the shards' lengths. A position is
therefore two numbers, the pass and the rows dealt out in it: going on reads the block at hand again, and nothing has
to be kept of what the buffer held.

Between processes a source is shared out in one of two ways, as `datasets.distributed.split_dataset_by_node` does:

- where the shards can be shared out evenly, each process has shards of its own, other ones in every pass. Each picture
  comes once a pass; a process whose shards are shorter begins its next pass earlier;
- otherwise every process reads all shards and keeps its turns, batch by batch: the order is that of one process with a
  larger batch, and what is read is read by each of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cyclegan_hf.training.data.rows import Picture, Row, digest
from cyclegan_hf.training.data.shards import Group, JoinedShards, Shards, StreamShards


_CHUNK = 1024  # draws of a mix that one random state gives
_EMPTY_PASSES = 10  # of a process whose share may be empty by chance
_SHARDS, _CUT, _BLOCK, _MIX = range(4)  # what random numbers are for


class Position(NamedTuple):
    """How far a source is.

    Attributes:
        epoch: The pass.
        offset: Rows of the pass dealt out: on this process, or where processes take turns, on all.
        start: Rows of earlier passes, where processes take turns.
    """

    epoch: int = 0
    offset: int = 0
    start: int = 0


class Dealt(NamedTuple):
    """A picture that is dealt out.

    Attributes:
        picture: The picture.
        key: What its augmentation is drawn from, beside the run's seed and the domain: pass, source, shard and row.
        drawn: Pictures that this process was dealt so far, with this one.
        group: Its source's number.
        after: Where its source stands after it.
    """

    picture: Picture
    key: tuple[int, int, int, int]
    drawn: int
    group: int
    after: Position


@dataclass(kw_only=True)
class Share:
    """Which pictures of a stream this process gets.

    Attributes:
        rank: This process.
        num_processes: How many there are.
        batch_size: Pictures of a turn, where they take turns.
    """

    rank: int = 0
    num_processes: int = 1
    batch_size: int = 1


class SourceOrder:
    """One source's pictures on one process, pass after pass.

    Args:
        shards: The source.
        seed: The run's seed, the domain and the source's number.
        buffer: Rows that are shuffled among themselves.
        share: This process's.
    """

    def __init__(self, shards: Shards, seed: tuple[int, int, int], buffer: int, share: Share) -> None:
        self.shards = shards
        self.seed = seed
        self.buffer = buffer
        self.share = share
        # Only who sees all rows finds repeats; where walking costs nothing, turns keep the order of one process.
        processes = share.num_processes
        self.takes_turns = processes == 1 or shards.cheap or shards.unique or shards.num_shards % processes != 0
        self.own_rank = () if self.takes_turns else (share.rank,)
        self.stopped = False

    def __call__(self, position: Position) -> Iterator[tuple[tuple[int, int], Picture, Position]]:
        """Yield the images from a position on, endlessly, each with its shard, row and next position.

        Raises:
            ValueError: If a shard cannot be read, or there is no picture in any.
        """
        epoch, offset, start = position
        empty = 0
        while not self.stopped:
            length = offset
            for length, found in self._pass(epoch, offset, start):
                if found is not None:
                    yield *found, Position(epoch, length, start)
            empty = 0 if length else empty + 1
            if empty == (1 if self.takes_turns else _EMPTY_PASSES):
                raise self.shards.refusal()
            epoch, offset, start = epoch + 1, 0, start + length if self.takes_turns else 0

    def finished(self, position: Position) -> list[int]:
        """How long the shards are that a pass needs no more, first to last: going on passes over them unread."""
        lengths: list[int] = []
        left = self._block_start(position.epoch, position.offset)
        left -= left == position.offset  # the block is not begun: where its first shard ends is not surely known yet
        if self.shards.unique or self.shards.cheap:
            return lengths
        for shard in self._shards(position.epoch):
            length = self.shards.known(shard)
            if length is None or length > left:
                break
            lengths.append(length)
            left -= length
        return lengths

    def learn(self, position: Position, lengths: Sequence[int]) -> None:
        """Take over what `finished` gave."""
        for shard, length in zip(self._shards(position.epoch), lengths, strict=False):
            if isinstance(self.shards, StreamShards | JoinedShards):
                self.shards.learn(shard, length)

    def _pass(
        self, epoch: int, offset: int, start: int
    ) -> Iterator[tuple[int, tuple[tuple[int, int], Picture] | None]]:
        """Return the rows of a pass from `offset` on: how many have passed with each, and this share's rows."""
        begin = self._block_start(epoch, offset)
        rows = self._rows(epoch, begin)
        size = self.buffer if begin else self._first_block(epoch)
        while block := list(islice(rows, size)):
            order = self._rng(epoch, _BLOCK, begin, *self.own_rank).permutation(len(block))
            for place, index in enumerate(order[max(0, offset - begin) :].tolist(), start=max(begin, offset)):
                yield place + 1, block[index] if self._is_mine(start + place) else None
            begin += len(block)
            size = self.buffer

    def _rows(self, epoch: int, skip: int) -> Iterator[tuple[tuple[int, int], Picture]]:
        """Return the rows of a pass in reading order without the first `skip`; whole shards are skipped unread."""
        seen: set[bytes] = set()
        for shard in self._shards(epoch):
            known = self.shards.known(shard)
            if known is not None and known <= skip and not self.shards.unique:
                skip -= known
                continue
            unique = self.shards.is_unique(shard)
            for place, picture in self.shards.rows(shard):
                if self.stopped:
                    return
                if unique:
                    content = digest(picture)
                    if content in seen:
                        continue
                    seen.add(content)
                if skip > 0:
                    skip -= 1
                else:
                    yield place, picture

    def _shards(self, epoch: int) -> list[int]:
        """Return the shards that this process reads in a pass."""
        order = self._rng(epoch, _SHARDS).permutation(self.shards.num_shards)
        return (order if self.takes_turns else order[self.share.rank :: self.share.num_processes]).tolist()

    def _first_block(self, epoch: int) -> int:
        return int(self._rng(epoch, _CUT, *self.own_rank).integers(1, self.buffer, endpoint=True))

    def _block_start(self, epoch: int, offset: int) -> int:
        """Where the block begins that the row at `offset` is in."""
        first = self._first_block(epoch)
        return 0 if offset < first else first + (offset - first) // self.buffer * self.buffer

    def _is_mine(self, place: int) -> bool:
        turn = place // self.share.batch_size % self.share.num_processes
        return not self.takes_turns or turn == self.share.rank

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([*self.seed, *numbers])


class DomainOrder:
    """A domain's pictures on one process: one source's, or several sources' drawn by their weights.

    Args:
        groups: The sources.
        seed: The run's seed.
        domain: 0 for A, 1 for B.
        buffer: Rows of a source that are shuffled among themselves.
        share: This process's.
    """

    def __init__(self, groups: Sequence[Group], seed: int, domain: int, buffer: int, share: Share) -> None:
        self.sources = [
            SourceOrder(group.shards, (seed, domain, number), buffer, share) for number, group in enumerate(groups)
        ]
        weights = np.array([group.weight for group in groups])
        self._chances = weights / weights.sum()
        self._seed = (seed, domain, share.rank)
        self.drawn = 0
        self.positions = [Position()] * len(groups)

    def __iter__(self) -> Iterator[Dealt]:
        """Yield what comes next, endlessly; `advance` says how far its user is.

        Raises:
            ValueError: If a shard cannot be read, or there is no picture in any.
        """
        drawn, sources = self.drawn, [source(at) for source, at in zip(self.sources, self.positions, strict=True)]
        for number in self._draws(drawn):
            place, picture, after = next(sources[number])
            if isinstance(picture, Row):  # its bytes alone go to another process, not the table with them
                picture = picture.table.picture(picture.index)
            drawn += 1
            yield Dealt(picture, (after.epoch, number, *place), drawn, number, after)

    def advance(self, drawn: int, group: int, after: Position) -> None:
        """Take a picture as gone by."""
        self.drawn = drawn
        self.positions[group] = after

    def stop(self) -> None:
        """Let the reading end after the row at hand; what comes after that is of no use."""
        for source in self.sources:
            source.stopped = True

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands, in plain types."""
        return {
            "drawn": self.drawn,
            "sources": [
                {**position._asdict(), "finished": source.finished(position)}
                for source, position in zip(self.sources, self.positions, strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`.

        Raises:
            ValueError: If it is of another number of sources.
        """
        if len(state["sources"]) != len(self.sources):
            raise ValueError(f"The run began with {len(state['sources'])} sources, got {len(self.sources)}.")
        self.drawn = state["drawn"]
        for number, saved in enumerate(state["sources"]):
            self.positions[number] = Position(saved["epoch"], saved["offset"], saved["start"])
            self.sources[number].learn(self.positions[number], saved["finished"])

    def _draws(self, drawn: int) -> Iterator[int]:
        """Return the source of each image, from the `drawn`-th on."""
        if len(self.sources) == 1:
            while True:
                yield 0
        chunk, place = divmod(drawn, _CHUNK)
        while True:
            rng = np.random.default_rng([*self._seed, _MIX, chunk])
            yield from rng.choice(len(self.sources), _CHUNK, p=self._chances)[place:].tolist()
            chunk, place = chunk + 1, 0


def next_passes(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a state for another number of processes: every source begins the pass after the latest."""
    sources = zip(*(state["sources"] for state in states), strict=True)
    return {
        "drawn": max(state["drawn"] for state in states),
        "sources": [
            {"epoch": max(one["epoch"] for one in source) + 1, "offset": 0, "start": 0, "finished": []}
            for source in sources
        ],
    }
