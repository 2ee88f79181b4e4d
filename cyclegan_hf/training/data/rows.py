"""One picture of a source, whatever it is kept in: a file, a row of a memory-mapped table, bytes from a stream."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image

from cyclegan_hf.errors import one_line
from cyclegan_hf.images.depth import InputRange
from cyclegan_hf.images.io import open_image
from cyclegan_hf.tables.access import TableAccess, shown


# Pillow refuses twice as many pixels as it warns of; what it only warns of is read like any other image.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Encoded(NamedTuple):
    """A picture as its file's bytes, or as the address where they are fetched when it is opened.

    Attributes:
        name: Where it comes from, for messages.
        data: The file's bytes; unset, they are at `address`.
        address: A path or an address, as the table has it.
        access: What the table may name.
        secret: A token for the Hub.
    """

    name: str
    data: bytes | None
    address: str | None = None
    access: TableAccess | None = None
    secret: str | None = None

    def __str__(self) -> str:
        return self.name

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            ValueError: If there are none, the table may not name that file, or it cannot be read.
        """
        access = self.access or TableAccess(place=self.name)
        return access.content({"bytes": self.data, "path": self.address}, self.secret)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A memory-mapped column of pictures.

    Attributes:
        rows: A `datasets.Dataset` whose column gives bytes and path, not decoded.
        column: The column.
        name: The source, for messages.
        access: What its cells may name.
        secret: A token for the Hub.
    """

    rows: Any
    column: str
    name: str
    access: TableAccess | None = None
    secret: str | None = None

    def picture(self, index: int) -> Encoded:
        """Return the image of a row, read now."""
        return encoded(cell_of(self.rows[index], self.column), f"{self.name} row {index}", self.access, self.secret)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; nothing is read before `content`."""

    table: Table
    index: int

    def __str__(self) -> str:
        return f"{self.table.name} row {self.index}"

    def content(self) -> bytes:
        """Return the file's bytes; see `Encoded.content`."""
        return self.table.picture(self.index).content()


Picture = Path | Encoded | Row
"""Its `str` names it in messages."""


class Rows(Sequence[Row]):
    """Some rows of a table, in an order; a million of them take eight bytes each.

    Args:
        table: The table.
        indices: Which of its rows.
    """

    def __init__(self, table: Table, indices: np.ndarray) -> None:
        self.table = table
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Row | Rows":
        if isinstance(place, slice):
            return Rows(self.table, self.indices[place])
        return Row(self.table, int(self.indices[place]))

    def __iter__(self) -> Iterator[Row]:
        return (Row(self.table, int(index)) for index in self.indices)


MEMBER = "__key__"
"""The column of a webdataset that has the names of its archives' members, without their extensions."""


def cell_of(row: dict[str, Any], column: str) -> Any:
    """Return a row's cell; of an archive's member with its name."""
    cell = row[column]
    if cell is not None and cell["bytes"] is not None and row.get(MEMBER):
        return {"bytes": cell["bytes"], "path": f"{row[MEMBER]}.{column}"}
    return cell


def encoded(cell: Any, name: str, access: TableAccess | None = None, secret: str | None = None) -> Encoded:
    """Return an image cell as `datasets.Image(decode=False)` has it: `{"bytes": …, "path": …}` or `None`.

    Args:
        cell: The cell.
        name: Its row, for messages.
        access: What the table may name; unset, its cells must hold bytes.
        secret: A token for the Hub.
    """
    if cell is None:
        return Encoded(name, None)
    path = cell["path"]
    if path and cell["bytes"] is not None:
        name = f"{name} ({path if path.isprintable() and len(path) < 200 else shown(path)})"
    return Encoded(name, cell["bytes"], path, access, secret)


def open_picture(picture: Picture, input_range: InputRange = None) -> Image.Image:
    """Return the image as `cyclegan_hf.images.io.open_image` opens it.

    Args:
        picture: The picture.
        input_range: Of values of more than 8 bits, what becomes black and white.

    Raises:
        ValueError: If it cannot be read; the message is one line and names it.
    """
    if isinstance(picture, Path):
        return open_image(picture, input_range=input_range)
    try:
        return open_image(picture.content(), input_range=input_range)
    except ValueError as error:
        raise ValueError(f"{picture}: {one_line(error)}") from None


def digest(picture: Picture) -> bytes:
    """Return 16 bytes that identify an image's file. An unreadable one equals no other."""
    try:
        content = picture.read_bytes() if isinstance(picture, Path) else picture.content()
    except (OSError, ValueError):
        content = f"unreadable: {picture}".encode()
    return hashlib.blake2b(content, digest_size=16).digest()
