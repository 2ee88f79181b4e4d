"""A data set that is read in blocks of rows, by any number of processes; nothing is decoded here."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from glob import has_magic
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.ids import has_id_form
from cyclegan_hf.processes import Processes
from cyclegan_hf.tables.access import TableAccess
from cyclegan_hf.tables.builder import access_of, cause_of, keep_bytes, open_builder, unreachable


if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}
_ADDRESSES = ("hf://", "https://", "http://")
_LISTED = 20  # columns or values that a message names
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
        """Parse a command line argument; return `None` for an image, a folder or a pattern.

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
        if not (options or names_dataset(place) or place.startswith(_ADDRESSES) or Path(place).suffix in _KINDS):
            return cls(place=place) if path.is_dir() else None
        known = [field.name for field in fields(cls)][1:]
        for name in options:
            if name not in known:
                raise ValueError(f"{text}: expected the options {', '.join(known)}, got {name!r}")
        return cls(place=place, **options)


def names_dataset(text: str) -> bool:
    """Return whether a text looks like `user/name`, and not like the path of an image."""
    return has_id_form(text) and not re.search(r"\.[A-Za-z]{2,4}$", text)


class Block(NamedTuple):
    """So many rows in a row of one of the source's shards.

    Attributes:
        name: Of the shard of the source and of the block in it: `"00002-00017"`.
        tables: Their rows, in tables of the same few, each with the number of its first row in the source's shard.
    """

    name: str
    tables: Iterator[tuple[int, pa.Table]]


class Progress(Protocol):
    """Progress of a translation.

    A shard of the source is named by its number, and by the process too where several share it.
    """

    def is_there(self, block: str) -> bool:
        """Return whether a block is written."""

    def skip(self, block: str) -> None:
        """Handle each of this process's blocks that already exists."""

    def blocks_of(self, shard: str) -> int | None:
        """Return the number of blocks of a shard of the source, if it is known."""

    def end(self, shard: str, blocks: int) -> None:
        """Handle the end of a shard of the source: all of this process's blocks are written."""


class Rows:
    """The rows of a data set.

    Args:
        source: The data set.
        streaming: Read it as it comes; otherwise it is downloaded and mapped into memory.
        allow_outside_files: Open files outside of the data set that its cells or its card name.

    Raises:
        ValueError: It cannot be reached, or has no such configuration, split or column of pictures.
    """

    def __init__(self, source: DatasetSource, streaming: bool, allow_outside_files: bool = False) -> None:
        from datasets import Image

        self.source, self.streaming = source, streaming
        try:
            builder = open_builder(**_place(source), everything=allow_outside_files)
            self.split, self.features = _split(source, builder)
            self.column = _picture_column(source, self.features)
            keep_bytes(builder)
            self.access = access_of(
                builder, self.split, source.place, _root(source), mapped=not streaming, everything=allow_outside_files
            )
            self.rows = _stream(builder, self.split) if streaming else _mapped(builder, self.split)
            if isinstance(self.rows.features[self.column], dict):  # not said to be pictures, but kept as such
                self.rows = self.rows.cast_column(self.column, Image(decode=False))
        except Exception as error:  # of some ten classes, from pyarrow's to httpx's
            from cyclegan_hf.hub.errors import data_refusal

            told = None
            if names_dataset(source.place) and not Path(source.place).exists():
                told = data_refusal(error, source.place) or unreachable(error)
            raise ValueError(
                f"{source.place}: {told or f'cannot be read as a data set ({one_line(cause_of(error), 300)})'}"
            ) from error

    def own_blocks(self, size: int, processes: Processes) -> dict[str, int]:
        """Return this process's blocks of a dataset that isn't streamed, and the rows in each."""
        numbers = processes.share(range(-(-len(self.rows) // size)))
        return {f"{0:05d}-{number:05d}": min(size, len(self.rows) - number * size) for number in numbers}

    def blocks(self, size: int, processes: Processes, progress: Progress) -> Iterator[Block]:
        """Yield this process's blocks that don't exist yet.

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
        """Yield this process's blocks of one shard of a stream; return the shard's number of blocks."""
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


def pictures_of(table: pa.Table, column: str, access: TableAccess) -> list[bytes | ValueError]:
    """Return the files in a table's column of pictures, each as its bytes or as what is wrong with its cell.

    Args:
        table: The table.
        column: The column.
        access: What its cells may name.
    """
    files: list[bytes | ValueError] = []
    for cell in table[column].to_pylist():
        try:
            files.append(access.content(cell))
        except ValueError as error:
            files.append(error)
    return files


def picture_columns(features: Any) -> list[str]:
    """Return the columns that a dataset declares as images; without any, those that may hold file contents.

    Args:
        features: Its `datasets.Features`.
    """
    from datasets import Image

    pictures = [name for name, feature in features.items() if isinstance(feature, Image)]
    return pictures or [name for name, feature in features.items() if _holds_files(feature)]


def listed(names: Iterable[Any]) -> str:
    """Return names for a message: at most twenty, for a table may have thousands of columns."""
    words = [str(name) for name in islice(names, _LISTED + 1)]
    return ", ".join(words[:_LISTED]) + (" …" if len(words) > _LISTED else "")


def member_hint(columns: Sequence[str]) -> str:
    """Return what to do about `pic.0.jpg`, `pic.1.jpg`, … in a tar archive: each of them is a column of one row."""
    if not any("." in name for name in columns):
        return ""
    return (
        f". In a tar archive a name ends at its first dot: `pic.{columns[0]}` is the column `{columns[0]}` of the row "
        "`pic`. Rename the files so that they have one dot each, or unpack the archive"
    )


def is_picture_column(feature: Any) -> bool:
    """Return whether a column can hold images: `datasets.Image`, or file contents as in other writers' parquet."""
    from datasets import Image

    return isinstance(feature, Image) or _holds_files(feature)


def _holds_files(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _place(source: DatasetSource) -> dict[str, Any]:
    """Return a source as `datasets.load_dataset` takes it."""
    kind = None if Path(source.place).is_dir() else _KINDS.get(Path(source.place).suffix)
    if kind is not None:
        return {"place": kind, "data_files": source.place, "config": source.config}
    if source.place.startswith(_ADDRESSES):
        raise ValueError(f"expected an address of {', '.join(_KINDS)} files")
    return {"place": source.place, "revision": source.revision, "config": source.config}


def _root(source: DatasetSource) -> Path | None:
    """Return the folder whose files a local table may name: itself, or the one that its files are in."""
    path = Path(source.place)
    if source.place.startswith(_ADDRESSES) or (names_dataset(source.place) and not path.exists()):
        return None
    if path.exists():
        return path if path.is_dir() else path.parent
    parts = path.parts
    return Path(*parts[: next((index for index, part in enumerate(parts) if has_magic(part)), len(parts) - 1)])


def _split(source: DatasetSource, builder: Any) -> tuple[str, Any]:
    """Return the split's name and its columns."""
    splits = builder.as_streaming_dataset()
    split = source.split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
    if split not in splits:
        raise ValueError(f"expected one of the splits {', '.join(map(str, splits))}, got {split}: `split=` names it")
    rows = splits[split]
    if rows.features is None:  # of a format that says nothing of its columns before it is read
        rows = rows._resolve_features()
    return str(split), rows.features.copy()


def _stream(builder: Any, split: str) -> Any:
    rows = builder.as_streaming_dataset(split=split)
    if rows.features is None:
        rows = rows._resolve_features()
    return rows.select_columns(list(rows.features))  # a webdataset's rows each have an order of their own


def _mapped(builder: Any, split: str) -> Any:
    """Return the rows of a split, downloaded and memory-mapped."""
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _picture_column(source: DatasetSource, features: Any) -> str:
    pictures = picture_columns(features)
    if source.column is None:
        if len(pictures) == 1 or "image" in pictures:
            return pictures[0] if len(pictures) == 1 else "image"
        told = f"several: {listed(pictures)}; `column=` names one" if pictures else f"none of {listed(features)}"
        told += member_hint(pictures)
        raise ValueError(f"expected one column of pictures, got {told}")
    if not is_picture_column(features.get(source.column)):
        raise ValueError(f"`{source.column}` is no column of pictures; the columns are {listed(features)}")
    return source.column
