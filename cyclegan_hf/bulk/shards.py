"""Shards of a translated data set: parquet files or folders of pictures, each written whole or not at all."""

from __future__ import annotations

import io
import json
import logging
import os
import posixpath
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cyclegan_hf.atomic import put_in_place, temporary_beside
from cyclegan_hf.errors import one_line
from cyclegan_hf.images.formats import open_header
from cyclegan_hf.tables.access import TableAccess


if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tiff"}
"""Of the formats that are written."""
METADATA_NAME = "metadata.jsonl"


class ParquetShard:
    """A parquet file with the source's columns, the pictures replaced.

    Args:
        path: The file; it appears in one rename.
        features: The `datasets.Features` of what is written.
        access: What the source's cells may name.
    """

    def __init__(self, path: Path, features: Any, access: TableAccess) -> None:
        self.path, self.features, self.access = path, features, access
        self.temporary = temporary_beside(path)

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self.temporary, self.features.arrow_schema)
        return self

    def add(self, first: int, table: pa.Table, pictures: Mapping[str, Mapping[int, bytes]]) -> None:
        """Write rows, as one row group.

        Args:
            first: The number of the table's first row in its shard of the source.
            table: The rows.
            pictures: By column, the new pictures' files by row of the table. A row without one is left out.
        """
        import pyarrow as pa

        kept = sorted(set.intersection(*(set(files) for files in pictures.values())))
        schema = self.features.arrow_schema
        columns = {}
        for name in self.features:
            if name in pictures:
                cells = [{"bytes": pictures[name][row], "path": None} for row in kept]
                columns[name] = pa.array(cells, type=schema.field(name).type)
            else:
                columns[name] = self._embedded(table[name].take(pa.array(kept, pa.int64())), name)
        if kept:
            self._writer.write_table(pa.table(columns).cast(schema))

    def _embedded(self, column: pa.ChunkedArray, name: str) -> pa.Array:
        """Return a column as it is written, with the content of the files that its cells may name."""
        import pyarrow as pa
        from datasets.features.features import require_storage_embed

        feature, wanted = self.features[name], self.features.arrow_schema.field(name).type
        if not require_storage_embed(feature):
            return column
        faults: list[ValueError] = []
        cells = [_filled(cell, feature, self.access, faults) for cell in column.to_pylist()]
        if faults:
            logger.warning("`%s`: %d cells are left empty, the first: %s", name, len(faults), one_line(faults[0]))
        return pa.array(cells, type=wanted)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                os.replace(self.temporary, self.path)
        except OSError as fault:
            raise OSError(f"could not save {self.path}: {one_line(fault)}") from fault
        finally:
            self.temporary.unlink(missing_ok=True)


class FolderShard:
    """A folder of pictures with a `metadata.jsonl` of the other columns' words and numbers, as `imagefolder` reads it.

    Args:
        path: The folder; it appears in one rename.
        features: The `datasets.Features` of what is written.
    """

    def __init__(self, path: Path, features: Any) -> None:
        self.path, self.features = path, features
        self.temporary = temporary_beside(path)

    def __enter__(self) -> Self:
        self.temporary.mkdir(parents=True)
        self._lines: list[str] = []
        return self

    def add(self, first: int, table: pa.Table, pictures: Mapping[str, Mapping[int, bytes]]) -> None:
        """Write rows; see `ParquetShard.add`."""
        kept = sorted(set.intersection(*(set(files) for files in pictures.values())))
        others = [name for name in self.features if name not in pictures and name in table.column_names]
        for row in kept:
            line: dict[str, Any] = {}
            for place, (_, files) in enumerate(pictures.items()):
                with open_header(io.BytesIO(files[row])) as image:
                    extension = EXTENSIONS[str(image.format)]
                name = f"{first + row:08d}{'_cycle' if place else ''}.{extension}"
                (self.temporary / name).write_bytes(files[row])
                line["cycle_file_name" if place else "file_name"] = name
            for name in others:
                value = _word(self.features[name], table[name][row].as_py())
                line |= {} if value is None else {name: value}
            self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                (self.temporary / METADATA_NAME).write_text("".join(self._lines), encoding="utf-8")
                put_in_place(self.temporary, self.path)
        except OSError as fault:
            raise OSError(f"could not save {self.path}: {one_line(fault)}") from fault
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)


def _filled(value: Any, feature: Any, access: TableAccess, faults: list[ValueError]) -> Any:
    """Replace file paths by file contents in a cell, at any depth of lists and mappings.

    `datasets` has a function for this, which opens whatever a cell names.
    """
    if value is None:
        return None
    if hasattr(feature, "embed_storage"):
        path = value.get("path") if isinstance(value, dict) else None
        try:
            content = access.content(value)
        except ValueError as error:
            if path:
                faults.append(error)
            return None
        return {"bytes": content, "path": posixpath.basename(path.partition("::")[0]) if path else None}
    if isinstance(feature, dict):
        return {name: _filled(value[name], part, access, faults) for name, part in feature.items()}
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if inner is not None and isinstance(value, list):
        return [_filled(part, inner, access, faults) for part in value]
    return value


def _word(feature: Any, value: Any) -> str | int | float | bool | None:
    """Convert a cell to JSON: a label's name, a word or a number; `None` for anything else."""
    from datasets import ClassLabel

    if isinstance(feature, ClassLabel) and isinstance(value, int):
        return feature.int2str(value) if 0 <= value < len(feature.names) else None
    return value if isinstance(value, str | int | float | bool) else None
