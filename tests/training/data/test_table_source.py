"""Sources that `datasets` opens, on this machine: their rows, memory-mapped and streamed, and what is refused."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf.bulk.source import DatasetSource
from cyclegan_hf.bulk.source import Rows as BulkRows
from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.normalization import dataset_statistics
from cyclegan_hf.training.data.rows import Picture, Rows, open_picture
from cyclegan_hf.training.data.shards import StreamShards
from cyclegan_hf.training.data.sources import Sources, load_sources
from tests.training.data_files import grey, write_arrow, write_parquet, write_webdataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five kinds of data sets, of twelve pictures each; B is a folder."""
    folder = tmp_path_factory.mktemp("sets")
    write_parquet(folder / "parquet", (5, 3, 4))
    write_webdataset(folder / "tars", (5, 3, 4))
    write_arrow(folder / "arrow", (6, 6))
    for number in range(12):
        path = folder / "classes" / ("horse" if number % 2 == 0 else "zebra") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey(number))
    for number in range(3):
        (folder / "b").mkdir(exist_ok=True)
        (folder / "b" / f"{number}.png").write_bytes(grey(200 + number))
    return folder


def load(root: Path, a: str | list[str], **data: Any) -> Sources:
    places = [f"{root}/{one}" for one in ([a] if isinstance(a, str) else a)]
    return load_sources(DataConfig(a=places, b=str(root / "b"), **data))


def greys(pictures: Any) -> list[int]:
    return [int(np.asarray(open_picture(picture)).mean()) for picture in pictures]


def streamed(sources: Sources) -> Iterator[Picture]:
    """All rows of domain A's streams, shard by shard."""
    for group in sources.groups["a"]:
        for shard in range(group.shards.num_shards):
            yield from (picture for _, picture in group.shards.rows(shard))


EVERYTHING = list(range(12))
SETS = [
    ("parquet,column=imageA", EVERYTHING),
    ("parquet,column=imageB", [255 - n for n in EVERYTHING]),
    ("parquet/train-*.parquet,column=imageA", EVERYTHING),
    ("parquet/train-00001-of-00003.parquet,column=imageA", [5, 6, 7]),
    ("parquet,column=imageA,label=zebra", [1, 3, 5, 7, 9, 11]),
    ("tars", EVERYTHING),
    ("tars/*.tar", EVERYTHING),
    ("tars,label=odd,label_column=json.kind", [1, 3, 5, 7, 9, 11]),
    ("arrow", EVERYTHING),
    ("classes,label=horse", [0, 2, 4, 6, 8, 10]),
]


@pytest.mark.parametrize(("text", "expected"), SETS, ids=[text for text, _ in SETS])
def test_the_same_rows_streamed_and_memory_mapped(root: Path, text: str, expected: list[int]) -> None:
    mapped, stream = load(root, text), load(root, text, streaming=True)
    assert greys(mapped.train["a"]) == expected
    assert mapped.length("a") == len(expected)
    if stream.groups["a"]:
        assert isinstance(stream.groups["a"][0].shards, StreamShards)
        assert greys(streamed(stream)) == expected
        assert set(greys(stream.train["a"])) <= set(expected)
    else:  # a folder of classes: nothing is gained by streaming it
        assert greys(stream.train["a"]) == expected


def test_a_folder_of_classes_without_a_label_is_a_folder(root: Path) -> None:
    assert sorted(greys(load(root, "classes").train["a"])) == EVERYTHING
    assert all(isinstance(picture, Path) for picture in load(root, "classes").train["a"])


def test_patterns_and_lists_of_files(root: Path, tmp_path: Path) -> None:
    assert greys(load(root, "classes/*/0[0-3].png").train["a"]) == [0, 2, 1, 3]
    listed = tmp_path / "some.txt"
    listed.write_text(f"# chosen\n{root}/classes/zebra/01.png\n\n{root}/b/2.png\n", encoding="utf-8")
    places = {"a": str(listed), "b": str(root / "b")}
    with pytest.raises(ValueError, match=r"2 of 2 files are outside of the list's folder.*allow-outside-files"):
        load_sources(DataConfig(**places))
    assert sorted(greys(load_sources(DataConfig(**places, allow_outside_files=True)).train["a"])) == [1, 202]
    inside = root / "classes" / "list.txt"
    inside.write_text("zebra/03.png\nhorse/04.png\nzebra/03.png\n", encoding="utf-8")
    assert sorted(greys(load(root, "classes/list.txt").train["a"])) == [3, 4]
    inside.unlink()


def test_how_long_a_stream_is(root: Path) -> None:
    lengths = {text: load(root, text, streaming=True).length("a") for text, _ in SETS}
    unknown = {"tars", "tars/*.tar", "tars,label=odd,label_column=json.kind", "parquet,column=imageA,label=zebra"}
    assert {text for text, length in lengths.items() if length is None} == unknown
    assert all(lengths[text] == len(expected) for text, expected in SETS if text not in unknown)


def test_a_column_that_is_not_asked_for_is_not_read(root: Path) -> None:
    sources = load(root, "parquet,column=imageB,label=horse", streaming=True)
    (row, *_) = sources.groups["a"][0].shards.stream
    assert set(row) == {"imageB", "label"}


def test_columns_written_without_datasets(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    for name, column in (
        ("bytes", pyarrow.array([grey(n) for n in range(4)], pyarrow.binary())),
        ("mapping", pyarrow.array([{"bytes": grey(n), "path": None} for n in range(4)])),
    ):
        folder = tmp_path / name
        folder.mkdir()
        parquet.write_table(pyarrow.table({"n": [0, 1, 2, 3], "picture": column}), folder / "x.parquet")
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / "1.png").write_bytes(grey(1))
        assert greys(load(tmp_path, name).train["a"]) == [0, 1, 2, 3]
        assert greys(streamed(load(tmp_path, name, streaming=True))) == [0, 1, 2, 3]


@pytest.mark.parametrize("streaming", [False, True])
def test_several_sources_are_one_domain(root: Path, streaming: bool) -> None:
    sources = load(root, ["parquet,column=imageA", "b", "arrow"], streaming=streaming)
    expected = sorted(EVERYTHING * 2 + [200, 201, 202])
    assert sources.length("a") == 27
    if streaming:
        assert sorted(greys(streamed(sources))) == expected
        assert len(sources.groups["a"]) == 1
    else:
        assert sorted(greys(sources.train["a"])) == expected
        assert not sources.groups["a"]


def test_weights_make_groups(root: Path) -> None:
    sources = load(root, ["parquet,column=imageA,weight=3", "b"])
    assert [(group.weight, group.shards.length) for group in sources.groups["a"]] == [(3.0, 12), (1.0, 3)]
    assert len(sources.train["a"]) == sources.length("a") == 15


def test_repeats_are_left_out_on_request(tmp_path: Path) -> None:
    write_parquet(tmp_path / "first", (4,))
    write_parquet(tmp_path / "second", (6,))
    for name in ("first", "second"):
        (tmp_path / "both").mkdir(exist_ok=True)
        (shard,) = (tmp_path / name).iterdir()
        shard.rename(tmp_path / "both" / f"train-{name}.parquet")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").write_bytes(grey(1))
    (tmp_path / "b" / "2.png").write_bytes(grey(1))
    assert greys(load(tmp_path, "both,column=imageA").train["a"]) == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    unique = load(tmp_path, "both,column=imageA,unique=true")
    assert greys(unique.train["a"]) == [0, 1, 2, 3, 4, 5]
    assert len(load(tmp_path, "b,unique=true").train["a"]) == 1
    assert load(tmp_path, "both,column=imageA,unique=true", streaming=True).length("a") is None


def test_splits_of_a_table_follow_its_rows(root: Path) -> None:
    shares = {"test_share": 0.25, "validation_share": 0.25}
    first, again = (load(root, "parquet,column=imageA", **shares) for _ in range(2))
    parts = [first.train["a"], first.validation["a"], first.test["a"]]
    assert [len(part) for part in parts] == [6, 3, 3]
    assert sorted(greys([picture for part in parts for picture in part])) == EVERYTHING
    assert greys(again.test["a"]) == greys(first.test["a"])
    assert again.fingerprint == first.fingerprint
    assert isinstance(first.test["a"], Rows)
    assert len(load(root, "arrow", limit=5).train["a"]) == 5


def test_a_table_has_statistics_of_its_own(root: Path) -> None:
    config = DataConfig(a=f"{root}/arrow", b=f"{root}/b", image_size=4, load_size=(4, 4))
    statistics = dataset_statistics(load_sources(config).train, config, (1, 3))
    assert statistics["a"]["mean"][0] * 255 == pytest.approx(np.mean(EVERYTHING))
    assert statistics["a"]["std"][0] * 255 == pytest.approx(np.std(EVERYTHING))


def test_test_pictures_have_sources_like_others(root: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (2,), split="train")
    write_parquet(tmp_path / "set", (3,), split="test")
    sources = load(root, "b", test_a=f"{tmp_path}/set,column=imageA")
    assert greys(sources.test["a"]) == [0, 1, 2]  # the split `test`, where there is one
    sources = load(root, "b", test_a=[f"{root}/parquet,column=imageB", f"{root}/b"], streaming=True, stream_samples=4)
    assert greys(sources.test["a"]) == [255, 254, 250, 249, 200, 201, 202]  # of each source, of several shards


REFUSED = [
    ("parquet", "it has several columns of pictures: say which, `column=imageA` or `column=imageB`."),
    ("parquet,column=image", "there is no column `image`; there are: imageA, imageB, label."),
    ("parquet,column=label", "the column `label` holds no pictures; these do: imageA, imageB."),
    ("parquet,column=imageA,split=test", "there is no split `test`; there are: train."),
    ("parquet,column=imageA,split=train[:2]", r"there is no split `train[:2]`; there are: train. A part of a split"),
    ("parquet,column=imageA,config=x", "BuilderConfig 'x' not found. Available: ['default']"),
    ("parquet,column=imageA,label=cow", "no row is labelled so in `label`; its labels are: horse, zebra."),
    ("parquet,column=imageA,label=cow,label_column=kind", "no column `kind`; there are: imageA, imageB, label."),
    ("parquet,column=imageA,label_column=label", "`label_column=` needs `label=`"),
    ("tars,label=odd", "there is no column `label`: name it with `label_column=`; there are: "),
    ("tars,label=blue,label_column=json.kind", "no row is labelled so in `json.kind`; there are: even, odd."),
    ("classes/*/99.png", "no picture and no shard has a name like this"),
    ("classes,label=cow", "no row is labelled so in `label`; its labels are: horse, zebra."),
    ("b,revision=main", "`revision=` is for the Hub, and this is a path."),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text for text, _ in REFUSED])
def test_what_is_not_there_is_refused_with_what_is(root: Path, text: str, message: str, streaming: bool) -> None:
    with pytest.raises(ValueError) as error:
        load(root, text, streaming=streaming)
    assert str(error.value).startswith("`data.a` ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test_share": 0.1}, "`data.test_share` needs all pictures at hand, and `data.a` is streamed"),
        ({"validation_share": 0.1}, "`data.validation_share` needs all pictures at hand"),
        ({"limit": 3}, "`data.limit` needs all pictures at hand"),
        ({"pairing": "random_capped"}, "`data.pairing` needs all pictures at hand"),
        ({"remove_background_a": True}, "`data.remove_background_a` needs all pictures at hand"),
        ({"normalization": "dataset"}, "`data.normalization` needs all pictures at hand"),
    ],
)
def test_what_a_stream_cannot_do_is_refused_by_its_key(root: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(root, "arrow", streaming=True, **data)
    if "remove_background_a" not in data and "pairing" not in data:
        load(root, "arrow", **data)


@pytest.mark.parametrize("data", [{"shuffle_buffer": 5}, {"a": ["b,weight=2", "classes"]}])
def test_pairs_go_with_one_order_only(root: Path, data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`data.pairing` gives both domains one order, and cannot go with"):
        load(root, **({"a": "b", "pairing": "random_capped"} | data))


def test_missing_files_of_a_list_are_counted(root: Path, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("x.png\ny.png\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"2 of 2 files are missing, the first is .*x.png'; paths are relative"):
        load_sources(DataConfig(a=str(tmp_path / "l.txt"), b=str(root / "b")))


def test_shards_of_two_kinds_are_refused(root: Path, tmp_path: Path) -> None:
    for name in ("x.parquet", "y.tar"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"shards of one kind are wanted, found \.parquet, \.tar"):
        load_sources(DataConfig(a=f"{tmp_path}/*", b=str(root / "b")))


def test_a_row_without_a_picture_is_named(tmp_path: Path) -> None:
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    rows = {"image": [{"bytes": grey(1), "path": None}, None]}
    Dataset.from_dict(rows, features=Features({"image": ImageFeature()})).to_parquet(tmp_path / "x.parquet")
    (tmp_path / "b").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "b" / "1.png")
    sources = load(tmp_path, "x.parquet")
    with pytest.raises(ValueError, match=r"x.parquet row 1: .*empty cell"):
        open_picture(sources.train["a"][1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_as_other_programs_write_them(tmp_path: Path, encoding: str) -> None:
    names = ["été.png", "with space.png", "deep/one.png", '"kept".png']
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(grey(10 * number))
    text = '# a comment\r\n\r\nété.png\r\n"with space.png"\r\ndeep\\\\one.png\r\n"kept".png\r\n'
    (tmp_path / "list.txt").write_bytes(text.replace("\\\\", "\\").encode(encoding))
    pictures = load_sources(DataConfig(a=str(tmp_path / "list.txt"), b=str(tmp_path))).train["a"]
    assert sorted(greys(pictures)) == [0, 10, 20, 30]


@pytest.mark.parametrize("line", ["../secret.png", "link.png", "missing\0.png", "pipe.png", "deep"])
def test_lists_that_name_something_else(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for path in (tmp_path / "secret.png", folder / "one.png"):
        path.write_bytes(grey(1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "list.txt").write_text(f"one.png\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 of 2 files are (outside|missing)|named pipe|directory"):
        load_sources(DataConfig(a=str(folder / "list.txt"), b=str(tmp_path)))


def test_a_tar_whose_names_have_several_dots(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(30):
            member = tarfile.TarInfo(f"pic.{number}.png")
            member.size = len(grey(number))
            tar.addfile(member, io.BytesIO(grey(number)))
    for read in (
        lambda: load_sources(DataConfig(a=str(tmp_path / "x.tar"), b=str(tmp_path))),
        lambda: BulkRows(DatasetSource(place=str(tmp_path / "x.tar")), True),
    ):
        with pytest.raises(ValueError, match="a name ends at its first dot") as caught:
            read()
        assert "29.png" not in str(caught.value)


def test_a_mistyped_folder_offline_is_a_missing_folder() -> None:
    for read in (
        lambda: load_sources(DataConfig(a="runs/missing", b="runs/missing")),
        lambda: BulkRows(DatasetSource(place="runs/missing"), True),
    ):
        with pytest.raises(ValueError, match="runs/missing: there is no such folder"):
            read()


def test_pipes_are_no_shards(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (3,))
    os.mkfifo(tmp_path / "set" / "train-00001.parquet")
    os.mkfifo(tmp_path / "set" / "list.txt")
    for place in ("set", "set/*.parquet"):
        assert (
            len(
                load_sources(
                    DataConfig(a=f"{tmp_path}/{place},column=imageA", b=f"{tmp_path}/set,column=imageB")
                ).train["a"]
            )
            == 3
        )
    for place in ("list.txt", "train-00001.parquet"):
        with pytest.raises(ValueError, match=r"`data.a`"):
            load_sources(DataConfig(a=f"{tmp_path}/set/{place}", b=f"{tmp_path}/set,column=imageB"))
    os.mkfifo(tmp_path / "set" / "README.md")
    with pytest.raises(ValueError, match=r"README.md: expected a text file"):
        load_sources(DataConfig(a=f"{tmp_path}/set,column=imageA", b=f"{tmp_path}/set,column=imageB"))
