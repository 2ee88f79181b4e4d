"""Two unpaired, endless streams: order, shares, resumption, bad pictures."""

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.file_source import list_pictures
from cyclegan_hf.training.data.streams import DomainDataset, DomainStream
from tests.testing_utils import forked_processes, make_picture


SIZE = 4


def write_greys(folder: Path, count: int) -> list[Path]:
    """Plain pictures; picture number n is grey of the value 10 * n, so that a batch tells what is in it."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (SIZE, SIZE), (10 * number,) * 3).save(folder / f"{number:02d}.png")
    return list_pictures(folder, "data.a")


def stream(
    pictures: list[Path],
    *,
    batch_size: int = 1,
    start: int = 0,
    rank: int = 0,
    num_processes: int = 1,
    seed: int = 0,
    domain: int = 0,
    order_domain: int | None = None,
    **data: Any,
) -> DomainStream:
    config = DataConfig(**{"image_size": SIZE, "load_size": (SIZE, SIZE), "num_workers": 0} | data)
    dataset = DomainDataset(pictures, ImageProcessor(), config, seed, domain)
    return DomainStream(dataset, batch_size, start, rank, num_processes, order_domain)


def taken(source: DomainStream, batches: int) -> list[int]:
    """The numbers of the pictures in the next batches."""
    batch = torch.cat([next(source) for _ in range(batches)])
    return [round(value) for value in ((batch.mean((1, 2, 3)) + 1) * 127.5 / 10).tolist()]


def test_every_picture_comes_once_a_pass_and_every_pass_is_shuffled_anew(tmp_path: Path) -> None:
    source = stream(write_greys(tmp_path / "a", 7))
    passes = [taken(source, 7) for _ in range(3)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_batches_run_on_over_the_end_of_a_pass(tmp_path: Path) -> None:
    pictures = write_greys(tmp_path / "a", 5)
    assert taken(stream(pictures, batch_size=3), 5) == taken(stream(pictures), 15)


def test_the_order_is_a_function_of_seed_domain_and_pass(tmp_path: Path) -> None:
    pictures = write_greys(tmp_path / "a", 8)
    orders = {
        (seed, domain): tuple(taken(stream(pictures, seed=seed, domain=domain), 8))
        for seed in (0, 1)
        for domain in (0, 1)
    }
    assert len(set(orders.values())) == 4  # the domains' orders are independent: no picture has a partner
    for (seed, domain), order in orders.items():
        assert order == tuple(np.random.default_rng([seed, domain, 0]).permutation(8))


@pytest.mark.parametrize(("num_processes", "batch_size"), [(2, 1), (2, 3), (3, 2)])
def test_processes_share_a_pass_out_among_them(tmp_path: Path, num_processes: int, batch_size: int) -> None:
    pictures = write_greys(tmp_path / "a", 12)
    rounds = 12 // (num_processes * batch_size)
    ranks = [
        stream(pictures, batch_size=batch_size, rank=rank, num_processes=num_processes)
        for rank in range(num_processes)
    ]
    for _ in range(2):  # passes
        shares = [taken(rank, rounds) for rank in ranks]
        assert sorted(itertools.chain(*shares)) == list(range(12))  # together complete, so disjoint


def test_processes_take_turns_in_one_order(tmp_path: Path) -> None:
    pictures = write_greys(tmp_path / "a", 5)  # no multiple of the four pictures of a round
    ranks = [stream(pictures, batch_size=2, rank=rank, num_processes=2) for rank in (0, 1)]
    alone = stream(pictures, batch_size=4)
    for _ in range(6):
        assert taken(alone, 1) == taken(ranks[0], 1) + taken(ranks[1], 1)
    assert ranks[0].position == ranks[1].position == alone.position == 24


def test_the_shorter_domain_goes_round(tmp_path: Path) -> None:
    short, long = stream(write_greys(tmp_path / "a", 2)), stream(write_greys(tmp_path / "b", 6), domain=1)
    assert sorted(taken(short, 6)) == [0, 0, 0, 1, 1, 1]
    assert sorted(taken(long, 6)) == list(range(6))


def test_in_pairs_the_second_domain_follows_the_firsts_order(tmp_path: Path) -> None:
    pictures = write_greys(tmp_path / "a", 7)
    partners = list(reversed(pictures))
    first, second = stream(pictures, batch_size=2), stream(partners, batch_size=2, domain=1, order_domain=0)
    for _ in range(2):
        ours, theirs = taken(first, 7), taken(second, 7)
        assert theirs == [6 - number for number in ours]
    later = stream(partners, batch_size=2, domain=1, order_domain=0, start=second.position)
    assert taken(later, 3) == taken(second, 3)


def write_photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    for number in range(count):
        make_picture("A", number, size=24).save(folder / f"{number:02d}.png")
    return list_pictures(folder, "data.a")


AUGMENTED = {"image_size": 16, "load_size": (16, 24), "resize_mode": "short_side"}
EVERYTHING = {"rotation": 15, "resize_jitter": 0.1, "crop_fraction": 0.25, "affine": 0.1}
EVERYTHING |= {"color_jitter": 0.2, "blur": 1, "posterize_bits": 4, "image_size_b": 20}


def same_batches(one: DomainStream, other: DomainStream, count: int) -> bool:
    return all(torch.equal(next(one), next(other)) for _ in range(count))


@pytest.mark.parametrize("switches", [AUGMENTED, AUGMENTED | EVERYTHING], ids=["official", "everything"])
@pytest.mark.parametrize("start", [1, 5, 14])
def test_a_stream_goes_on_from_its_position(tmp_path: Path, start: int, switches: dict[str, Any]) -> None:
    pictures = write_photos(tmp_path / "a", 5)
    first = stream(pictures, domain=1, **switches)
    for _ in range(start):
        next(first)
    assert first.position == start
    assert same_batches(first, stream(pictures, domain=1, start=start, **switches), 8)


def test_loader_processes_change_nothing(tmp_path: Path) -> None:
    pictures = write_photos(tmp_path / "a", 5)
    alone = stream(pictures, batch_size=2, start=3, **AUGMENTED)
    loaded = stream(pictures, batch_size=2, start=3, num_workers=2, **AUGMENTED)
    torch.manual_seed(99)
    assert same_batches(alone, loaded, 7)


def test_a_stream_leaves_the_networks_random_numbers_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    next(stream(write_photos(tmp_path / "a", 3), **AUGMENTED))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_is_augmented_anew_in_every_pass(tmp_path: Path) -> None:
    source = stream(write_photos(tmp_path / "a", 1), **AUGMENTED)
    assert len({next(source).numpy().tobytes() for _ in range(10)}) == 10


def test_examples_are_in_model_space(tmp_path: Path) -> None:
    Image.new("RGB", (SIZE, SIZE), (0, 255, 51)).save(tmp_path / "one.png")
    example = next(stream([tmp_path / "one.png"], batch_size=2))
    assert example.shape == (2, 3, SIZE, SIZE)
    assert example.dtype == torch.float32
    assert torch.allclose(example[0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]), atol=1e-6)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_picture_is_skipped_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    pictures = write_greys(tmp_path / "a", 6)
    pictures[2].write_bytes(pictures[2].read_bytes()[:50])
    source = stream(pictures, num_workers=num_workers)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert sorted(taken(source, 6)) == [0, 1, 3, 3, 4, 5]  # the next one takes its place
    (record,) = caplog.records
    assert record.getMessage().startswith("Skipped a picture (1 of this domain so far): ")
    assert "02.png" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_pictures_stop_the_run(tmp_path: Path, num_workers: int) -> None:
    pictures = write_greys(tmp_path / "a", 20)
    for index in (3, 8, 15):
        pictures[index].write_bytes(b"")
    tolerant = stream(pictures, max_bad_share=0.15, num_workers=num_workers)  # three of twenty
    taken(tolerant, 20)
    tolerant.close()
    strict = stream(pictures, max_bad_share=0.14, num_workers=num_workers)
    with pytest.raises(ValueError, match=r"3 of 20 pictures could not be read, more than .*\(0.14\)") as error:
        taken(strict, 20)
    assert "\n" not in str(error.value)
    assert all(f"{index:02d}.png" in str(error.value) for index in (3, 8, 15))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_but_bad_pictures(tmp_path: Path, count: int, num_workers: int) -> None:
    pictures = write_greys(tmp_path / "a", count)
    for picture in pictures:
        picture.write_text("<html>404</html>")
    source = stream(pictures, max_bad_share=1, num_workers=num_workers)
    with pytest.raises(ValueError, match=f"{count} of {count} pictures could not be read") as error:
        next(source)
    assert "\n" not in str(error.value)
    assert forked_processes() == []  # although `error` still holds the stream


def test_pictures_are_found_in_sub_folders_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/deep/1.jpeg", "c.webp", ".hidden/4.png", "b/._2.png", "notes.txt"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "set" / "folder.png").mkdir()
    found = [path.relative_to(tmp_path / "set").as_posix() for path in list_pictures(tmp_path / "set", "data.a")]
    assert found == ["a/deep/1.jpeg", "b/2.PNG", "c.webp"]


def test_folders_without_pictures_are_named_with_their_flag(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`data.a` must be a folder of pictures; .*nowhere does not exist"):
        list_pictures(tmp_path / "nowhere", "data.a")
    (tmp_path / "one.png").touch()
    with pytest.raises(ValueError, match=r"`data.b` must be a folder of pictures; .*one.png is a file"):
        list_pictures(tmp_path / "one.png", "data.b")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "empty" / "inner" / "list.csv").touch()
    with pytest.raises(ValueError, match=r"`data.test_a` .*empty holds none \(1 file left out"):
        list_pictures(tmp_path / "empty", "data.test_a")
