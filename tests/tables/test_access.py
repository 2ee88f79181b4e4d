"""Which files the cells of a table on this machine may name."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclegan_hf.images.io import open_image
from cyclegan_hf.tables.access import TableAccess, real_folders
from tests.testing_utils import make_picture


datasets = pytest.importorskip("datasets", reason="needs the extra `train`")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from cyclegan_hf.bulk.source import DatasetSource, Rows, pictures_of  # noqa: E402
from cyclegan_hf.cli import main  # noqa: E402
from cyclegan_hf.training.config import DataConfig  # noqa: E402
from cyclegan_hf.training.data.rows import open_picture  # noqa: E402
from cyclegan_hf.training.data.sources import load_sources  # noqa: E402
from tests.bulk.conftest import model as model  # noqa: E402


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`set/` with pictures, `private/` beside it."""
    for seed, name in enumerate(["set/one.png", "set/deep/two.png", "private/me.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture("A", seed, 16).save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "set" / "set.zip", "w") as archive:
        archive.write(tmp_path / "set" / "one.png", "one.png")
    with zipfile.ZipFile(tmp_path / "private" / "me.zip", "w") as archive:
        archive.write(tmp_path / "private" / "me.png", "me.png")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "private" / "me.png")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "private")
    (tmp_path / "set" / "inner.png").symlink_to(tmp_path / "set" / "one.png")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    (tmp_path / "set" / "notes.png").write_bytes(b"the password is 1234")
    return tmp_path


OWN = ["one.png", "{0}/set/one.png", "deep/../one.png", "inner.png", "zip://one.png::{0}/set/set.zip"]
OTHERS = [
    "../private/me.png",
    "{0}/private/me.png",
    "{0}/set/../private/me.png",
    "link.png",
    "linked/me.png",
    "{0}/set/linked/me.png",
    "file://{0}/private/me.png",
    "file:///{0}/set/one.png",
    "zip://me.png::{0}/private/me.zip",
    "zip://me.png::linked/me.zip",
    "zip://me.png::zip://me.zip::{0}/private/me.zip",
    "dir://me.png::{0}/private",
    "simplecache::file://{0}/private/me.png",
    "hf://datasets/user/name/me.png",
    "http://127.0.0.1:9/me.png",
    "{0}/set-of-another/me.png",
    "/dev/zero",
    "/dev/stdin",
    "one.png\0",
]
UNREADABLE = ["pipe.png", "missing.png", "deep"]


def write_table(place: Path, paths: list[str]) -> str:
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    cells = [{"bytes": None, "path": path.format(place)} for path in paths]
    table = pa.table({"image": pa.array(cells, schema.field("image").type)}, schema=schema)
    pq.write_table(table, place / "set" / "x.parquet")
    return str(place / "set" / "x.parquet")


def training(table: str, streaming: bool, outside: bool = False) -> list[Any]:
    sources = load_sources(DataConfig(a=table, b=table, streaming=streaming, allow_outside_files=outside))
    pictures = list(sources.train["a"])
    if sources.groups["a"]:
        pictures = [picture for _, picture in sources.groups["a"][0].shards.rows(0)]
    found: list[Any] = []
    for picture in pictures:
        try:
            found.append(open_picture(picture))
        except ValueError as error:
            found.append(error)
    return found


def bulk(table: str, streaming: bool, outside: bool = False) -> list[Any]:
    source = DatasetSource.read(table)
    assert source is not None
    rows = Rows(source, streaming, outside)
    (part,) = rows.rows.with_format("arrow").iter(batch_size=100)
    files = pictures_of(part, rows.column, rows.access)
    return [file if isinstance(file, ValueError) else open_image(file) for file in files]


READERS = [(reader, streaming) for reader in (training, bulk) for streaming in (False, True)]


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_a_table_may_name_files_beneath_its_own_folder(place: Path, reader: Any, streaming: bool) -> None:
    table = write_table(place, [*OWN, *OTHERS, *UNREADABLE])
    found = reader(table, streaming)
    one = np.asarray(open_image(place / "set" / "one.png"))
    assert all(np.array_equal(np.asarray(image), one) for image in found[: len(OWN)])
    refused, unreadable = found[len(OWN) :][: len(OTHERS)], found[len(OWN) + len(OTHERS) :]
    assert all(isinstance(error, ValueError) and "refused" in str(error) for error in refused)
    assert all("allow-outside-files" in str(error) and "\n" not in str(error) for error in refused)
    assert all(isinstance(error, ValueError) and "cannot be read" in str(error) for error in unreadable)


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_the_flag_opens_the_others(place: Path, reader: Any, streaming: bool) -> None:
    table = write_table(place, [OTHERS[0], OTHERS[1], "link.png", OTHERS[6], OTHERS[8]])
    me = np.asarray(open_image(place / "private" / "me.png"))
    assert all(np.array_equal(np.asarray(image), me) for image in reader(table, streaming, True))


def test_relative_paths_do_not_depend_on_where_the_command_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(place, ["one.png", "deep/two.png"])
    monkeypatch.chdir(place / "private")
    make_picture("B", 9, 16).save("one.png")
    expected = [np.asarray(open_image(place / "set" / name)).tolist() for name in ("one.png", "deep/two.png")]
    assert [np.asarray(image).tolist() for image in training(table, False)] == expected


@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_a_member_of_an_archive_is_not_taken_for_a_file_of_its_name(
    place: Path, monkeypatch: pytest.MonkeyPatch, reader: Any, streaming: bool
) -> None:
    import tarfile

    with tarfile.open(place / "set" / "x.tar", "w") as tar:
        for name in ("one.png", str(place / "private" / "me.png")):
            tar.add(place / "set" / "deep" / "two.png", name)
        tar.add(place / "set" / "deep" / "two.png", f"{place}/set/one.png")
    monkeypatch.chdir(place / "set")
    found = reader(str(place / "set" / "x.tar"), streaming)
    two = np.asarray(open_image(place / "set" / "deep" / "two.png"))
    assert len(found) == 3
    assert all(np.array_equal(np.asarray(image), two) for image in found)


@pytest.mark.parametrize("name", ["../private/me.png", "link.png", "linked/me.png"])
@pytest.mark.parametrize(("reader", "streaming"), READERS)
def test_the_metadata_of_a_folder(place: Path, reader: Any, streaming: bool, name: str) -> None:
    (place / "set" / "pipe.png").unlink()
    (place / "set" / "metadata.csv").write_text(f"file_name,label\none.png,1\n{name},1\n", encoding="utf-8")
    try:
        seen = reader(f"{place / 'set'},column=image", streaming)
    except ValueError as error:  # `datasets` refuses some of these itself
        seen = [error]
    assert isinstance(seen[-1], ValueError)
    assert any(word in str(seen[-1]) for word in ("refused", "Invalid metadata file_name")), seen


def test_a_translated_table_holds_nothing_of_other_files(
    place: Path, model: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, sound = datasets.Image(), datasets.Audio()
    features = datasets.Features(
        {"image": image, "thumbnails": datasets.List(image), "more": {"inner": image}, "sound": sound}
    )
    own = {"bytes": (place / "set" / "one.png").read_bytes(), "path": None}
    mine, other = {"bytes": None, "path": "deep/two.png"}, {"bytes": None, "path": f"{place}/private/me.png"}
    rows = [
        {"image": own, "thumbnails": [mine, other], "more": {"inner": other}, "sound": other},
        {"image": other, "thumbnails": [], "more": {"inner": own}, "sound": None},
    ]
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    pq.write_table(table, place / "set" / "x.parquet")
    monkeypatch.chdir(place)
    assert main(["translate", "set/x.parquet,column=image", "--output", "out", "--model", model, "--write", "parquet"])
    errors = capsys.readouterr().err
    assert "row 1 of shard 0: refused: the cell names" in errors
    assert "1234" not in errors
    (file,) = (place / "out").rglob("*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert row["thumbnails"] == [{"bytes": (place / "set" / "deep" / "two.png").read_bytes(), "path": "two.png"}, None]
    assert row["more"] == {"inner": None}
    assert row["sound"] is None
    assert (place / "private" / "me.png").read_bytes() not in file.read_bytes()


def test_a_folder_whose_card_names_other_files(place: Path) -> None:
    write_table(place, ["one.png"])
    (place / "set" / "x.parquet").rename(place / "private" / "x.parquet")
    (place / "set" / "one.parquet").write_bytes((place / "private" / "x.parquet").read_bytes())
    for name in (f"{place}/private/x.parquet", "../private/x.parquet", "http://127.0.0.1:9/x.parquet"):
        (place / "set" / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {name}\n---\n")
        with pytest.raises(ValueError, match=r"refused.*allow-outside-files"):
            training(f"{place}/set,column=image", True)
        with pytest.raises(ValueError, match=r"refused.*allow-outside-files"):
            Rows(DatasetSource(place=f"{place}/set"), True)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: &a [*a]\nconfigs: *a", "? [a]\n: b", "configs: {data_files: [*x]}", "\0"]
)
def test_cards_that_are_no_yaml(place: Path, text: str) -> None:
    write_table(place, ["one.png"])
    (place / "set" / "README.md").write_text(f"---\n{text}\n---\n")
    with pytest.raises(ValueError, match=r"README.md|datasets|YAML|data_files|conf") as caught:
        training(f"{place}/set,column=image", True)
    assert "\n" not in str(caught.value)


def test_a_saved_data_set_that_names_other_files(place: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": [str(place / "set" / "one.png")]})
    rows.cast_column("image", datasets.Image()).save_to_disk(str(place / "saved"))
    assert len(training(str(place / "saved"), False)) == 1
    state = place / "saved" / "state.json"
    name = next((place / "saved").glob("*.arrow")).name
    state.write_text(state.read_text().replace(name, f"../saved/{name}"))
    with pytest.raises(ValueError, match="refused"):
        training(str(place / "saved"), False)


def test_the_hubs_cache_is_a_folder_of_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--user--name" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "datasets--user--name" / "blobs" / "abcd"
    blob.parent.mkdir()
    blob.write_bytes(b"content")
    (snapshot / "one.png").symlink_to("../../blobs/abcd")
    access = TableAccess(place="here", folders=real_folders(snapshot), base=str(snapshot))
    assert access.read("one.png") == b"content"
