"""What a processor is told before a run begins."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from cyclegan_hf.hardware import can_compile
from cyclegan_hf.training import distributed as processes
from cyclegan_hf.training.config_groups import RunConfig
from cyclegan_hf.training.distributed import LONG_RUN_EPOCHS, LONG_RUN_STEPS, choose_fast, prepare_processor


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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: find_spec("torch" if name == "triton" else name))
    config = RunConfig(**run)
    choose_fast(config)
    return config


@pytest.mark.parametrize("gpu", [False, True])
def test_fast_follows_the_hardware(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    run = chosen(monkeypatch, torch.bfloat16, gpu)
    assert (run.mixed_precision, run.compile, run.channels_last) == ("bf16", True, gpu)
    plain = chosen(monkeypatch, None, gpu)
    assert (plain.mixed_precision, plain.compile, plain.channels_last) == (None, False, False)


def test_fast_leaves_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, torch.bfloat16, mixed_precision="no").mixed_precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # `accelerate launch --mixed_precision fp16`
    assert chosen(monkeypatch, torch.bfloat16, gpu=True).mixed_precision is None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # it says so without being asked
    assert chosen(monkeypatch, torch.bfloat16).mixed_precision == "bf16"
    assert chosen(monkeypatch, torch.bfloat16, gpu=True, mixed_precision="fp16").mixed_precision == "fp16"


@pytest.mark.parametrize(
    ("run", "long"),
    [
        ({"max_train_steps": LONG_RUN_STEPS}, True),
        ({"max_train_steps": LONG_RUN_STEPS - 1}, False),
        ({"num_train_epochs": LONG_RUN_EPOCHS}, True),
        ({"num_train_epochs": LONG_RUN_EPOCHS - 1}, False),
    ],
)
def test_fast_is_for_long_runs(monkeypatch: pytest.MonkeyPatch, run: dict[str, int], long: bool) -> None:
    found = chosen(monkeypatch, torch.bfloat16, **run)
    assert (found.mixed_precision, found.compile) == (("bf16", True) if long else (None, False))
    assert not found.fast  # a run that goes on to more steps stays what it was


def test_a_short_run_keeps_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, torch.bfloat16, max_train_steps=5, compile=True).compile


def test_nothing_is_compiled_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = chosen(monkeypatch, torch.bfloat16)
    assert run.mixed_precision == "bf16" and not run.compile
    (tmp_path / "g++").touch(mode=0o755)
    assert chosen(monkeypatch, torch.bfloat16).compile
    monkeypatch.setenv("CXX", "icpx")
    assert not can_compile(torch.device("cpu"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not can_compile(torch.device("cuda"))


def test_a_gpu_that_is_not_to_be_used_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "fast_dtype", lambda device: torch.bfloat16 if device.type == "cuda" else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    run = RunConfig()
    choose_fast(run)
    assert run.mixed_precision is None and not run.channels_last
