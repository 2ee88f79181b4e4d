"""Two folders of pictures to one unpaired data set on the Hub.

Each of `trainA`, `trainB`, `testA` and `testB` is a configuration of its own, since two domains have neither the same
number of pictures nor an order in common; the configuration `default` has all of them as splits. The pictures' files
are put into parquet files as they are, byte for byte, in groups of rows that a stream reads one at a time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData
from tqdm import tqdm

from cyclegan_hf.errors import install_command, one_line
from cyclegan_hf.hub.upload import Published, Target, upload
from cyclegan_hf.images.files import images_in
from cyclegan_hf.images.io import open_image
from cyclegan_hf.tables.access import is_below, real_folders


SHARD_BYTES = 100_000_000
ROW_GROUP = 50
"""Pictures that a stream has in memory at a time."""

TAGS = ("unpaired-image-translation", "cyclegan")
MARKER = ("README.md", TAGS[0])
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def push_dataset(
    folder_a: str | os.PathLike[str],
    folder_b: str | os.PathLike[str],
    repo_id: str,
    *,
    license: str,
    test_a: str | os.PathLike[str] | None = None,
    test_b: str | os.PathLike[str] | None = None,
    domain_a: str | None = None,
    domain_b: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    allow_outside_files: bool = False,
) -> Published:
    """Push two folders as one data set, as one commit.

    Args:
        folder_a: Training pictures of domain A, with sub-folders.
        folder_b: Training pictures of domain B.
        repo_id: `"user/name"`; made where there is none.
        license: The pictures', as the Hub spells it: `"cc0-1.0"`, `"cc-by-4.0"`, `"other"`.
        test_a: Test pictures of domain A.
        test_b: Test pictures of domain B.
        domain_a: Name of domain A; by default the folder's, or `"a"` of a folder `trainA`.
        domain_b: Name of domain B.
        private: Make a new repository private.
        revision: Branch, made where there is none; by default the main one.
        create_pr: Open a pull request instead.
        commit_message: By default one that counts the pictures.
        token: One with write access; by default the stored one.
        allow_outside_files: Push the files that links in the folders lead to, wherever they are.

    Returns:
        [`Published`]: The address and the commit.

    Raises:
        ImportError: `datasets` is not installed.
        ValueError: A folder is missing, holds no pictures, damaged ones or links to files outside of it, or the Hub
            refused.
    """
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise ImportError(f"pushing a data set needs the extra `train`: {install_command('train')}") from error
    folders = {"trainA": folder_a, "trainB": folder_b, "testA": test_a, "testB": test_b}
    pictures = {name: _pictures(Path(folder)) for name, folder in folders.items() if folder is not None}
    if not allow_outside_files:
        for name, folder in folders.items():
            _refuse_links(Path(folder or ""), pictures.get(name, ()))
    names = domain_a or _domain(folder_a, "a"), domain_b or _domain(folder_b, "b")
    if names[0] == names[1]:
        raise ValueError(f"`domain_a` and `domain_b` must be two different names, got {names[0]!r} twice: set them")
    if not license.strip():
        raise ValueError("a data set needs a `license`, such as cc0-1.0, cc-by-4.0 or other")
    _check([picture for files in pictures.values() for _, picture in files])
    with tempfile.TemporaryDirectory(prefix="cyclegan-hf-dataset-") as temporary:
        files: dict[str, Path | bytes] = {}
        for name, found in pictures.items():
            for number, shard in enumerate(shards := _shards(found)):
                path = Path(temporary, f"{name}-{number:05d}.parquet")
                _write(path, shard)
                files[f"{name}/{number:05d}-of-{len(shards):05d}.parquet"] = path
        files["README.md"] = dataset_card(repo_id, pictures, names, license, _packed(files)).encode()
        count = sum(map(len, pictures.values()))
        target = Target(
            repo_id=repo_id,
            repo_type="dataset",
            private=private,
            revision=revision,
            create_pr=create_pr,
            token=token,
            marker=MARKER,
        )
        return upload(
            target, files, commit_message or f"Upload {count} pictures", replaces=[f"{name}/*" for name in folders]
        )


def dataset_card(
    repo_id: str,
    pictures: Mapping[str, Sequence[tuple[str, Path]]],
    domains: tuple[str, str],
    license: str,
    packed: Mapping[str, int],
) -> str:
    """Return the dataset's card.

    Args:
        repo_id: Its id.
        pictures: Names and files of each split.
        domains: Names of domains A and B.
        license: The pictures'.
        packed: Bytes of each split's parquet files.
    """
    total = sum(map(len, pictures.values()))
    splits = {name: "test" if name.startswith("test") else "train" for name in pictures}
    bytes_of = {name: sum(path.stat().st_size for _, path in files) for name, files in pictures.items()}

    def info(config: str, parts: Mapping[str, str]) -> dict[str, Any]:
        return {
            "config_name": config,
            "features": [{"name": "image", "dtype": "image"}],
            "splits": [
                {"name": split, "num_bytes": bytes_of[name], "num_examples": len(pictures[name])}
                for name, split in parts.items()
            ],
            "download_size": sum(packed[name] for name in parts),
            "dataset_size": sum(bytes_of[name] for name in parts),
        }

    def files(config: str, parts: Mapping[str, str]) -> dict[str, Any]:
        found = [{"split": split, "path": f"{name}/*.parquet"} for name, split in parts.items()]
        return {"config_name": config, "data_files": found}

    configs = {"default": {name: name for name in pictures}} | {name: {name: split} for name, split in splits.items()}
    data = DatasetCardData(
        license=license,
        task_categories=["image-to-image"],
        tags=list(TAGS),
        size_categories=[next((label for limit, label in _SIZES.items() if total < limit), "n>1M")],
        pretty_name=f"{domains[0]} ↔ {domains[1]}",
        dataset_info=[info(*config) for config in configs.items()],
        configs=[files(*config) for config in configs.items()],
    )
    rows = "\n".join(
        f"| `{name}` | {domains['AB'.index(name[-1])]} | {split} | {len(pictures[name]):,} | {bytes_of[name]:,} |"
        for name, split in splits.items()
    )
    return f"""---
{data.to_yaml()}
---

# {domains[0]} ↔ {domains[1]}

Unpaired pictures of two domains, A ({domains[0]}) and B ({domains[1]}): no picture of one belongs to a picture of the other.

| configuration | domain | split | pictures | bytes |
|---|---|---|---|---|
{rows}

```python
from datasets import load_dataset

pictures = load_dataset("{repo_id}", "trainA", split="train", streaming=True)
```

The files are as they were (`image.path` has their names); the licence ({license}) is the pictures'.
"""  # noqa: E501


def _pictures(folder: Path) -> list[tuple[str, Path]]:
    """Return the images of a folder and its subfolders: names below the folder, and files.

    Raises:
        ValueError: There are none.
    """
    return [(path.relative_to(folder).as_posix(), path) for path in images_in(folder)]


def _refuse_links(folder: Path, files: Sequence[tuple[str, Path]]) -> None:
    """Refuse to publish files of other folders: a downloaded folder may hold links that its owner does not know of.

    Raises:
        ValueError: A picture is a link that leads out of the folder.
    """
    own = real_folders(folder)
    if outside := [path for _, path in files if not is_below(os.path.realpath(path), own)]:
        raise ValueError(
            f"{folder}: {len(outside)} of {len(files)} pictures are links to files outside of it, the first is "
            f"{outside[0]}; `--allow-outside-files` pushes them"
        )


def _domain(folder: str | os.PathLike[str], letter: str) -> str:
    """Return a domain's name from its folder's, unless that is the customary `trainA`."""
    name = Path(folder).resolve().name
    return letter if name.lower().startswith("train") else name


def _check(files: Sequence[Path]) -> None:
    """Open every picture: nobody else should find the damaged ones.

    Raises:
        ValueError: Some cannot be read.
    """
    faults = []
    for path in tqdm(files, desc="Looking at the pictures", unit="picture"):
        try:
            open_image(path)
        except ValueError as error:
            faults.append(error)
    if faults:
        first = one_line(faults[0])
        raise ValueError(f"{len(faults)} of {len(files)} pictures cannot be read; remove them. The first: {first}")


def _shards(files: Sequence[tuple[str, Path]]) -> list[list[tuple[str, Path]]]:
    """Split the files into shards of at most `SHARD_BYTES`, or one file each."""
    shards: list[list[tuple[str, Path]]] = [[]]
    size = 0
    for name, path in files:
        length = path.stat().st_size
        if shards[-1] and size + length > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, path))
        size += length
    return shards


def _write(target: Path, files: Sequence[tuple[str, Path]]) -> None:
    """Write pictures as the column `image` of a parquet file, a group of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Image

    schema = Features({"image": Image()}).arrow_schema
    with pq.ParquetWriter(target, schema, compression="none") as writer:  # pictures are compressed
        for rows in _groups(files):
            writer.write_table(pa.table({"image": pa.array(rows, schema.field("image").type)}, schema=schema))


def _groups(files: Sequence[tuple[str, Path]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(files), ROW_GROUP):
        yield [{"bytes": path.read_bytes(), "path": name} for name, path in files[start : start + ROW_GROUP]]


def _packed(files: Mapping[str, Path | bytes]) -> dict[str, int]:
    """Return the bytes of each split's files."""
    sizes: dict[str, int] = {}
    for path, file in files.items():
        name = path.partition("/")[0]
        sizes[name] = sizes.get(name, 0) + (file.stat().st_size if isinstance(file, Path) else len(file))
    return sizes
