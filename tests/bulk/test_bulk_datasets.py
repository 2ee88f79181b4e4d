"""Data sets through the command and back: what is read, how it is shared out, what is written, how it goes on."""

import io
import json
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest


datasets = pytest.importorskip("datasets", reason="needs the extra `train`")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from cyclegan_hf import CycleGANPipeline  # noqa: E402
from cyclegan_hf.bulk.source import DatasetSource, Rows, names_dataset  # noqa: E402
from cyclegan_hf.cli import main  # noqa: E402
from cyclegan_hf.images.io import open_image  # noqa: E402
from cyclegan_hf.processes import Processes  # noqa: E402
from tests.bulk.conftest import Launch, files_under  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


@pytest.fixture
def table(photos: Path) -> Path:
    """The photos as a data set in three parquet files of 5, 5 and 4 rows, with a label, a word and a number."""
    rows = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train")
    rows = rows.with_format("arrow").map(datasets.table.embed_table_storage, batched=True).with_format(None)
    rows = rows.add_column("word", [f"word {index}" for index in range(14)])
    rows = rows.add_column("number", [index / 2 for index in range(14)])
    (photos.parent / "table").mkdir()
    for index in range(3):
        part = rows.shard(3, index)
        part.to_parquet(photos.parent / "table" / f"train-{index:05d}-of-00003.parquet")
    return photos.parent / "table"


def translated(source: Any, model: str) -> list[Any]:
    """What the pipeline makes of a data set's pictures."""
    pipeline = CycleGANPipeline.from_pretrained(model)
    return [pipeline(row["image"], direction="a2b").images[0] for row in source]


def opened(rows: Any, column: str = "image") -> list[bytes]:
    raw = rows.cast_column(column, datasets.Image(decode=False))
    return [open_image(row[column]["bytes"] or row[column]["path"]).tobytes() for row in raw]


@pytest.mark.parametrize("flags", [[], ["--streaming"]])
def test_a_data_set_becomes_parquet_with_all_its_columns(
    table: Path, model: str, capsys: Any, flags: list[str]
) -> None:
    command = ["translate", "table/*.parquet", "--output", "out", "--model", model, "--format", "png"]
    assert main([*command, "--write", "parquet", "--rows-per-shard", "3", *flags]) == 0
    shards = 6 if flags else 5  # of the stream's three files: 3 + 2, 3 + 2, 3 + 1
    assert capsys.readouterr().out == f"out: 14 pictures translated, {shards} shards written\n"
    before = datasets.load_dataset("parquet", data_files="table/*.parquet", split="train")
    after = datasets.load_dataset("out", split="train")
    assert after.features == before.features
    for name in ("label", "word", "number"):
        assert after[name] == before[name]
    assert opened(after) == [picture.tobytes() for picture in translated(before, model)]
    assert not [name for name in os.listdir("out/data") if name.startswith(".")]


def test_a_data_set_becomes_folders_of_pictures(table: Path, model: str) -> None:
    command = ["translate", "table/*.parquet", "--output", "out", "--model", model, "--cycle"]
    assert main([*command, "--rows-per-shard", "10"]) == 0
    names = list(files_under("out"))
    assert names[:3] == [
        "train/00000-00000/00000000.png",
        "train/00000-00000/00000000_cycle.png",
        "train/00000-00000/00000001.jpg",  # as the source was
    ]
    assert "train/00000-00001/00000013_cycle.png" in names
    first = json.loads(Path("out/train/00000-00000/metadata.jsonl").read_text().splitlines()[0])
    told = {"file_name": "00000000.png", "cycle_file_name": "00000000_cycle.png"}
    assert first == told | {"label": "meadow", "word": "word 0", "number": 0.0}
    after = datasets.load_dataset("imagefolder", data_dir="out", split="train")
    assert sorted(after["label"]) == ["meadow"] * 7 + ["snow"] * 7
    assert dict(zip(after["word"], after["number"], strict=True)) == {f"word {n}": n / 2 for n in range(14)}


def test_a_folder_becomes_parquet_with_its_classes(photos: Path, model: str) -> None:
    assert main(["translate", "photos", "--output", "out", "--model", model, "--write", "parquet", "--cycle"]) == 0
    after = datasets.load_dataset("out", split="train")
    assert list(after.features) == ["image", "label", "image_cycle"]
    assert after.features["label"].names == ["meadow", "snow"]
    assert len(set(opened(after)) & set(opened(after, "image_cycle"))) == 0


@pytest.mark.parametrize("flags", [[], ["--streaming"]])
def test_shards_do_not_depend_on_how_many_processes_made_them(
    table: Path, model: str, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["translate", "table/*.parquet", "--model", model, "--write", "parquet", "--rows-per-shard", "2", *flags]
    assert main([*command, "--output", "whole"]) == 0
    for count in (2, 5):  # fewer than the stream's files, and more
        monkeypatch.setenv("WORLD_SIZE", str(count))
        for rank in reversed(range(count)):
            monkeypatch.setenv("RANK", str(rank))
            assert main([*command, "--output", f"by-{count}", "--existing", "skip"]) == 0
        assert files_under(f"by-{count}") == files_under("whole")


def test_what_is_done_is_not_done_again(table: Path, model: str, capsys: Any) -> None:
    command = ["translate", "table/*.parquet", "--output", "out", "--model", model, "--write", "parquet"]
    command += ["--rows-per-shard", "2", "--streaming"]
    assert main(command) == 0
    whole = files_under("out")
    capsys.readouterr()
    assert main(command) == 2
    assert "error: out: holds shards of this translation already" in capsys.readouterr().err
    assert main([*command, "--existing", "skip"]) == 0
    assert capsys.readouterr().out == "out: nothing to do, 8 shards already there\n"

    first, last = (Path(f"out/data/train-00001-{number:05d}.parquet") for number in (0, 2))
    first.unlink()
    last.unlink()
    Path("out/data/.train-00001-00000.parquet.0a1b2c3d.tmp").write_bytes(b"half")
    assert main([*command, "--existing", "skip"]) == 0
    assert capsys.readouterr().out == "out: 3 pictures translated, 2 shards written, 6 shards already there\n"
    assert files_under("out") == whole
    assert main([*command, "--existing", "overwrite"]) == 0
    assert capsys.readouterr().out == "out: 14 pictures translated, 8 shards written\n"
    assert files_under("out") == whole
    assert not list(Path("out").rglob("*.tmp"))


def test_two_translations_are_not_mixed(table: Path, model: str, capsys: Any) -> None:
    command = ["translate", "table/*.parquet", "--output", "out", "--model", model, "--existing", "skip"]
    assert main(command) == 0
    whole = files_under("out")
    capsys.readouterr()
    for flags, told in (
        (["--direction", "b2a"], "(`direction` a2b, now b2a)"),
        (["--rows-per-shard", "7"], "(`rows_per_shard` 1000, now 7)"),
        (["--write", "parquet"], "(`write` pictures, now parquet)"),
    ):
        assert main([*command, *flags]) == 2
        assert f"error: out: holds a translation with other settings {told}" in capsys.readouterr().err
    assert files_under("out") == whole


def test_a_picture_that_cannot_be_read_is_left_out_and_named(table: Path, model: str, capsys: Any) -> None:
    path = str(table / "train-00001-of-00003.parquet")
    rows = datasets.load_dataset("parquet", data_files=path, split="train")
    content = list(rows.cast_column("image", datasets.Image(decode=False)))
    content[2]["image"] = {"bytes": b"", "path": None}
    content[4]["image"] = {"bytes": content[4]["image"]["bytes"][:99], "path": None}
    datasets.Dataset.from_list(content, features=rows.features).to_parquet(path)
    command = ["translate", "table/*.parquet", "--output", "out", "--model", model, "--streaming"]
    assert main([*command, "--write", "parquet"]) == 1
    out, err = capsys.readouterr()
    assert out == "out: 12 pictures translated, 3 shards written, 2 failed\n"
    assert "row 2 of shard 1: picture of 0 bytes: expected a picture, got" in err
    assert "row 4 of shard 1: picture of 99 bytes: expected a" in err
    after = datasets.load_dataset("parquet", data_files="out/data/train-00001-*.parquet", split="train")
    assert after["word"] == ["word 5", "word 6", "word 8"]


def test_a_stream_of_a_webdataset(photos: Path, model: str) -> None:
    with tarfile.open("set.tar", "w") as tar:
        for index in range(3):
            content = io.BytesIO()
            make_picture("A", index, 24).save(content, format="PNG")
            for name, data in ((f"{index}.png", content.getvalue()), (f"{index}.txt", f"no. {index}".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    assert main(["translate", "set.tar,column=png", "--output", "out", "--model", model, "--streaming"]) == 0
    assert [name for name in files_under("out") if name.endswith(".png")] == [
        f"train/00000-00000/{index:08d}.png" for index in range(3)
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table", "photos", "--write", "parquet"], "expected one data set, or pictures, got table, photos"),
        (["photos/snow/0.png", "--write", "parquet"], "`--write parquet` needs a data set or a folder, got photos"),
        (["photos", "--streaming"], "`--streaming` needs a data set or a folder, got photos"),
        (["table", "--write", "parquet", "--rows-per-shard", "0"], "`--rows-per-shard` must be 1 or more, got 0"),
        (["table", "--push-to-hub", "user/name"], "`--push-to-hub` needs `--write parquet`"),
        (
            ["table", "--write", "parquet", "--push-to-hub", "name"],
            "`--push-to-hub` must be like user/name, got 'name'",
        ),
        (["table/*.parquet,colum=a"], "expected the options config, split, column, revision, got 'colum'"),
        (["table/*.parquet,split=test"], "cannot be read as a data set (expected one of the splits train, got test"),
        (
            ["table/*.parquet,column=word"],
            "`word` is no column of pictures; the columns are image, label, word, number",
        ),
        (["nothing/*.parquet"], "nothing/*.parquet: cannot be read as a data set"),
        (["user/nothing"], "user/nothing: there is no such folder"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    table: Path, model: str, words: list[str], message: str, capsys: Any
) -> None:
    assert main(["translate", *words, "--output", "out", "--model", model]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("user/name", DatasetSource(place="user/name")),
        ("user/name,split=test,column=imageA", DatasetSource(place="user/name", split="test", column="imageA")),
        ("hf://datasets/user/name/a.parquet", DatasetSource(place="hf://datasets/user/name/a.parquet")),
        ("shards/*.parquet", DatasetSource(place="shards/*.parquet")),
        ("photos/summer.jpg", None),  # a picture that is not there is told as one
        ("photos/*.jpg", None),
        ("photo.jpg", None),
    ],
)
def test_a_data_set_is_known_by_its_name(text: str, source: DatasetSource | None) -> None:
    assert DatasetSource.read(text) == source


def test_ids_on_the_hub() -> None:
    assert [names_dataset(text) for text in ("a/b", "a-b/c.d_2", "a/b.png", "a", "a/b/c", "./a/b")] == [
        *(True, True, False, False, False, False),
    ]


def test_rows_are_read_a_few_at_a_time_and_those_of_others_not_at_all(table: Path) -> None:
    rows = Rows(DatasetSource(place="table/*.parquet"), streaming=True)
    progress = Progress("00000-00000")
    blocks = rows.blocks(4, Processes(rank=0, count=2), progress)
    seen = {block.name: [(first, table["word"].to_pylist()) for first, table in block.tables] for block in blocks}
    assert seen == {
        "00000-00001": [(4, ["word 4"])],
        "00002-00000": [(0, ["word 10", "word 11", "word 12", "word 13"])],
    }
    assert progress.skipped == ["00000-00000"]
    assert progress.ended == {"00000": 2, "00002": 1}


class Progress:
    """Blocks that are there, and what is told of others."""

    def __init__(self, *there: str, **known: int) -> None:
        self.there, self.known = set(there), known
        self.skipped: list[str] = []
        self.ended: dict[str, int] = {}

    def is_there(self, block: str) -> bool:
        return block in self.there

    def skip(self, block: str) -> None:
        self.skipped.append(block)

    def blocks_of(self, shard: str) -> int | None:
        return self.known.get(shard)

    def end(self, shard: str, blocks: int) -> None:
        self.ended[shard] = blocks


@pytest.mark.parametrize(("there", "translated"), [(3, []), (2, ["00001-00002"])])
def test_a_shard_that_is_said_to_be_done_is_read_again_where_a_part_is_gone(
    table: Path, there: int, translated: list[str]
) -> None:
    rows = Rows(DatasetSource(place="table/*.parquet"), streaming=True)
    blocks = [f"00001-{number:05d}" for number in range(there)]
    progress = Progress(*blocks, **{"00001": 3})
    assert [block.name for block in rows.blocks(2, Processes(rank=1, count=2), progress)] == translated
    assert progress.skipped == blocks
    shared = Progress(*(f"{shard:05d}-{number:05d}" for shard in range(3) for number in range(3 - shard // 2)))
    list(rows.blocks(2, Processes(rank=3, count=4), shared))
    assert shared.skipped == []  # the blocks of the others are theirs to tell of
    assert shared.ended == {f"{shard:05d}-3-of-4": 3 - shard // 2 for shard in range(3)}


@pytest.mark.parametrize("flags", [[], ["--streaming"]])
@pytest.mark.parametrize("kept_as", ["struct", "binary"])
def test_parquet_that_does_not_say_which_columns_are_pictures(
    table: Path, model: str, kept_as: str, flags: list[str]
) -> None:
    """As pandas, Spark or DuckDB write it: the pictures' files, and no word of `datasets`."""
    raw = datasets.load_dataset("parquet", data_files="table/*.parquet", split="train")
    raw = raw.cast_column("image", datasets.Image(decode=False))
    files = [Path(row["image"]["path"]).read_bytes() if row["image"]["bytes"] is None else row["image"]["bytes"]
             for row in raw]  # fmt: skip
    cells: list[Any] = [{"bytes": file, "path": None} for file in files] if kept_as == "struct" else files
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if kept_as == "struct" else pa.binary()
    words = pa.array([f"word {index}" for index in range(14)])
    pq.write_table(pa.table({"picture": pa.array(cells, kind), "word": words}), "plain.parquet")
    command = ["translate", "plain.parquet", "--output", "out", "--model", model, "--write", "parquet", *flags]
    assert main([*command, "--format", "png"]) == 0
    after = datasets.load_dataset("out", split="train")
    assert isinstance(after.features["picture"], datasets.Image)
    assert after["word"] == words.to_pylist()
    before = datasets.load_dataset("parquet", data_files="table/*.parquet", split="train")
    assert opened(after, "picture") == [picture.tobytes() for picture in translated(before, model)]


@pytest.mark.slow
def test_a_translation_that_is_killed_goes_on_with_other_processes(
    table: Path, model: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["translate", "table/*.parquet", "--model", model, "--write", "parquet", "--rows-per-shard", "1"]
    assert main([*command, "--output", "whole", "--streaming"]) == 0
    for number in range(3):
        process = launch(2, *command, "--output", "out", "--streaming", "--existing", "skip")
        end = time.monotonic() + 300
        while process.poll() is None and len(list(Path("out").rglob("*.parquet"))) < 3 * number + 2:
            assert time.monotonic() < end
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    process = launch(3, *command, "--output", "out", "--streaming", "--existing", "skip")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert files_under("out") == files_under("whole")
    assert not list(Path("out").rglob("*.tmp"))
