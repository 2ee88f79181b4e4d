"""The count of unreadable pictures over several processes, and when their number changes."""

import logging

import pytest

from cyclegan_hf.training.data.bad_images import BadPictures


def counted(read: int, *names: str, streamed: bool = False, share: float = 0.01) -> BadPictures:
    bad = BadPictures(share, 300, streamed)
    bad.add(read, read - len(names), {name: f"{name} is cut off" for name in names})
    return bad


@pytest.mark.parametrize("streamed", [False, True])
def test_processes_that_are_each_below_the_share_are_stopped_together(streamed: bool) -> None:
    processes = [counted(150, "a", "b", streamed=streamed), counted(150, "c", "d", streamed=streamed)]
    news = [bad.news() for bad in processes]
    for bad in processes:  # three of three hundred may be bad
        with pytest.raises(ValueError, match="4 of 300 pictures") as error:
            bad.take_over(news)
        assert all(f"{name} is cut off" in str(error.value) for name in "abcd")


@pytest.mark.parametrize("streamed", [False, True])
def test_what_all_have_met_counts_once_and_is_named_once(streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    processes = [counted(300, "a", "b", streamed=streamed), counted(300, "b", "c", streamed=streamed)]
    news = [bad.news() for bad in processes]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for bad in processes:
            bad.take_over(news)
            bad.add(3, 0, dict.fromkeys("abc", "cut off"))
    assert not caplog.records
    assert [bad.news() for bad in processes] == [{"read": 303, "faults": {}}] * 2
    assert processes[0].state_dict() == processes[1].state_dict()


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_any_number_of_processes_goes_on_with_the_count(num_processes: int) -> None:
    states = [counted(400, "a", "b").state_dict(), counted(200, "c").state_dict()]
    resumed = [BadPictures(0.01, 300) for _ in range(num_processes)]
    for rank, bad in enumerate(resumed):
        bad.resume(states, rank, num_processes)
        assert set(bad.faults) == set("abc")
    assert sum(bad.read for bad in resumed) == 600
    assert [bad.read for bad in resumed] == {1: [600], 2: [400, 200], 3: [600, 0, 0]}[num_processes]
    with pytest.raises(ValueError, match="4 of 300 pictures could not be read"):
        resumed[-1].add(1, 0, {"d": "cut off"})


def test_a_streams_share_is_of_what_all_processes_have_read() -> None:
    bad = BadPictures(0.01, None, streamed=True)
    bad.add(2000, 1979, {str(number): "cut off" for number in range(20)})
    others = {"read": 2000, "faults": {f"other {number}": "cut off" for number in range(20)}}
    bad.take_over([bad.news(), others])
    with pytest.raises(ValueError, match="41 of 4001 pictures read so far could not be read"):
        bad.add(1, 0, {"one more": "cut off"})
