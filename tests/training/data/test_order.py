"""The order of streamed rows: passes, shards, blocks, shares, mixes, and going on anywhere in them."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cyclegan_hf.training.data.order import Dealt, DomainOrder, Share, SourceOrder, next_passes
from cyclegan_hf.training.data.rows import Encoded, Picture
from cyclegan_hf.training.data.shards import Group, JoinedShards, Singles, StreamShards


class Counted(StreamShards):
    """Shards of numbers, read from their first on as a stream's; remembers which were opened."""

    def __init__(self, lengths: Sequence[int], unique: bool = False, modulo: int | None = None) -> None:
        self.lengths = lengths
        self.num_shards = len(lengths)
        self.length = None
        self.cheap = False
        self.unique = unique
        self.modulo = modulo
        self.opened: list[int] = []
        self._known = {}

    def rows(self, shard: int) -> Iterator[tuple[tuple[int, int], Encoded]]:
        self.opened.append(shard)
        start = sum(self.lengths[:shard])
        for row in range(self.lengths[shard]):
            number = start + row
            yield (shard, row), Encoded(str(number), str(number % (self.modulo or 10**9)).encode())
        self._known[shard] = self.lengths[shard]

    def refusal(self) -> ValueError:
        return ValueError("nothing there")


def order(
    *sources: Sequence[int], weights: Sequence[float] = (), buffer: int = 4, seed: int = 0, **share: int
) -> DomainOrder:
    shards = [Counted(lengths) for lengths in sources]
    groups = [Group(*both) for both in zip(shards, weights or [1.0] * len(shards), strict=True)]
    return DomainOrder(groups, seed, 0, buffer, Share(**share))


def taken(source: DomainOrder, count: int) -> list[Dealt]:
    """The next rows; the order stands after them then."""
    dealt = list(itertools.islice(source, count))
    for row in dealt:
        source.advance(row.drawn, row.group, row.after)
    return dealt


def numbers(dealt: Sequence[Dealt]) -> list[int]:
    return [int(str(row.picture)) for row in dealt]


LENGTHS = (7, 3, 9, 1)


@pytest.mark.parametrize("buffer", [1, 3, 8, 100])
def test_every_row_comes_once_a_pass_and_every_pass_is_shuffled_anew(buffer: int) -> None:
    source = order(LENGTHS, buffer=buffer)
    passes = [numbers(taken(source, 20)) for _ in range(4)]
    assert all(sorted(one) == list(range(20)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_the_order_is_a_function_of_seed_domain_source_and_pass() -> None:
    shares = [(seed, domain) for seed in (0, 1) for domain in (0, 1)]
    found = {
        tuple(numbers(taken(DomainOrder([Group(Counted(LENGTHS), 1.0)], seed, domain, 4, Share()), 20)))
        for seed, domain in shares
    }
    assert len(found) == 4
    assert numbers(taken(order(LENGTHS), 60)) == numbers(taken(order(LENGTHS), 60))


def test_a_buffer_shuffles_what_is_read_next_to_each_other() -> None:
    source = order((100,), buffer=10)
    for _ in range(3):
        rows = numbers(taken(source, 100))
        assert rows != sorted(rows)
        assert max(abs(place - number) for place, number in enumerate(rows)) < 10
    whole = numbers(taken(order((100,), buffer=1000), 100))
    assert max(abs(place - number) for place, number in enumerate(whole)) > 30


def test_one_shard_alone_is_cut_differently_in_every_pass() -> None:
    source = order((100,), buffer=10)
    first = [frozenset(numbers(taken(source, 100))[90:]) for _ in range(6)]
    assert len(set(first)) > 3


def test_a_single_row_again_and_again() -> None:
    assert numbers(taken(order((0, 1, 0), buffer=5), 4)) == [0, 0, 0, 0]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("lengths", [LENGTHS, (5,) * 6, (40,)], ids=["uneven", "even", "one"])
def test_an_order_goes_on_from_everywhere(lengths: Sequence[int], num_processes: int) -> None:
    share = {"rank": num_processes - 1, "num_processes": num_processes, "batch_size": 2}
    unbroken = taken(order(lengths, **share), 90)
    for stop in range(0, 60, 7):
        broken = order(lengths, **share)
        taken(broken, stop)
        state = broken.state_dict()
        again = order(lengths, **share)
        again.load_state_dict(state)
        assert taken(again, 30) == unbroken[stop : stop + 30]
        assert again.state_dict() == order_after(lengths, share, stop + 30)


def order_after(lengths: Sequence[int], share: dict[str, int], count: int) -> dict[str, object]:
    source = order(lengths, **share)
    taken(source, count)
    return source.state_dict()


def test_going_on_opens_no_shard_that_is_done_with() -> None:
    source = order((10,) * 20, buffer=10)
    taken(source, 160)
    again = order((10,) * 20, buffer=10)
    again.load_state_dict(source.state_dict())
    taken(again, 40)
    opened = again.sources[0].shards.opened
    assert len(opened) <= 6  # of twenty: the block at hand reaches into two, then four are left
    assert source.state_dict()["sources"][0]["finished"] == [10] * 15


@pytest.mark.parametrize("seed", range(4))
def test_a_state_tells_nothing_of_what_was_read_ahead(seed: int) -> None:
    for count in range(1, 60):
        states = []
        for ahead in (0, 1, 9):
            source = order((3, 5, 4), seed=seed)
            for row in list(itertools.islice(source, count + ahead))[:count]:
                source.advance(row.drawn, row.group, row.after)
            states.append(source.state_dict())
        assert states[0] == states[1] == states[2], count


@pytest.mark.parametrize("num_processes", [2, 4])
def test_even_shards_are_dealt_out_whole(num_processes: int) -> None:
    sources = [order((5,) * 8, rank=rank, num_processes=num_processes) for rank in range(num_processes)]
    for _ in range(3):
        for source in sources:
            source.sources[0].shards.opened.clear()
        shares = [numbers(taken(source, 40 // num_processes)) for source in sources]
        assert sorted(itertools.chain(*shares)) == list(range(40))
    read = [set(source.sources[0].shards.opened) for source in sources]
    assert all(len(one) < 8 for one in read)  # what is read ahead is of the next pass


@pytest.mark.parametrize(("num_processes", "batch_size"), [(2, 1), (2, 3), (3, 2)])
def test_other_shards_are_taken_in_turns_in_the_order_of_one_process(num_processes: int, batch_size: int) -> None:
    lengths = (7, 3, 9, 1, 4)
    alone = order(lengths, batch_size=batch_size * num_processes)
    ranks = [
        order(lengths, rank=rank, num_processes=num_processes, batch_size=batch_size) for rank in range(num_processes)
    ]
    for _ in range(20):  # batches
        together = list(itertools.chain(*(taken(rank, batch_size) for rank in ranks)))
        assert numbers(together) == numbers(taken(alone, batch_size * num_processes))


def test_in_turns_no_row_comes_twice_in_a_pass() -> None:
    ranks = [order((7, 3, 9, 1, 4), rank=rank, num_processes=2, batch_size=2) for rank in (0, 1)]
    for _ in range(4):  # 24 rows a pass: six batches of each process
        assert sorted(itertools.chain(*(numbers(taken(rank, 12)) for rank in ranks))) == list(range(24))


def test_weights_are_shares_of_the_draws_and_every_source_has_its_own_passes() -> None:
    source = order((50, 50), (30,), weights=[3, 1])
    dealt = taken(source, 4000)
    counts = Counter(row.group for row in dealt)
    assert counts[0] / 4000 == pytest.approx(0.75, abs=0.03)
    small = [int(str(row.picture)) for row in dealt if row.group == 1]
    assert all(sorted(small[start : start + 30]) == list(range(30)) for start in range(0, 900, 30))


@pytest.mark.parametrize("stop", [0, 1, 1000, 1023, 1024, 1025, 2500])
def test_a_mix_goes_on_from_everywhere(stop: int) -> None:
    def mix() -> DomainOrder:
        return order((20, 30), (7,), (90,), weights=[1, 0.2, 5], buffer=16)

    unbroken = taken(mix(), stop + 200)
    broken = mix()
    taken(broken, stop)
    again = mix()
    again.load_state_dict(broken.state_dict())
    assert taken(again, 200) == unbroken[stop:]


def test_processes_mix_independently_and_share_out_every_source() -> None:
    ranks = [order((10,) * 4, (5,) * 6, weights=[1, 1], rank=rank, num_processes=2) for rank in (0, 1)]
    dealt = [taken(rank, 400) for rank in ranks]
    assert [row.group for row in dealt[0]] != [row.group for row in dealt[1]]
    for group, length in ((0, 40), (1, 30)):
        firsts = [[row for row in one if row.group == group and row.after.epoch == 0] for one in dealt]
        assert sorted(itertools.chain(*map(numbers, firsts))) == list(range(length))


def test_repeats_are_left_out_where_that_is_asked_for() -> None:
    def source(**share: int) -> DomainOrder:
        return DomainOrder([Group(Counted((8, 8, 8), unique=True, modulo=6), 1.0)], 0, 0, 4, Share(**share))

    def kinds(dealt: Sequence[Dealt]) -> list[int]:
        return sorted(number % 6 for number in numbers(dealt))

    alone = source()
    assert all(kinds(taken(alone, 6)) == list(range(6)) for _ in range(4))
    ranks = [source(rank=rank, num_processes=3) for rank in range(3)]  # three shards: they would be dealt out
    assert kinds(list(itertools.chain(*(taken(rank, 2) for rank in ranks)))) == list(range(6))
    taken(alone, 3)
    again = source()
    again.load_state_dict(alone.state_dict())
    assert taken(again, 20) == taken(alone, 20)


def test_joined_sources_are_one_pass() -> None:
    files: list[Picture] = [Path(str(number)) for number in range(100, 105)]
    joined = JoinedShards([Counted((4, 3)), Singles(files), Counted((2,))])
    assert (joined.num_shards, joined.length, joined.cheap) == (8, None, False)
    source = DomainOrder([Group(joined, 1.0)], 0, 0, 3, Share())
    expected = sorted([0, 1, 2, 3, 4, 5, 6, 100, 101, 102, 103, 104, 0, 1])
    for _ in range(3):
        dealt = taken(source, 14)
        assert sorted(numbers(dealt)) == expected
        assert len({row.key for row in dealt}) == 14
    taken(source, 5)
    again = DomainOrder([Group(JoinedShards([Counted((4, 3)), Singles(files), Counted((2,))]), 1.0)], 0, 0, 3, Share())
    again.load_state_dict(source.state_dict())
    assert taken(again, 30) == taken(source, 30)


def test_pictures_on_this_machine_are_shuffled_as_a_whole() -> None:
    files: list[Picture] = [Path(str(number)) for number in range(200)]
    rows = numbers(taken(DomainOrder([Group(Singles(files), 1.0)], 0, 0, 2, Share()), 200))
    assert sorted(rows) == list(range(200))
    assert max(abs(place - number) for place, number in enumerate(rows)) > 100


def test_with_other_processes_the_next_pass_begins() -> None:
    ranks = [order((5,) * 8, rank=rank, num_processes=2) for rank in (0, 1)]
    taken(ranks[0], 33)  # in its second pass
    taken(ranks[1], 18)
    state = next_passes([rank.state_dict() for rank in ranks])
    alone = order((5,) * 8)
    alone.load_state_dict(state)
    rows = taken(alone, 40)
    assert {row.after.epoch for row in rows} == {2}
    assert sorted(numbers(rows)) == list(range(40))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_sources_without_a_row_are_refused(num_processes: int) -> None:
    with pytest.raises(ValueError, match="nothing there"):
        taken(order((0, 0), num_processes=num_processes), 1)


def test_a_state_of_other_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="began with 1 sources, got 2"):
        order((3,), (4,)).load_state_dict(order((3,)).state_dict())


def test_positions_count_what_is_dealt_out() -> None:
    source = SourceOrder(Counted((6,)), (0, 0, 0), 4, Share())
    after = [position for _, _, position in itertools.islice(source(position=(0, 0, 0)), 8)]
    assert [(position.epoch, position.offset) for position in after] == [
        *((0, n) for n in range(1, 7)),
        (1, 1),
        (1, 2),
    ]
