"""Settings that the tests on a GPU share, and a line of figures for each test."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from tests.gpu.support import ON_GPU, set_tf32


# Of matrix products, which are then the same at each repetition; read when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts without TF32, on a device of its own choice, and leaves no state of accelerate's."""
    set_tf32(False)
    if not ON_GPU:
        monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.empty_cache()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add a line for each test to the file that `CYCLEGAN_GPU_FIGURES` names: every worker appends to it."""
    outcome: Any = yield
    report = outcome.get_result()
    file = os.environ.get("CYCLEGAN_GPU_FIGURES")
    if file and (report.when == "call" or report.outcome != "passed"):
        line = {"test": f"{item.path.stem}::{item.name}", "outcome": report.outcome}
        line |= {"seconds": round(report.duration, 2), **dict(item.user_properties)}
        if report.outcome != "passed":
            line["reason"] = str(report.longrepr)[-1500:]
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
