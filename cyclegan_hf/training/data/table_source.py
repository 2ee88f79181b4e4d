"""Sources that `datasets` opens: Hub ids, addresses, parquet, webdataset, arrow, and folders with labels."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from cyclegan_hf.bulk.source import is_picture_column, listed, member_hint, picture_columns
from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.errors import data_refusal
from cyclegan_hf.tables.access import TableAccess
from cyclegan_hf.tables.builder import (
    access_of,
    cause_of,
    check_saved,
    is_folder,
    keep_bytes,
    open_builder,
    unreachable,
)
from cyclegan_hf.training.data.file_source import fixed_folder, matches
from cyclegan_hf.training.data.notation import KINDS, OUTSIDE_FLAG, SourceSpec
from cyclegan_hf.training.data.rows import MEMBER, Encoded, Picture, Rows, Table, cell_of, encoded


_REPO_FILES = re.compile(r"hf://datasets/([^/@]+/[^/@]+)")
_LISTED = 20  # values or columns that a message names


class Labels:
    """Which rows a source's `label=` asks for; all of them where it asks for none.

    Args:
        spec: The source.
        features: The data set's `datasets.Features`.

    Raises:
        ValueError: If there is no column of labels, or none of its classes has that name.
    """

    def __init__(self, spec: SourceSpec, features: Any) -> None:
        from datasets import ClassLabel

        self.spec = spec
        self.path: list[str] = []
        self.names: list[str] | None = None
        self.seen: set[str] = set()  # for the message, where no row fits
        if spec.label is None:
            if spec.label_column is not None:
                raise spec.refuse("`label_column=` needs `label=`, the value that is wanted.")
            return
        classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
        name = spec.label_column or ("label" if "label" in features else classes[0] if len(classes) == 1 else None)
        if name is None or name.split(".")[0] not in features:
            which = (
                "there is no column `label`: name it with `label_column=`" if name is None else f"no column `{name}`"
            )
            raise spec.refuse(f"{which}; there are: {listed(features)}.")
        self.path = name.split(".")  # `json.label`: within a column of mappings
        if isinstance(features.get(name), ClassLabel):
            self.names = features[name].names
            if spec.label not in self.names:
                raise spec.refuse(f"no row is labelled so in `{name}`; its labels are: {listed(self.names)}.")

    @property
    def columns(self) -> list[str]:
        """The column that must be read for it."""
        return self.path[:1]

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether a row is asked for."""
        return not self.path or self.is_wanted(row[self.path[0]])

    def is_wanted(self, value: Any) -> bool:
        """Whether a cell of the label's column holds the label."""
        for name in self.path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if self.names is not None:
            text = self.names[value] if value is not None and 0 <= value < len(self.names) else "none"
        else:
            text = value.decode(errors="replace").strip() if isinstance(value, bytes) else str(value)
        if len(self.seen) < _LISTED:
            self.seen.add(text)
        return text == self.spec.label

    def refusal(self) -> ValueError:
        """Return the error of a source none of whose rows fit."""
        if not self.path:
            return self.spec.refuse("it holds no row.")
        return self.spec.refuse(
            f"no row is labelled so in `{'.'.join(self.path)}`; there are: {listed(sorted(self.seen))}."
        )


class DataSet:
    """A data set whose split and columns are found, not yet read.

    Args:
        spec: The source.
        test: Whether it is a source of test pictures, whose split is `test` by default.

    Raises:
        ValueError: If it cannot be reached, or the configuration, split, column or label is not there.
    """

    def __init__(self, spec: SourceSpec, test: bool = False) -> None:
        self.spec = spec
        self.secret = spec.secret()
        self._saved = _saved_folder(spec)
        try:
            if self._saved is not None:
                check_saved(self._saved)
            builder = self._builder()
            splits = builder.as_streaming_dataset()
        except Exception as error:  # of some ten classes, from pyarrow's to httpx's
            raise spec.refuse(self._in_words(error)) from error
        self.split = _split(spec, [str(name) for name in splits], "test" if test else "train")
        features = splits[self.split].features
        if features is None:  # of a format that says nothing of its columns before it is read
            features = splits[self.split]._resolve_features().features
        self.column = picture_column(spec, features)
        self.labels = Labels(spec, features)
        keep_bytes(builder)
        self._members = [MEMBER] if "__url__" in features and MEMBER in features else []
        self.is_folder = is_folder(builder)
        self.builder = builder
        self.access = self._access()

    def memory_mapped(self) -> tuple[Rows, list[int] | None]:
        """Return the rows memory-mapped from a local file, which is created if needed; filter by the label.

        Returns:
            The rows, and how many each shard has, before a label is looked at; none where that is not known.
        """
        try:
            if self._saved is not None:
                from datasets import load_from_disk

                rows = load_from_disk(str(self._saved / self.split if self._is_dict() else self._saved))
            else:
                self.builder.download_and_prepare()
                rows = self.builder.as_dataset(split=self.split)
        except Exception as error:
            raise self.spec.refuse(self._in_words(error)) from error
        lengths = self._lengths(rows)
        indices = np.arange(len(rows))
        if self.labels.columns:
            values = rows.select_columns(self.labels.columns).with_format(None)[self.labels.columns[0]]
            indices = np.array(
                [index for index, value in enumerate(values) if self.labels.is_wanted(value)], dtype=int
            )
        if len(indices) == 0:
            raise self.labels.refusal()
        column = _undecoded(rows.select_columns([self.column, *self._members]), self.column)
        access = self._access(mapped=True)
        return Rows(Table(column, self.column, self.spec.place, access, self.secret), indices), lengths

    def streamed(self) -> Any:
        """Return the rows as a `datasets.IterableDataset` of the image's and the label's columns, not decoded."""
        wanted = list(dict.fromkeys([self.column, *self.labels.columns, *self._members]))
        if _is_parquet(self.builder):
            self.builder.config.columns = wanted  # then the others are not even fetched
        rows = self.builder.as_streaming_dataset(split=self.split)
        rows = rows.decode(False) if rows.features is not None else rows  # remote pictures have decoders of their own
        return _undecoded(rows.select_columns(wanted), self.column)

    def addresses(self) -> list[Picture]:
        """Return the images of a folder at their place: nothing is downloaded before one is opened."""
        rows = ((number, row) for number, row in enumerate(self.streamed()) if self.labels.fits(row))
        try:
            found = [self._placed(self.rows_of(row, f"{self.spec.place} row {number}")) for number, row in rows]
        except Exception as error:  # metadata that cannot be read, or name files elsewhere
            raise self.spec.refuse(self._in_words(error)) from error
        if not found:
            raise self.labels.refusal()
        return found

    def files(self) -> list[str] | None:
        """Return the split's files, one per shard, if the dataset consists of files."""
        found = (self.builder.config.data_files or {}).get(self.split)
        return [str(file) for file in found] if found else None

    def revision(self) -> str | None:
        """Return the commit of the Hub repository that is read, if the files' addresses tell it."""
        found = re.match(r"hf://datasets/[^@]+@([0-9a-f]{40})/", (self.files() or [""])[0])
        return found[1] if found else None

    def count(self) -> int | None:
        """How many rows the split has; none where only reading it tells."""
        info = (self.builder.info.splits or {}).get(self.split)
        if self.spec.is_hub_id and info is not None and info.num_examples:  # what its card says
            return int(info.num_examples)
        lengths = self.shard_lengths()
        return None if lengths is None else sum(lengths)

    def shard_lengths(self) -> list[int] | None:
        """How many rows each file has; none where only reading it tells."""
        files = self.files()
        if files and all(urlsplit(file).path.endswith(".parquet") for file in files):
            with ThreadPoolExecutor(16) as pool:  # each waits for its server
                return list(pool.map(self._parquet_rows, files))
        if files and all(file.endswith(".arrow") and "://" not in file for file in files):
            from datasets import Dataset

            return [len(Dataset.from_file(file)) for file in files]
        return None

    def rows_of(self, row: dict[str, Any], name: str) -> Encoded:
        """Return a row's image."""
        return encoded(cell_of(row, self.column), name, self.access, self.secret)

    def refusal_of(self, name: str, error: Exception) -> ValueError:
        """Return the error of a shard that cannot be read, or not to its end."""
        return self.spec.refuse(f"{name} cannot be read: {one_line(error, 300)}")

    def _placed(self, cell: Encoded) -> Picture:
        """Return an image of a folder: its path if it is a file here, named by its address if it is elsewhere."""
        if cell.data is not None or cell.address is None:
            return cell
        try:
            place = self.access.locate(cell.address)
        except ValueError:  # told of when it is opened, by its row
            return cell
        return cell._replace(name=cell.address) if "://" in place else Path(place)

    def _access(self, mapped: bool = False) -> TableAccess:
        spec = self.spec
        is_here = not (spec.is_hub_id or spec.is_address)
        root = fixed_folder(spec.place) if is_here else None
        return access_of(
            self.builder,
            self.split,
            spec.place,
            root.parent if root is not None and root.is_file() else root,
            token=self.secret,
            mapped=mapped,
            everything=spec.allow_outside_files,
            flag=OUTSIDE_FLAG,
        )

    def _builder(self) -> Any:
        spec = self.spec
        if self._saved is not None:
            names = [self._saved] if not self._is_dict() else [path for path in self._saved.iterdir() if path.is_dir()]
            files = {"train" if folder == self._saved else folder.name: _arrow_files(folder) for folder in names}
            return open_builder("arrow", data_files=files)
        if spec.is_address:
            kind = KINDS.get(Path(urlsplit(spec.place).path).suffix.lower())
            if kind is None:
                raise ValueError(
                    f"an address must end in {', '.join(KINDS)}; of a whole data set on the Hub, the id will do."
                )
            return open_builder(kind, data_files=_by_split(spec, [spec.place]), token=self.secret)
        path = Path(spec.place).expanduser()
        if spec.is_hub_id or path.is_dir():
            place = spec.place if spec.is_hub_id else str(path)
            return open_builder(
                place,
                spec.config,
                revision=spec.revision,
                token=self.secret,
                everything=spec.allow_outside_files,
                flag=OUTSIDE_FLAG,
            )
        found = [path] if path.is_file() else matches(spec.place)
        kinds = {KINDS.get(file.suffix.lower()) for file in found}
        if len(kinds) > 1 or None in kinds:
            raise ValueError(f"shards of one kind are wanted, found {', '.join(sorted({f.suffix for f in found}))}.")
        return open_builder(str(*kinds), data_files=_by_split(spec, [str(file) for file in found]))

    def _is_dict(self) -> bool:
        return self._saved is not None and (self._saved / "dataset_dict.json").is_file()

    def _lengths(self, rows: Any) -> list[int] | None:
        if "__url__" in rows.column_names:  # webdataset: each row names its shard
            urls = np.asarray(rows["__url__"][:])
            starts = np.flatnonzero(np.append(True, urls[1:] != urls[:-1]))
            return np.diff(np.append(starts, len(urls))).tolist()
        lengths = self.shard_lengths()
        return lengths if lengths is not None and sum(lengths) == len(rows) else None

    def _parquet_rows(self, file: str) -> int:
        from datasets import DownloadConfig
        from datasets.utils.file_utils import xopen
        from pyarrow import parquet

        try:
            with xopen(file, "rb", download_config=DownloadConfig(token=self.secret)) as opened:
                return parquet.read_metadata(opened).num_rows
        except Exception as error:
            raise self.spec.refuse(f"{file}: {one_line(error, 200)}") from error

    def _repo_id(self) -> str | None:
        """Return the dataset on the Hub that this is, or whose files these are."""
        if self.spec.is_hub_id:
            return self.spec.place
        found = _REPO_FILES.match(self.spec.place)
        return found[1] if found else None

    def _in_words(self, error: Exception) -> str:
        text = one_line(cause_of(error), 300)
        if (repo_id := self._repo_id()) is not None:
            told = data_refusal(error, repo_id, token=self.secret, variable=self.spec.token)
            text = f"{told}." if told else text
        if self.spec.is_hub_id and (told := unreachable(error)):
            text = f"{told}."
        elif self.spec.is_hub_id and text.startswith(("Dataset '", "there is no such")):
            text = f"neither a path on this machine nor a data set that the Hub gives: {text}"
        elif isinstance(error, ImportError) and self.spec.place.startswith("http"):
            text = "https:// needs the package aiohttp: pip install aiohttp."
        return text


def picture_column(spec: SourceSpec, features: Any) -> str:
    """Return the column of images that a source means.

    Args:
        spec: The source.
        features: The data set's `datasets.Features`.

    Raises:
        ValueError: If there is none, or several and none is named; the message names the columns there are.
    """
    pictures = picture_columns(features)
    if spec.column is None:
        if len(pictures) == 1:
            return pictures[0]
        if pictures:
            told = f"`column={'` or `column='.join(pictures)}`" if len(pictures) < 4 else listed(pictures)
            raise spec.refuse(f"it has several columns of pictures: say which, {told}{member_hint(pictures)}.")
        raise spec.refuse(f"it has no column of pictures; there are: {listed(features)}.")
    if spec.column not in features:
        raise spec.refuse(f"there is no column `{spec.column}`; there are: {listed(features)}.")
    feature = features[spec.column]
    if not (is_picture_column(feature) or getattr(feature, "dtype", None) == "string"):
        raise spec.refuse(f"the column `{spec.column}` holds no pictures; these do: {listed(pictures) or 'none'}.")
    return spec.column


def _undecoded(rows: Any, column: str) -> Any:
    from datasets import Image

    return rows.cast_column(column, Image(decode=False))


def _split(spec: SourceSpec, splits: Sequence[str], usual: str) -> str:
    if spec.split is None and usual not in splits and len(splits) == 1:
        return splits[0]
    if (name := spec.split or usual) not in splits:
        hint = "" if "[" not in name else " A part of a split is what `data.limit` and `data.test_share` take."
        raise spec.refuse(f"there is no split `{name}`; there are: {', '.join(splits)}.{hint}")
    return name


def _by_split(spec: SourceSpec, files: list[str]) -> dict[str, list[str]]:
    """Files that are named one by one are the split that is asked for."""
    return {spec.split or "train": files}


def _saved_folder(spec: SourceSpec) -> Path | None:
    """Return the folder of a dataset that `save_to_disk` wrote."""
    folder = Path(spec.place).expanduser()
    is_saved = (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()
    return folder if is_saved and not spec.is_address else None


def _arrow_files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.arrow"))]


def _is_parquet(builder: Any) -> bool:
    from datasets.packaged_modules.parquet.parquet import Parquet

    return isinstance(builder, Parquet)
