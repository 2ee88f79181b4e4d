"""One domain's sources, opened: what can be listed of them, what is streamed, and what a stream is dealt out of."""

import itertools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.file_source import fixed_folder, picture_files
from cyclegan_hf.training.data.notation import SourceSpec, read_sources
from cyclegan_hf.training.data.rows import Picture, Rows, digest
from cyclegan_hf.training.data.shards import Group, JoinedShards, Shards, Singles, StreamShards, TableShards
from cyclegan_hf.training.data.table_source import DataSet


_SAMPLED_SHARDS = 4  # of a stream, from which pictures for samples and scores are taken


class Source:
    """One source: pictures that can be listed, or a stream.

    Args:
        spec: The source as it was written.
        streaming: Whether data sets are streamed.
        test: Whether its pictures are test pictures.

    Attributes:
        pictures: The pictures of a source that is not streamed.
        stream: The shards of one that is.
        revision: The commit that a data set on the Hub is read at.

    Raises:
        ValueError: If it is missing or holds no pictures.
    """

    def __init__(self, spec: SourceSpec, streaming: bool, test: bool = False) -> None:
        self.spec = spec
        self.pictures: Sequence[Picture] = []
        self.stream: StreamShards | None = None
        self.root: Path | None = None
        self.lengths: list[int] | None = None
        self.revision: str | None = None
        self.split: str | None = None
        self._in_shards = False
        if files := picture_files(spec):
            if options := [name for name in ("revision", "token") if getattr(spec, name)]:
                raise spec.refuse(f"`{options[0]}=` is for the Hub, and this is a path.")
            self.pictures, self.root = files
        else:
            data = DataSet(spec, test)
            self.revision, self.split = data.revision(), data.split
            is_here = not (spec.is_hub_id or spec.is_address)
            if data.is_folder and (streaming or is_here):
                self.pictures = data.addresses()
                self.root = fixed_folder(spec.place) if is_here else None
            elif not streaming:
                self.pictures, self.lengths = data.memory_mapped()
                self._in_shards = not data.is_folder
            else:
                self.stream = StreamShards(data)
        if spec.unique and self.stream is None:
            self.pictures = _without_repeats(self.pictures, spec)

    def name(self, place: int) -> str:
        """Return a name that doesn't change when the data move: a path below the folder, a row number."""
        if isinstance(self.pictures, Rows):
            return str(self.pictures.indices[place])
        inside, joint, file = str(self.pictures[place]).rpartition("::")  # in a zip file, as fsspec writes it
        if self.root is not None and Path(file).absolute().is_relative_to(self.root.absolute()):
            file = Path(file).absolute().relative_to(self.root.absolute()).as_posix()
        return f"{inside}{joint}{file}"

    def part(self, places: Sequence[int]) -> Sequence[Picture]:
        """Return some of the images."""
        if isinstance(self.pictures, Rows):
            return Rows(self.pictures.table, self.pictures.indices[np.asarray(places, dtype=int)])
        return [self.pictures[place] for place in places]

    def shards(self, places: Sequence[int], in_shards: bool) -> Shards:
        """Return the shards of the source.

        Args:
            places: Which of its pictures, where it is no stream.
            in_shards: In the shards that a table was made of, as a stream of them, and not picture by picture.

        Raises:
            ValueError: If the shards of a table are not known.
        """
        if self.stream is not None:
            return self.stream
        part = self.part(places)
        if not (in_shards and self._in_shards and isinstance(part, Rows)):
            return Singles(part)
        if self.lengths is None:
            raise self.spec.refuse("`data.shuffle_buffer` needs shards whose rows can be counted, and is for streams.")
        return TableShards(part, self.lengths)


class Domain:
    """The sources of a domain.

    Args:
        key: `"a"` or `"b"`.
        config: The configuration.

    Raises:
        ValueError: If a source cannot be opened, or an option does not go with it.
    """

    def __init__(self, key: str, config: DataConfig) -> None:
        self.key = key
        self.config = config
        outside = config.allow_outside_files
        specs = read_sources(getattr(config, key), f"data.{key}", outside)
        self._tested = read_sources(getattr(config, f"test_{key}"), f"data.test_{key}", outside)
        if not specs:
            raise ValueError(f"`data.{key}` names no source of pictures.")
        for spec in self._tested:
            if spec.weight is not None:
                raise spec.refuse("`weight=` is for training pictures: all test pictures count the same.")
        self.sources = [Source(spec, config.streaming) for spec in specs]
        self.test_sources = [Source(spec, config.streaming, test=True) for spec in self._tested]
        self.is_streamed = any(source.stream is not None for source in self.sources)
        self.is_weighted = any(spec.weight is not None for spec in specs)
        self._starts = [0, *itertools.accumulate(len(source.pictures) for source in self.sources)]
        self._refuse_what_does_not_go_together()

    def __len__(self) -> int:
        """Pictures that can be listed."""
        return self._starts[-1]

    @property
    def has_test_source(self) -> bool:
        """Whether the test pictures have a source of their own."""
        return bool(self._tested)

    def opened(self) -> dict[str, list[Source]]:
        """Open the sources; return them by the flags that name them."""
        found = {f"data.{self.key}": self.sources, f"data.test_{self.key}": self.test_sources}
        return {name: sources for name, sources in found.items() if sources}

    def folder(self) -> Path:
        """Return the folder that the images' names begin below.

        Raises:
            ValueError: If it is no folder of picture files.
        """
        if len(self.sources) > 1 or self.sources[0].root is None:
            raise ValueError(f"`data.pairing` needs `data.{self.key}` to be a folder of pictures.")
        return self.sources[0].root

    def names(self, places: Sequence[int]) -> list[str]:
        """Of pictures, by their places among all that can be listed."""
        single = len(self.sources) == 1
        return [
            source.name(place) if single else f"{number}/{source.name(place)}"
            for number, (source, part) in enumerate(zip(self.sources, self._by_source(places), strict=True))
            for place in part
        ]

    def revisions(self) -> dict[str, str]:
        """Return the commit of each Hub dataset, by the flag and its position."""
        found = {f"`{source.spec.key}` {source.spec.place}": source.revision for source in self.sources}
        return {name: commit for name, commit in found.items() if commit is not None}

    @property
    def streams(self) -> list[str]:
        """What tells the domain's streams from others."""
        found = [source.stream for source in self.sources if source.stream is not None]
        return [stream.identity for stream in found]

    def pictures(self, places: Sequence[int]) -> Sequence[Picture]:
        """Pictures that can be listed, by their places among all of them."""
        parts = [source.part(part) for source, part in zip(self.sources, self._by_source(places), strict=True)]
        return parts[0] if len(parts) == 1 else [picture for part in parts for picture in part]

    def training_pictures(self, places: Sequence[int]) -> Sequence[Picture]:
        """Return the training images; for a streamed domain, some of them."""
        return sample(self.sources, self.config.stream_samples) if self.is_streamed else self.pictures(places)

    def test_pictures(self, places: Sequence[int]) -> Sequence[Picture]:
        """The test source's pictures (of a stream, some of them), or those that are held out."""
        if not self._tested:
            return self.pictures(places)
        sources = self.test_sources
        if any(source.stream is not None for source in sources):
            return sample(sources, self.config.stream_samples)
        parts = [source.pictures for source in sources]
        return parts[0] if len(parts) == 1 else [picture for part in parts for picture in part]

    def groups(self, places: Sequence[int]) -> list[Group]:
        """Return the shards of the training images; none if they are shuffled as a whole."""
        in_shards = self.config.shuffle_buffer is not None
        if not (self.is_streamed or self.is_weighted or in_shards):
            return []
        parts = zip(self.sources, self._by_source(places), strict=True)
        shards = [source.shards(part, in_shards) for source, part in parts]
        if self.is_weighted:
            weights = [source.spec.weight or 1.0 for source in self.sources]
            return [Group(*both) for both in zip(shards, weights, strict=True)]
        return [Group(shards[0] if len(shards) == 1 else JoinedShards(shards), 1.0)]

    def _by_source(self, places: Sequence[int]) -> list[list[int]]:
        """Places among all pictures as places in each source."""
        parts: list[list[int]] = [[] for _ in self.sources]
        if len(parts) == 1:
            return [list(places)]
        numbers = np.searchsorted(self._starts, np.asarray(places, dtype=int), side="right") - 1
        for number, place in zip(numbers.tolist(), places, strict=True):
            parts[number].append(place - self._starts[number])
        return parts

    def _refuse_what_does_not_go_together(self) -> None:
        config, key = self.config, self.key
        asked = {
            "test_share": config.test_share > 0 and not self.has_test_source,
            "validation_share": bool(config.validation_share),
            "limit": config.limit is not None,
            "normalization": config.normalization == "dataset",
            f"remove_background_{key}": getattr(config, f"remove_background_{key}"),
            "pairing": config.pairing != "none",
        }
        wanted = [name for name, is_asked in asked.items() if is_asked]
        if self.is_streamed and wanted:
            hint = f"; `data.test_{key}` takes a source of its own" if wanted[0] == "test_share" else ""
            raise ValueError(
                f"`data.{wanted[0]}` needs all pictures at hand, and `data.{key}` is streamed: leave one out{hint}."
            )
        if config.pairing != "none" and (self.is_weighted or config.shuffle_buffer is not None):
            other = "`data.shuffle_buffer`" if config.shuffle_buffer is not None else f"weights in `data.{key}`"
            raise ValueError(f"`data.pairing` gives both domains one order, and cannot go with {other}.")


def sample(sources: Sequence[Source], count: int) -> list[Picture]:
    """Return some images of each source, from few of its shards.

    Raises:
        ValueError: If a stream has none.
    """
    pictures: list[Picture] = []
    for source in sources:
        if (stream := source.stream) is None:
            pictures += itertools.islice(source.pictures, count)
            continue
        chosen = np.unique(np.linspace(0, stream.num_shards - 1, _SAMPLED_SHARDS).astype(int)).tolist()
        found: list[Picture] = []
        for shard in chosen:
            rows = itertools.islice(stream.rows(shard), -(-count // len(chosen)))
            found += [picture for _, picture in rows]
        if not found:  # a rare label: one picture will do
            everything = (picture for shard in range(stream.num_shards) for _, picture in stream.rows(shard))
            found = list(itertools.islice(everything, 1))
        if not found:
            raise stream.refusal()
        pictures += found[:count]
    return pictures


def _without_repeats(pictures: Sequence[Picture], spec: SourceSpec) -> Sequence[Picture]:
    """Return the first of every image whose file's content is repeated."""
    seen: set[bytes] = set()
    kept = []
    with (
        ThreadPoolExecutor() as pool,
        tqdm(
            desc=f"Looking for repeats in {spec.key}",
            total=len(pictures),
            unit="picture",
            mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds: a log file needs no ten lines a second
        ) as bar,
    ):
        for place, content in enumerate(pool.map(digest, pictures)):
            bar.update()
            if content not in seen:
                seen.add(content)
                kept.append(place)
    if isinstance(pictures, Rows):
        return Rows(pictures.table, pictures.indices[kept])
    return [pictures[place] for place in kept]
