"""A data set through a pipeline and back to a data set: in shards, each written whole, by any number of processes.

```
output/
  .translation.json                what the shards are: another translation is not mixed in
  .done/                           how many blocks the source's shards have that need not be read again
  data/train-00002-00017.parquet   or
  train/00002-00017/               pictures and metadata.jsonl
```

A shard is so many rows in a row of one of the source's own shards (which are its files, where it is streamed; else
there is one): neither its name nor its rows depend on anything else. So the work goes on where it stopped, with more
processes or fewer. `datasets.load_dataset(output)` reads parquet in the source's order, and folders in any.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.bulk.shards import FolderShard, ParquetShard
from cyclegan_hf.bulk.source import DatasetSource, Rows, names_dataset, pictures_of
from cyclegan_hf.errors import install_command, one_line
from cyclegan_hf.images.files import FORMS, KEPT_FORMS, ExistingPolicy, OutputFormat, encode_picture
from cyclegan_hf.images.formats import open_header


if TYPE_CHECKING:
    import pyarrow as pa

    from cyclegan_hf.bulk.translator import OnEach, Tally, Translated, Translator
    from cyclegan_hf.processes import Processes

_SETTINGS_NAME = ".translation.json"
_DONE_FOLDER = ".done"


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Options for reading and writing datasets."""

    write: Literal["pictures", "parquet"] = "pictures"
    """Write a data set as folders of pictures with a metadata.jsonl each, or as parquet files with all its columns. A
    folder of pictures can become parquet too."""
    rows_per_shard: int = 1000
    """Rows in a folder or file of a data set, which is written whole or not at all."""
    streaming: bool = False
    """Read a data set as it comes, and keep none of it."""
    push_to_hub: str | None = None
    """Push the parquet files to the Hub in the end, to this data set (user/name)."""
    private: bool = False
    """Make a new data set on the Hub private."""
    allow_outside_files: bool = False
    """Open files outside of the data set's own folder or repository that its cells or its card name. A stranger's data
    set could so make you translate, and publish, private files of yours."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: With what was expected.
        """
        if self.rows_per_shard < 1:
            raise ValueError(f"`--rows-per-shard` must be 1 or more, got {self.rows_per_shard}")
        if self.push_to_hub is not None:
            if self.write != "parquet":
                raise ValueError("`--push-to-hub` needs `--write parquet`")
            if not names_dataset(self.push_to_hub):
                raise ValueError(f"`--push-to-hub` must be like user/name, got {self.push_to_hub!r}")


NO_DATASET = DatasetOptions()


def dataset_source(inputs: Sequence[str], options: DatasetOptions) -> DatasetSource | None:
    """Return the dataset to translate, `None` if the inputs are image files.

    Raises:
        ValueError: A data set among other inputs, or an option that does not go with the inputs.
    """
    options.check()
    found = [DatasetSource.read(text, folders=options.write == "parquet") for text in inputs]
    sources = [source for source in found if source is not None]
    if sources and len(inputs) > 1:
        raise ValueError(f"expected one data set, or pictures, got {', '.join(inputs)}")
    if not sources and (options.streaming or options.write == "parquet"):
        asked = "--streaming" if options.streaming else "--write parquet"
        raise ValueError(f"`{asked}` needs a data set or a folder, got {', '.join(inputs)}")
    return sources[0] if sources else None


class DatasetTranslation:
    """A data set on its way to another one.

    Args:
        source: The data set.
        options: How it is read and written.
        output: The folder.
        format: Of the pictures; `"keep"` leaves JPEG, PNG and WebP what they are and makes any other format PNG.
        existing: What to do about shards that are there already.
        processes: Those that share the work out.
        settings: What else the pictures depend on, in JSON's types.

    Raises:
        ImportError: `datasets` is not installed.
        ValueError: The data set cannot be read, or the output holds shards that are refused.
    """

    def __init__(
        self,
        source: DatasetSource,
        options: DatasetOptions,
        output: Path,
        *,
        format: OutputFormat,
        existing: ExistingPolicy,
        processes: Processes,
        settings: dict[str, Any],
    ) -> None:
        try:
            from datasets import Features, Image
        except ImportError as error:
            raise ImportError(f"data sets need the extra `train`: {install_command('train')}") from error
        if output.exists() and not output.is_dir():
            raise ValueError(f"{output}: expected a folder, got a file")
        self.options, self.output, self.format = options, output, format
        self.existing, self.processes = existing, processes
        self.rows = Rows(source, options.streaming, options.allow_outside_files)
        self.columns = [self.rows.column, *([f"{self.rows.column}_cycle"] if settings.get("cycle") else [])]
        self.features = Features(dict(self.rows.features) | {name: Image() for name in self.columns})
        whole = asdict(source) | {"split": self.rows.split, "column": self.rows.column}
        kinds = {"streaming": options.streaming, "write": options.write, "rows_per_shard": options.rows_per_shard}
        self.settings = {"source": whole, "format": format, **kinds, **settings}
        self._check_output()

    @property
    def num_pictures(self) -> int | None:
        """Return the number of this process's images, `None` if only reading tells."""
        if self.options.streaming:
            return None
        names = self.rows.own_blocks(self.options.rows_per_shard, self.processes)
        return sum(rows for name, rows in names.items() if not self.is_there(name))

    def open_repo(self) -> None:
        """Make the data set on the Hub, where one is wanted: what it refuses is said before hours of work.

        Raises:
            ValueError: The Hub refused, or cannot be reached.
        """
        if self.options.push_to_hub is None:
            return
        from cyclegan_hf.hub.upload import Target, open_repo

        target = Target(repo_id=self.options.push_to_hub, repo_type="dataset", private=self.options.private or None)
        open_repo(target, asks=True)

    def begin(self) -> None:
        """Clean up after a translation that was killed, before any process starts to write."""
        self.output.mkdir(parents=True, exist_ok=True)
        for leftover in [*self.output.glob("*/.*.tmp"), *self.output.glob(".*.tmp")]:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        with whole_file(self.output / _SETTINGS_NAME) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=2) + "\n", encoding="utf-8")

    def translate(self, translator: Translator, tally: Tally, on_each: OnEach) -> None:
        """Translate and save this process's part, shard by shard; see `Work.translate`."""
        for block in self.rows.blocks(self.options.rows_per_shard, self.processes, _Done(self, tally)):
            with self._shard(block.name) as shard:
                for first, table in block.tables:
                    shard.add(first, table, self._translated(translator, block.name, first, table, tally, on_each))
            tally.shards += 1

    def push(self, tally: Tally) -> str:
        """Push the parquet files as a data set; returns its address.

        Args:
            tally: All processes' work.

        Raises:
            ValueError: The Hub refused, or not all shards lie here.
        """
        import datasets

        from cyclegan_hf.hub.errors import hub_errors

        repo_id, split = self.options.push_to_hub, self.rows.split
        assert repo_id is not None, "there is where to push to"
        files = sorted(str(file) for file in (self.output / "data").glob(f"{split}-*.parquet"))
        if len(files) < (count := tally.shards + tally.skipped_shards):
            raise ValueError(
                f"{self.output}: expected {count} shards to push, found {len(files)}: machines must share it"
            )
        try:
            rows = datasets.load_dataset("parquet", data_files={split: files}, split=split, streaming=True)
            with hub_errors(repo_id, repo_type="dataset", writing=True):
                commit = rows.push_to_hub(repo_id, split=split, private=self.options.private or None)
        except Exception as error:  # of `datasets`' own classes too
            raise ValueError(
                f"The translation is complete in {self.output}, but could not be pushed: {one_line(error, 500)}. Once "
                "that is mended, the same command with `--existing skip` pushes it"
            ) from error
        return str(commit.repo_url)

    def _translated(
        self,
        translator: Translator,
        block: str,
        first: int,
        table: pa.Table,
        tally: Tally,
        on_each: OnEach,
    ) -> dict[str, dict[int, bytes]]:
        """Return the files of the new images by column and row."""
        found = dict(enumerate(pictures_of(table, self.rows.column, self.rows.access)))
        sources = {row: source for row, source in found.items() if isinstance(source, bytes)}
        refused = [(row, fault) for row, fault in found.items() if isinstance(fault, ValueError)]
        files: dict[str, dict[int, bytes]] = {name: {} for name in self.columns}
        outcome: Translated | ValueError
        for row, outcome in chain(refused, translator(sources.items())):
            if not isinstance(outcome, ValueError):
                form = self._form(sources[row])
                try:
                    made = [encode_picture(image, form) for image in outcome[:2] if image is not None]
                    for name, file in zip(self.columns, made, strict=True):
                        files[name][row] = file
                except ValueError as error:
                    outcome = error
            if isinstance(outcome, ValueError):
                outcome = ValueError(f"row {first + row} of shard {int(block[:5])}: {outcome}")
            tally.count(outcome)
            on_each(outcome if isinstance(outcome, ValueError) else None)
        return files

    def _form(self, source: bytes) -> str:
        """Return the format in which an image is written."""
        if self.format != "keep":
            return FORMS[self.format]
        with open_header(io.BytesIO(source)) as image:
            return str(image.format) if image.format in KEPT_FORMS else "PNG"

    def is_there(self, name: str) -> bool:
        """Return whether a block is written and is to be kept."""
        return self.existing != "overwrite" and self._shard(name).path.exists()

    def _shard(self, name: str) -> ParquetShard | FolderShard:
        if self.options.write == "parquet":
            path = self.output / "data" / f"{self.rows.split}-{name}.parquet"
            return ParquetShard(path, self.features, self.rows.access)
        return FolderShard(self.output / self.rows.split / name, self.features)

    def _check_output(self) -> None:
        """Refuse to mix two translations, or to write over one."""
        told = self.output / _SETTINGS_NAME
        if not told.exists():
            return
        before = json.loads(told.read_text(encoding="utf-8"))
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{self.output}: holds a translation with other settings (`{name}` {before.get(name)}, now "
                    f"{value}): choose another `--output`"
                )
        pattern = f"data/{self.rows.split}-*.parquet" if self.options.write == "parquet" else f"{self.rows.split}/*"
        if self.existing == "refuse" and any(self.output.glob(pattern)):
            raise ValueError(
                f"{self.output}: holds shards of this translation already: choose `--existing skip` to go on with it, "
                "`--existing overwrite` or another `--output`"
            )


class _Done:
    """Keep a record of a translation's finished parts, as `source.Progress`.

    Args:
        translation: The translation.
        tally: This process's work.
    """

    def __init__(self, translation: DatasetTranslation, tally: Tally) -> None:
        self.is_there = translation.is_there
        self.folder = translation.output / _DONE_FOLDER
        self.tally = tally

    def skip(self, block: str) -> None:
        self.tally.skipped_shards += 1

    def blocks_of(self, shard: str) -> int | None:
        try:
            told = (self.folder / shard).read_text(encoding="utf-8")
        except OSError:
            return None
        return int(told) if told.endswith("\n") else None  # cut off, or empty: the shard is read to see

    def end(self, shard: str, blocks: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / shard).write_text(f"{blocks}\n", encoding="utf-8")
