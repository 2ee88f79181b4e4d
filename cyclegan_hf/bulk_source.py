"""A data set that is read in blocks of rows, by any number of processes; nothing is decoded here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cyclegan_hf.errors import one_line


if TYPE_CHECKING:
    import pyarrow as pa

    from cyclegan_hf.processes import Processes

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


class Rows:
    """The rows of a data set.

    Args:
        source: The data set.
        streaming: Read it as it comes; otherwise it is downloaded and mapped into memory.

    Raises:
        ValueError: It cannot be reached, or has no such configuration, split or column of pictures.
    """

    def __init__(self, source: DatasetSource, streaming: bool) -> None:
        self.source, self.streaming = source, streaming
        try:
            where = _place(source)
            self.split, stream = _stream(source, where)
            self.column = _picture_column(source, stream.features)
            self.rows = stream if streaming else _mapped(self.split, where)
        except Exception as error:  # of some ten classes, from pyarrow's to httpx's
            raise ValueError(f"{source.place}: cannot be read as a data set ({one_line(error, 300)})") from error

    def own_blocks(self, size: int, processes: Processes) -> dict[str, int]:
        """This process's blocks of a data set that is not streamed, and the rows in each."""
        numbers = processes.share(range(-(-len(self.rows) // size)))
        return {f"{0:05d}-{number:05d}": min(size, len(self.rows) - number * size) for number in numbers}

    def blocks(
        self, size: int, processes: Processes, is_done: Callable[[str], bool], end: Callable[[str], None]
    ) -> Iterator[Block]:
        """Yields this process's blocks.

        The source's shards are shared out where there are enough of them; otherwise the blocks of each.

        Args:
            size: Rows a block; the last one of a shard has what is left.
            processes: Those that share the work.
            is_done: Asked for the name of each block of this process, and of each shard of the source (with the
                process, where several share it): what is done is not read again, as far as possible.
            end: Told when all of this process's blocks of a shard of the source are done.
        """
        step = max(rows for rows in range(1, _TABLE_ROWS + 1) if size % rows == 0)
        if not self.streaming:
            table = self.rows.with_format("arrow")
            for name, rows in self.own_blocks(size, processes).items():
                first = int(name[6:]) * size
                starts = range(first, first + rows, step)
                if not is_done(name):
                    yield Block(name, ((start, table[start : min(start + step, first + rows)]) for start in starts))
            return
        shards = self.rows.num_shards
        alone = shards >= processes.count
        for shard in processes.share(range(shards)) if alone else range(shards):
            whole = f"{shard:05d}" if alone else f"{shard:05d}-{processes.rank}-of-{processes.count}"
            if is_done(f"{shard:05d}") or is_done(whole):
                continue
            yield from self._blocks_of(shard, size, step, is_done, None if alone else processes)
            end(whole)

    def _blocks_of(
        self, shard: int, size: int, step: int, is_done: Callable[[str], bool], processes: Processes | None
    ) -> Iterator[Block]:
        """The blocks of one shard of a stream, or `processes`' part of them."""
        begun = 0
        while is_done(f"{shard:05d}-{begun:05d}"):
            begun += 1
        rows = self.rows.shard(num_shards=self.rows.num_shards, index=shard).skip(begun * size)
        tables = rows.with_format("arrow").iter(batch_size=step)
        for number in count(begun):
            head = list(islice(tables, 1))
            if not head:
                return
            block = zip(count(number * size, step), chain(head, islice(tables, size // step - 1)), strict=False)
            mine = processes is None or number % processes.count == processes.rank
            if mine and not is_done(name := f"{shard:05d}-{number:05d}"):
                yield Block(name, block)
            for _ in block:  # what nobody here wants
                pass


def pictures_of(table: pa.Table, column: str) -> list[bytes | None]:
    """The files in a table's column of pictures, each as its bytes; pictures that lie elsewhere are read."""
    from datasets.table import embed_table_storage

    cells = embed_table_storage(table.select([column]))[column].to_pylist()
    return [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]


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
    from datasets import Image, Value

    binary = (Value("binary"), Value("large_binary"))
    pictures = [name for name, feature in features.items() if isinstance(feature, Image)]
    if source.column is None:
        if len(pictures) == 1 or "image" in pictures:
            return pictures[0] if len(pictures) == 1 else "image"
        told = f"several: {', '.join(pictures)}; `column=` names one" if pictures else f"none of {', '.join(features)}"
        raise ValueError(f"expected one column of pictures, got {told}")
    if source.column not in pictures and features.get(source.column) not in binary:
        raise ValueError(f"`{source.column}` is no column of pictures; the columns are {', '.join(features)}")
    return source.column
