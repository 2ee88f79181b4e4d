"""What a stream is dealt out of: shards, each read from its first row on. Shards are shuffled, rows pass a buffer."""

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from cyclegan_hf.training.data.rows import Encoded, Picture, Rows
from cyclegan_hf.training.data.table_source import DataSet


class Shards(Protocol):
    """The shards of a domain's source.

    Attributes:
        num_shards: How many.
        length: Pictures in all of them; none where only reading them tells.
        cheap: Whether walking over rows costs nothing: processes take turns at them, however many shards there are.
        unique: Whether repeated pictures of some shard are to be left out.
    """

    num_shards: int
    length: int | None
    cheap: bool
    unique: bool

    def known(self, shard: int) -> int | None:
        """Return the number of images in a shard, if known without reading it or already read."""

    def is_unique(self, shard: int) -> bool:
        """Whether a shard's pictures are to be left out where they were seen before in the pass."""

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Picture]]:
        """Yield a shard's images in order, each with its shard and its row, a permanent number in this source.

        Raises:
            ValueError: If the shard cannot be read.
        """

    def refusal(self) -> ValueError:
        """Return the error of a source without any image."""


class Singles:
    """Pictures that lie on this machine one by one: each is a shard of its own, so that shards' order is everything.

    Args:
        pictures: The pictures.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.num_shards = self.length = len(pictures)
        self.cheap = True
        self.unique = False  # left out already, where that is asked for

    def known(self, shard: int) -> int:
        """One."""
        return 1

    def is_unique(self, shard: int) -> bool:
        """No: that is done."""
        return False

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Picture]]:
        """Return the one image."""
        yield (shard, 0), self.pictures[shard]

    def refusal(self) -> ValueError:
        """Never needed: the pictures are there."""
        return ValueError("there is no picture")


class TableShards:
    """The rows of a memory-mapped table in the shards that it was made of: what a stream of these has, in its order.

    Args:
        rows: The rows, in the table's order.
        lengths: Rows in each shard, with those that are not among `rows`.
    """

    def __init__(self, rows: Rows, lengths: list[int]) -> None:
        self.table_rows = rows
        self.num_shards = len(lengths)
        self.length = len(rows)
        self.cheap = False  # as a stream of these shards: in the same order, with several processes too
        self.unique = False
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._places = np.searchsorted(rows.indices, self._starts)

    def known(self, shard: int) -> int:
        """Return the images in a shard."""
        return int(self._places[shard + 1] - self._places[shard])

    def is_unique(self, shard: int) -> bool:
        """No: that is done."""
        return False

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Picture]]:
        """Rows that are read when they are opened."""
        for place in range(self._places[shard], self._places[shard + 1]):
            row = self.table_rows[place]
            yield (shard, row.index - int(self._starts[shard])), row

    def refusal(self) -> ValueError:
        """Never needed: a table without rows is refused when it is opened."""
        return ValueError("there is no row")


class StreamShards:
    """The shards of a data set that is streamed.

    Args:
        data: The data set.
    """

    def __init__(self, data: DataSet) -> None:
        self.data = data
        self.stream: Any = data.streamed()
        self.num_shards = self.stream.num_shards
        self.unique = data.spec.unique
        self.length = None if self.unique or data.labels.columns else data.count()
        self.cheap = False
        files = data.files() or []
        self._names = [file.rsplit("/", 1)[-1] for file in files] if len(files) == self.num_shards else None
        self._known: dict[int, int] = {}

    @property
    def identity(self) -> str:
        """What tells the stream from others, wherever its files lie."""
        spec = self.data.spec
        # A commit is looked at for itself, and how to get in is no picture.
        written = re.sub(",(revision|token)=[^,]*", "", spec.text)
        place = "" if self._names and not (spec.is_hub_id or spec.is_address) else written
        return " ".join([place, self.data.split, self.data.column, str(spec.label), *(self._names or [])])

    def known(self, shard: int) -> int | None:
        """Return the images in a shard that has been read to its end."""
        return self._known.get(shard)

    def learn(self, shard: int, length: int) -> None:
        """Take over what an earlier run knew."""
        self._known[shard] = length

    def is_unique(self, shard: int) -> bool:
        """Whether the source asks for it."""
        return self.unique

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Encoded]]:
        """Return the rows as `datasets` reads them."""
        name = self._names[shard] if self._names else f"{self.data.spec.place} shard {shard}"
        count = 0
        try:
            for number, row in enumerate(self.stream.shard(self.num_shards, shard)):
                if self.data.labels.fits(row):
                    count += 1
                    yield (shard, number), self.data.rows_of(row, f"{name} row {number}")
        except Exception as error:  # of pyarrow, tarfile, httpx or the file system in question
            raise self.data.refusal_of(name, error) from error
        self._known[shard] = count

    def refusal(self) -> ValueError:
        """Return the error of a label that no row has."""
        return self.data.labels.refusal()


class JoinedShards:
    """The shards of several sources as those of one: a pass takes every picture of each of them.

    Args:
        parts: The sources' shards.
    """

    def __init__(self, parts: Sequence[Shards]) -> None:
        self.parts = parts
        self._starts = [0, *itertools.accumulate(part.num_shards for part in parts)]
        self.num_shards = self._starts[-1]
        lengths = [part.length for part in parts]
        self.length = None if None in lengths else sum(filter(None, lengths))
        self.cheap = all(part.cheap for part in parts)
        self.unique = any(part.unique for part in parts)

    def known(self, shard: int) -> int | None:
        """See `Shards`."""
        part, inner = self._part(shard)
        return part.known(inner)

    def learn(self, shard: int, length: int) -> None:
        """See `StreamShards`."""
        part, inner = self._part(shard)
        if isinstance(part, StreamShards):
            part.learn(inner, length)

    def is_unique(self, shard: int) -> bool:
        """See `Shards`."""
        part, inner = self._part(shard)
        return part.is_unique(inner)

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Picture]]:
        """See `Shards`."""
        part, inner = self._part(shard)
        return (((shard, row), picture) for (_, row), picture in part.rows(inner))

    def refusal(self) -> ValueError:
        """Return the error of the first part: all are empty."""
        return self.parts[0].refusal()

    def _part(self, shard: int) -> tuple[Shards, int]:
        index = bisect.bisect_right(self._starts, shard) - 1
        return self.parts[index], shard - self._starts[index]


class Group(NamedTuple):
    """Shards that a domain draws from, and their share of what is drawn in proportion to the other groups'."""

    shards: Shards
    weight: float
