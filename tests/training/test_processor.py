"""What a processor is told before a run begins."""

from collections.abc import Iterator

import pytest
import torch

from training.config import RunConfig
from training.processes import prepare_processor


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
