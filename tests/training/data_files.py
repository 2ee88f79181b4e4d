"""Data sets in files, as users have them: parquet, webdataset, arrow. Every picture is told by its grey."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, disable_progress_bars
from datasets import Image as ImageFeature
from PIL import Image


disable_progress_bars()

SIZE = 4


def grey(value: int, size: int = SIZE) -> bytes:
    """A PNG of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def numbered(lengths: Sequence[int]) -> list[range]:
    """Numbers for the rows of shards of these lengths."""
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]


def write_parquet(folder: Path, lengths: Sequence[int], broken: Sequence[int] = (), split: str = "train") -> Path:
    """Shards with `imageA` (row n has grey n), `imageB` (grey 255 - n), `label` (horse, zebra in turn) and `name`.

    Args:
        folder: Where to.
        lengths: Rows of each shard.
        broken: Numbers of rows whose `imageA` is cut off.
        split: In the files' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = Features(
        {"imageA": ImageFeature(), "imageB": ImageFeature(), "label": ClassLabel(names=["horse", "zebra"])}
    )
    for shard, numbers in enumerate(numbered(lengths)):
        rows: dict[str, list[Any]] = {
            "imageA": [cell(grey(n)[: 40 if n in broken else None], f"{n:03d}.png") for n in numbers],
            "imageB": [cell(grey(255 - n)) for n in numbers],
            "label": [n % 2 for n in numbers],
        }
        data = Dataset.from_dict(rows, features=features)
        data.to_parquet(folder / f"{split}-{shard:05d}-of-{len(lengths):05d}.parquet")
    return folder


def cell(data: bytes, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def write_webdataset(folder: Path, lengths: Sequence[int], broken: Sequence[int] = ()) -> Path:
    """Tar files with `0000.png` (grey n) and `0000.json` (its kind, even or odd)."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, numbers in enumerate(numbered(lengths)):
        with tarfile.open(folder / f"train-{shard:03d}.tar", "w") as tar:
            for n in numbers:
                picture = grey(n)[: 40 if n in broken else None]
                about = json.dumps({"kind": "odd" if n % 2 else "even"}).encode()
                for suffix, data in (("png", picture), ("json", about)):
                    member = tarfile.TarInfo(f"{n:04d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def write_arrow(folder: Path, lengths: Sequence[int]) -> Path:
    """What `save_to_disk` writes: grey n in the column `image`."""
    features = Features({"image": ImageFeature()})
    data = Dataset.from_dict({"image": [cell(grey(n)) for n in range(sum(lengths))]}, features=features)
    data.save_to_disk(str(folder), num_shards=len(lengths))
    return folder
