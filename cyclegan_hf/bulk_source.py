"""A data set that is read in blocks of rows, by any number of processes; nothing is decoded here."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cyclegan_hf.errors import one_line
from cyclegan_hf.processes import Processes


if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}
_ADDRESSES = ("hf://", "https://", "http://")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TABLE_ROWS = 64  # at most: what is in memory at a time, and a row group of what is written


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """A data set, written as the training's sources are: `user/name,split=test,column=image`.

    Attributes:
        place: An id on the Hub, an address, a pattern of parquet, webdataset (.tar) or arrow files, or a folder.
        config: Its configuration.
        split: Unset, `train`, or the only one there is.
        column: Of the pictures; unset, the only one of pictures, or `image`.
        revision: Branch, tag or commit on the Hub.
    """

    place: str
    config: str | None = None
    split: str | None = None
    column: str | None = None
    revision: str | None = None

    @classmethod
    def read(cls, text: str, folders: bool = False) -> DatasetSource | None:
        """What an argument of the command line says; `None` where it is a picture, a folder or a pattern of them.

        Args:
            text: The argument.
            folders: Take a folder of pictures for a data set.

        Raises:
            ValueError: There is no such option.
        """
        path = Path(text)
        if path.exists() and path.suffix not in _KINDS and not (folders and path.is_dir()):
            return None
        place, *words = [text] if path.exists() else text.split(",")
        options = dict(word.strip().partition("=")[::2] for word in words)
        if not (options or is_hub_id(place) or place.startswith(_ADDRESSES) or Path(place).suffix in _KINDS):
            return cls(place=place) if path.is_dir() else None
        known = [field.name for field in fields(cls)][1:]
        for name in options:
            if name not in known:
                raise ValueError(f"{text}: expected the options {', '.join(known)}, got {name!r}")
        return cls(place=place, **options)


def is_hub_id(text: str) -> bool:
    """Whether this looks like `user/name`, and not like a picture's path."""
    return _HUB_ID.fullmatch(text) is not None and not re.search(r"\.[A-Za-z]{2,4}$", text)


class Block(NamedTuple):
    """So many rows in a row of one of the source's shards.

    Attributes:
        name: Of the shard of the source and of the block in it: `"00002-00017"`.
        tables: Their rows, in tables of the same few, each with the number of its first row in the source's shard.
    """

    name: str
    tables: Iterator[tuple[int, pa.Table]]


class Progress(Protocol):
    """What is done of a translation.

    A shard of the source is named by its number, and by the process too where several share it.
    """

    def is_there(self, block: str) -> bool:
        """Whether a block is written."""

    def skip(self, block: str) -> None:
        """Told of each of this process's blocks that is there."""

    def blocks_of(self, shard: str) -> int | None:
        """How many blocks a shard of the source has, where that was found out."""

    def end(self, shard: str, blocks: int) -> None:
        """Told when all of this process's blocks of a shard of the source are written, and how many it has."""


class Rows:
    """The rows of a data set.

    Args:
        source: The data set.
        streaming: Read it as it comes; otherwise it is downloaded and mapped into memory.

    Raises:
        ValueError: It cannot be reached, or has no such configuration, split or column of pictures.
    """

    def __init__(self, source: DatasetSource, streaming: bool) -> None:
        from datasets import Image

        self.source, self.streaming = source, streaming
        try:
            where = _place(source)
            self.split, stream = _stream(source, where)
            self.column = _picture_column(source, stream.features)
            self.rows = stream if streaming else _mapped(self.split, where)
            if isinstance(stream.features[self.column], dict):  # not said to be pictures, but kept as such
                self.rows = self.rows.cast_column(self.column, Image(decode=False))
        except Exception as error:  # of some ten classes, from pyarrow's to httpx's
            from cyclegan_hf.hub_errors import data_refusal

            told = data_refusal(error, source.place) if is_hub_id(source.place) else None
            raise ValueError(
                f"{source.place}: {told or f'cannot be read as a data set ({one_line(error, 300)})'}"
            ) from error

    def own_blocks(self, size: int, processes: Processes) -> dict[str, int]:
        """This process's blocks of a data set that is not streamed, and the rows in each."""
        numbers = processes.share(range(-(-len(self.rows) // size)))
        return {f"{0:05d}-{number:05d}": min(size, len(self.rows) - number * size) for number in numbers}

    def blocks(self, size: int, processes: Processes, progress: Progress) -> Iterator[Block]:
        """Yields this process's blocks that are not there yet.

        The source's shards are shared out where there are enough of them; otherwise the blocks of each.

        Args:
            size: Rows a block; the last one of a shard has what is left.
            processes: Those that share the work.
            progress: What is there already: it is not read again, as far as possible.
        """
        step = max(rows for rows in range(1, _TABLE_ROWS + 1) if size % rows == 0)
        if not self.streaming:
            table = self.rows.with_format("arrow")
            for name, rows in self.own_blocks(size, processes).items():
                first = int(name[6:]) * size
                starts = range(first, first + rows, step)
                if progress.is_there(name):
                    progress.skip(name)
                else:
                    yield Block(name, ((start, table[start : min(start + step, first + rows)]) for start in starts))
            return
        shards = self.rows.num_shards
        alone = shards >= processes.count
        for shard in processes.share(range(shards)) if alone else range(shards):
            whole = f"{shard:05d}" if alone else f"{shard:05d}-{processes.rank}-of-{processes.count}"
            sharing = Processes() if alone else processes
            known = progress.blocks_of(f"{shard:05d}") or progress.blocks_of(whole) or 0
            mine = [f"{shard:05d}-{number:05d}" for number in sharing.share(range(known))]
            if mine and all(map(progress.is_there, mine)):
                for name in mine:
                    progress.skip(name)
            else:
                progress.end(whole, (yield from self._blocks_of(shard, size, step, progress, sharing)))

    def _blocks_of(
        self, shard: int, size: int, step: int, progress: Progress, processes: Processes
    ) -> Generator[Block, None, int]:
        """The blocks of one shard of a stream, or this process's part of them; returns how many the shard has."""
        begun = 0
        while progress.is_there(name := f"{shard:05d}-{begun:05d}"):
            if begun % processes.count == processes.rank:
                progress.skip(name)
            begun += 1
        rows = self.rows.shard(num_shards=self.rows.num_shards, index=shard).skip(begun * size)
        tables = rows.with_format("arrow").iter(batch_size=step)
        for number in count(begun):
            head = list(islice(tables, 1))
            if not head:
                return number
            block = zip(count(number * size, step), chain(head, islice(tables, size // step - 1)), strict=False)
            if number % processes.count == processes.rank:
                if progress.is_there(name := f"{shard:05d}-{number:05d}"):
                    progress.skip(name)
                else:
                    yield Block(name, block)
            for _ in block:  # what nobody here wants
                pass
        raise AssertionError("a shard has an end")


def pictures_of(table: pa.Table, column: str) -> list[bytes | None]:
    """The files in a table's column of pictures, each as its bytes; pictures that lie elsewhere are read."""
    from datasets.table import embed_table_storage

    cells = embed_table_storage(table.select([column]))[column].to_pylist()
    return [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]


def picture_columns(features: Any) -> list[str]:
    """The columns that a data set says to hold pictures; without one, those that may hold files' bytes.

    Args:
        features: Its `datasets.Features`.
    """
    from datasets import Image

    pictures = [name for name, feature in features.items() if isinstance(feature, Image)]
    return pictures or [name for name, feature in features.items() if _holds_files(feature)]


def is_picture_column(feature: Any) -> bool:
    """Whether a column can hold pictures: `datasets.Image`, or files' bytes as parquet of other writers has them."""
    from datasets import Image

    return isinstance(feature, Image) or _holds_files(feature)


def _holds_files(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _place(source: DatasetSource) -> dict[str, Any]:
    """A source as `datasets.load_dataset` takes it."""
    kind = None if Path(source.place).is_dir() else _KINDS.get(Path(source.place).suffix)
    if kind is not None:
        return {"path": kind, "data_files": source.place, "name": source.config}
    if source.place.startswith(_ADDRESSES):
        raise ValueError(f"expected an address of {', '.join(_KINDS)} files")
    return {"path": source.place, "revision": source.revision, "name": source.config}


def _stream(source: DatasetSource, where: dict[str, Any]) -> tuple[str, Any]:
    """The split's name and a stream of its rows."""
    import datasets

    splits = datasets.load_dataset(streaming=True, **where)
    split = source.split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
    if split not in splits:
        raise ValueError(f"expected one of the splits {', '.join(map(str, splits))}, got {split}: `split=` names it")
    rows = splits[split]
    if rows.features is None:  # of a format that says nothing of its columns before it is read
        rows = rows._resolve_features()
    return str(split), rows.select_columns(list(rows.features))  # a webdataset's rows each have an order of their own


def _mapped(split: str, where: dict[str, Any]) -> Any:
    """The rows of a split, downloaded and mapped into memory."""
    import datasets

    return datasets.load_dataset(split=split, **where)


def _picture_column(source: DatasetSource, features: Any) -> str:
    pictures = picture_columns(features)
    if source.column is None:
        if len(pictures) == 1 or "image" in pictures:
            return pictures[0] if len(pictures) == 1 else "image"
        told = f"several: {', '.join(pictures)}; `column=` names one" if pictures else f"none of {', '.join(features)}"
        raise ValueError(f"expected one column of pictures, got {told}")
    if not is_picture_column(features.get(source.column)):
        raise ValueError(f"`{source.column}` is no column of pictures; the columns are {', '.join(features)}")
    return source.column
