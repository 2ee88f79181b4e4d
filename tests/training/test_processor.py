"""What a processor is told before a run begins."""

from collections.abc import Iterator

import pytest
import torch

from training import processes
from training.config import RunConfig
from training.processes import STEPS_WORTH_COMPILING, choose_fast, prepare_processor


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


def chosen(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None, gpu: bool = False, **run: object) -> RunConfig:
    """What `fast` makes of a run on such hardware."""
    monkeypatch.setattr(
        processes, "fast_dtype", lambda device: dtype if device.type == ("cuda" if gpu else "cpu") else None
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    config = RunConfig(fast=True, **run)
    choose_fast(config)
    return config


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(("dtype", "precision"), [(torch.bfloat16, "bf16"), (None, "no")])
def test_fast_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None, precision: str, gpu: bool
) -> None:
    run = chosen(monkeypatch, dtype, gpu)
    assert (run.mixed_precision, run.compile, run.channels_last) == (precision, True, gpu)


def test_fast_leaves_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, torch.bfloat16, mixed_precision="no").mixed_precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # `accelerate launch --mixed_precision fp16`
    assert chosen(monkeypatch, torch.bfloat16, gpu=True).mixed_precision is None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # it says so without being asked
    assert chosen(monkeypatch, torch.bfloat16).mixed_precision == "bf16"
    assert chosen(monkeypatch, torch.bfloat16, gpu=True, mixed_precision="fp16").mixed_precision == "fp16"


def test_fast_compiles_for_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not chosen(monkeypatch, None, max_train_steps=STEPS_WORTH_COMPILING - 1).compile
    assert chosen(monkeypatch, None, max_train_steps=STEPS_WORTH_COMPILING).compile
    assert chosen(monkeypatch, None, max_train_steps=5, compile=True).compile


def test_a_gpu_that_is_not_to_be_used_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "fast_dtype", lambda device: torch.bfloat16 if device.type == "cuda" else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    run = RunConfig(fast=True)
    choose_fast(run)
    assert run.mixed_precision == "no" and not run.channels_last
