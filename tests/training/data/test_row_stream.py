"""Batches of streamed, mixed and buffered sources: the same from every kind of reading, resumable, without the bad."""

import itertools
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.order import Share
from cyclegan_hf.training.data.row_stream import RowStream
from cyclegan_hf.training.data.sources import load_sources
from cyclegan_hf.training.data.streams import open_stream
from tests.training.data_files import SIZE, grey, write_arrow, write_parquet, write_webdataset


def stream(
    root: Path,
    a: str | list[str],
    *,
    states: list[dict[str, Any]] | None = None,
    rank: int = 0,
    num_processes: int = 1,
    batch_size: int = 2,
    seed: int = 0,
    **data: Any,
) -> RowStream:
    settings = {"image_size": SIZE, "load_size": (SIZE, SIZE), "num_workers": 0}
    settings |= {"shuffle_buffer": 4, "stream_samples": 1}
    places = [f"{root}/{one}" for one in ([a] if isinstance(a, str) else a)]
    (root / "b").mkdir(exist_ok=True)
    (root / "b" / "1.png").write_bytes(grey(1))
    config = DataConfig(**settings | {"a": places, "b": str(root / "b"), "streaming": True} | data)
    share = Share(rank=rank, num_processes=num_processes, batch_size=batch_size)
    opened = open_stream(load_sources(config), "a", ImageProcessor(), config, seed, share, states=states or [])
    assert isinstance(opened, RowStream)
    return opened


def taken(source: RowStream, batches: int) -> list[int]:
    """The greys of the pictures in the next batches."""
    batch = torch.cat([next(source) for _ in range(batches)])
    return [round(value) for value in ((batch.mean((1, 2, 3)) + 1) * 127.5).tolist()]


AUGMENTED = {"load_size": (6, 8), "color_jitter": 0.2, "rotation": 10}
SOURCES = {
    "parquet": "set,column=imageA",
    "label": "set,column=imageB,label=zebra",
    "webdataset": "set",
    "arrow": "set",
}


def write(kind: str, root: Path, lengths: tuple[int, ...] = (7, 4, 9)) -> str:
    {"webdataset": write_webdataset, "arrow": write_arrow}.get(kind, write_parquet)(root / "set", lengths)
    return SOURCES[kind]


@pytest.mark.parametrize("kind", SOURCES)
def test_streamed_and_memory_mapped_rows_come_in_one_order(tmp_path: Path, kind: str) -> None:
    place = write(kind, tmp_path)
    for rank, num_processes in ((0, 1), (1, 3), (1, 2)):  # of one process, dealt out in whole shards, taken in turns
        share = {"rank": rank, "num_processes": num_processes}
        streamed = stream(tmp_path, place, **share, **AUGMENTED)
        mapped = stream(tmp_path, place, streaming=False, **share, **AUGMENTED)
        assert all(torch.equal(next(streamed), next(mapped)) for _ in range(15))


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_loader_processes_change_nothing(tmp_path: Path, kind: str, num_workers: int) -> None:
    place = write(kind, tmp_path)
    alone = stream(tmp_path, place, **AUGMENTED)
    loaded = stream(tmp_path, place, num_workers=num_workers, **AUGMENTED)
    torch.manual_seed(99)
    assert all(torch.equal(next(alone), next(loaded)) for _ in range(25))
    assert alone.state_dict() == loaded.state_dict()


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("place", ["parquet", "webdataset", "mix"])
def test_every_process_goes_on_inside_the_buffer(tmp_path: Path, place: str, num_processes: int) -> None:
    if place == "mix":
        write_parquet(tmp_path / "set", (8, 8))
        (tmp_path / "more").mkdir()
        for number in range(5):
            (tmp_path / "more" / f"{number}.png").write_bytes(grey(100 + number))
        source: str | list[str] = ["set,column=imageA,weight=2", "more"]
    else:
        source = write(place, tmp_path, (8, 9, 8) if num_processes == 1 else (8, 8))

    def ranks(states: list[dict[str, Any]] | None = None) -> list[RowStream]:
        settings = {"states": states, "num_processes": num_processes, "num_workers": 1, "shuffle_buffer": 6}
        return [stream(tmp_path, source, rank=rank, **settings, **AUGMENTED) for rank in range(num_processes)]

    unbroken = ranks()
    for _ in range(7):  # fourteen rows: the second or third block, in its middle
        for rank in unbroken:
            next(rank)
    resumed = ranks([rank.state_dict() for rank in unbroken])
    for _ in range(8):
        for one, other in zip(unbroken, resumed, strict=True):
            assert torch.equal(next(one), next(other))
    assert [one.state_dict() for one in unbroken] == [other.state_dict() for other in resumed]
    assert unbroken[0].position == resumed[0].position == 30 * num_processes


def test_a_stream_leaves_the_networks_random_numbers_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    next(stream(tmp_path, write("arrow", tmp_path), **AUGMENTED))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_is_augmented_anew_in_every_pass(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(grey(100))
    source = stream(tmp_path, "set", batch_size=1, color_jitter=0.5)
    assert len({next(source).numpy().tobytes() for _ in range(10)}) > 5


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_bad_pictures_are_left_out_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, num_workers: int
) -> None:
    {"parquet": write_parquet, "webdataset": write_webdataset}[kind](tmp_path / "set", (5, 6), broken=[3, 7])
    source = stream(tmp_path, SOURCES[kind], batch_size=3, num_workers=num_workers, max_bad_share=0.2)
    good = [0, 1, 2, 4, 5, 6, 8, 9, 10]
    with caplog.at_level(logging.WARNING):
        assert all(sorted(taken(source, 3)) == good for _ in range(3))  # each once a pass, none twice
    assert source.bad.read == pytest.approx(33, abs=1)  # one may come last in a pass
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == [
        "Skipped a picture (1 of this domain so far)",
        "Skipped a picture (2 of this domain so far)",
    ]
    assert ("003.png" if kind == "parquet" else "0003.png") in " ".join(messages)
    assert not any("\n" in message for message in messages)


def test_a_stream_goes_on_after_a_bad_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_parquet(tmp_path / "set", (20,), broken=[3, 4, 11, 12, 13])

    def source(*states: dict[str, Any]) -> RowStream:
        return stream(tmp_path, "set,column=imageA", batch_size=3, max_bad_share=1, states=[*states], **AUGMENTED)

    unbroken = source()
    batches, states = [], []
    for _ in range(14):
        batches.append(next(unbroken))
        states.append(unbroken.state_dict())
    caplog.clear()
    for stop in range(6, 12):
        resumed = source(states[stop - 1])
        assert all(torch.equal(next(resumed), batches[stop + ahead]) for ahead in range(3))
        assert resumed.state_dict() == states[stop + 2]
    assert not caplog.records  # all were named before


@pytest.mark.parametrize("share", [0.01, 0.004])
def test_too_many_bad_pictures_stop_a_stream_with_their_list(tmp_path: Path, share: float) -> None:
    broken = list(range(0, 24, 2))
    write_parquet(tmp_path / "set", (100, 100), broken=broken)
    source = stream(tmp_path, "set,column=imageA,label=horse", max_bad_share=share, shuffle_buffer=50)
    with pytest.raises(ValueError) as error:  # of unknown length: at least as if a thousand had been read
        taken(source, 100)
    count = {0.01: 11, 0.004: 5}[share]
    assert str(error.value).startswith(f"{count} of ")
    assert "pictures read so far could not be read, more than `data.max_bad_share`" in str(error.value)
    assert str(error.value).count("train-0000") == count
    assert "\n" not in str(error.value)


def test_the_share_of_a_stream_of_known_length_is_of_what_it_has(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (30, 30), broken=[1, 31])
    with pytest.raises(ValueError, match=r"2 of \d+ pictures read so far could not be read"):
        taken(stream(tmp_path, "set,column=imageA", batch_size=1, max_bad_share=0.02), 60)
    taken(stream(tmp_path, "set,column=imageA", batch_size=1, max_bad_share=0.04), 60)


@pytest.mark.parametrize("place", ["set,column=imageA", "set,column=imageA,label=zebra"])
def test_nothing_but_bad_pictures(tmp_path: Path, place: str) -> None:
    write_parquet(tmp_path / "set", (3, 3), broken=range(6))
    with pytest.raises(ValueError, match="could not be read, more than"):
        next(stream(tmp_path, place, max_bad_share=1, num_workers=1))


def test_a_shard_that_is_damaged_is_named(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "set", (30, 30))
    second = tmp_path / "set" / "train-001.tar"
    second.write_bytes(second.read_bytes()[:9000])
    source = stream(tmp_path, "set")
    with pytest.raises(ValueError, match=r"`data.a` .*set: train-001.tar cannot be read: ") as error:
        taken(source, 60)
    assert "\n" not in str(error.value)


def test_shards_are_read_ahead_only_as_far_as_the_buffer(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (2,) * 40)
    source = stream(tmp_path, "set,column=imageA", shuffle_buffer=10)
    next(source)
    time.sleep(0.3)
    read = len(source.order.sources[0].shards._known)
    assert 5 <= read <= 20  # a block in hand, a block waiting, and what the loader was given


def test_the_reading_thread_ends_with_its_stream(tmp_path: Path) -> None:
    before = threading.active_count()
    source = stream(tmp_path, write("parquet", tmp_path))
    next(source)
    assert threading.active_count() == before + 1
    del source
    for _ in range(100):
        if threading.active_count() == before:
            return
        time.sleep(0.02)
    raise AssertionError("the thread is still there")


def test_nothing_is_read_before_a_batch_is_wanted(tmp_path: Path) -> None:
    def readers() -> int:
        return sum(thread.name.startswith("rows") for thread in threading.enumerate())

    place, before = write("parquet", tmp_path), readers()
    opened = [stream(tmp_path, place, num_workers=2, seed=seed) for seed in (0, 1)]
    assert readers() == before  # both have forked their processes, which beside a reading thread could hang
    plain = [stream(tmp_path, place, seed=seed) for seed in (0, 1)]
    assert [taken(one, 5) for one in opened] == [taken(one, 5) for one in plain]
    assert readers() > before
    for one in [*opened, *plain]:
        one.close()


def test_processes_that_became_more_begin_the_next_pass(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (6, 6))
    alone = stream(tmp_path, "set,column=imageA")
    taken(alone, 2)
    ranks = [
        stream(tmp_path, "set,column=imageA", rank=rank, num_processes=2, states=[alone.state_dict()])
        for rank in (0, 1)
    ]
    assert sorted(itertools.chain(*(taken(rank, 3) for rank in ranks))) == list(range(12))
    assert [rank.order.positions[0].epoch for rank in ranks] == [1, 1]


def test_the_shorter_domain_goes_round(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set", (3,))
    assert sorted(taken(stream(tmp_path, "set,column=imageA"), 6)) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
