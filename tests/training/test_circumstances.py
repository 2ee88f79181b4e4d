"""What a run says of what it runs on, and what a processor is told before it begins."""

import logging
from collections.abc import Iterator

import pytest
import torch

from training.circumstances import prepare_processor, warn_of_a_lonely_process
from training.config import RunConfig


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


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("compiled", "precision", "channels_last"),
    [(True, "bf16", True), (True, "no", False), (False, "bf16", False)],
)
def test_compiled_bf16_is_in_the_layout_whose_gradients_are_numbers(
    compiled: bool, precision: str, channels_last: bool
) -> None:
    run = RunConfig(compile=compiled)
    prepare_processor(run, precision)
    assert run.channels_last == channels_last


def test_threads_are_what_the_run_asks_for() -> None:
    prepare_processor(RunConfig(num_threads=1), "no")
    assert torch.get_num_threads() == 1


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="`mixed_precision: fp16` needs a GPU"):
        prepare_processor(RunConfig(), "fp16")
