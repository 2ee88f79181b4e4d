"""What launchers say to the processes that they start."""

import pytest

from cyclegan_hf.processes import Processes, cores_of_this_process, lonely_process_warning, wait_passively


LAUNCHED = {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "warned"),
    [
        (LAUNCHED, True),
        (LAUNCHED | {"WORLD_SIZE": "2"}, False),
        (LAUNCHED | {"WORLD_SIZE": "1"}, False),  # torchrun says how many it was asked for
        ({"ACCELERATE_USE_CPU": "True"}, False),  # `--num_processes 1`
        ({"MASTER_ADDR": "127.0.0.1"}, False),  # not started by accelerate
    ],
)
def test_one_process_where_several_were_asked_for(environment: dict[str, str], warned: bool) -> None:
    warning = lonely_process_warning(environment)
    assert (warning is not None) == warned
    if warning:
        assert warning.startswith("The launch asked for several processes and started one.")


def test_without_a_launcher_there_is_one_process() -> None:
    alone = Processes.of_environment({})
    assert alone == Processes() and alone.is_main and not alone.can_meet
    assert list(alone.share("abc")) == ["a", "b", "c"]
    assert alone.sum([3, 4]) == [3, 4]
    with alone.meeting():
        pass


def test_a_launcher_numbers_its_processes() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    one = Processes.of_environment(told)
    assert one == Processes(rank=5, count=8, local_rank=1, local_count=4)
    assert not one.is_main
    assert Processes.of_environment(told | {"MASTER_ADDR": "127.0.0.1"}).can_meet


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_item_is_in_one_process_share(count: int) -> None:
    shares = [Processes(rank=rank, count=count).share(range(10)) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("told", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "one", "WORLD_SIZE": "2"}, {"RANK": "1"}])
def test_numbers_that_do_not_fit_are_refused(told: dict[str, str]) -> None:
    words = " ".join(f"{name}={value}" for name, value in told.items())
    with pytest.raises(ValueError, match=f"^expected 0 <= RANK < WORLD_SIZE of the launcher, got {words}$"):
        Processes.of_environment(told)


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert [cores_of_this_process(count) for count in (1, 2, 4, 100)] == [6, 3, 1, 1]


def test_threads_sleep_unless_the_user_has_said_how_they_wait() -> None:
    plain: dict[str, str] = {}
    wait_passively(plain)
    assert plain == {"OMP_WAIT_POLICY": "PASSIVE"}
    for chosen in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}, {"KMP_BLOCKTIME": "200"}):
        environment = dict(chosen)
        wait_passively(environment)
        assert environment == chosen
