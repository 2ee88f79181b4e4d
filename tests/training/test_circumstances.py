"""What a run says of what it runs on."""

import logging

import pytest

from training.circumstances import warn_of_a_lonely_process


LAUNCHED = {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "num_processes", "warned"),
    [
        (LAUNCHED, 1, True),
        (LAUNCHED, 2, False),
        (LAUNCHED | {"WORLD_SIZE": "1"}, 1, False),  # torchrun says how many it was asked for
        ({"ACCELERATE_USE_CPU": "True"}, 1, False),  # `--num_processes 1`
        ({"MASTER_ADDR": "127.0.0.1"}, 1, False),  # not started by accelerate
    ],
)
def test_one_process_where_several_were_asked_for(
    environment: dict[str, str],
    num_processes: int,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("ACCELERATE_USE_CPU", "MASTER_ADDR", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        warn_of_a_lonely_process(num_processes)
    assert ("The launch asked for several processes and started one." in caplog.text) == warned
