"""The page as visitors meet it: a process of its own, and Chromium in front of it."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_hf import CycleGANPipeline, ResnetGenerator
from tests.chromium import PATIENCE


ROOT = Path(__file__).resolve().parents[2]


def tiny_pipeline(directions: tuple[str, ...] = ("a2b", "b2a")) -> CycleGANPipeline:
    """A pipeline with random weights; without training its results are colourful noise that follows the edges."""
    generators = {
        f"generator_{direction}": ResnetGenerator(
            block_out_channels=(8, 16), num_res_blocks=1, upsample_type="resize_conv"
        )
        for direction in directions
    }
    return CycleGANPipeline(**generators, domain_a="summer", domain_b="winter")


@contextlib.contextmanager
def serve(model: Path, folder: Path, **settings: str) -> Iterator[str]:
    """Runs `python space/app.py` and yields its address; `folder` gets its log and its temporary files."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    log = folder / "page.log"
    environment = {"CYCLEGAN_MODEL": str(model), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **settings}
    with log.open("w") as output:
        page = subprocess.Popen(
            [sys.executable, "space/app.py"],
            cwd=ROOT,
            env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": ""},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"Running on local URL:\s+(http://127\.0\.0\.1:\d+)", log.read_text())):
            assert page.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        page.terminate()
        page.wait(PATIENCE)


@pytest.fixture(scope="session")
def pipeline() -> CycleGANPipeline:
    """The weights behind the page, in the precision that the page computes in on this hardware."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_pipeline().optimize()


@pytest.fixture(scope="session")
def address(pipeline: CycleGANPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is served."""
    folder = tmp_path_factory.mktemp("page")
    pipeline.save_pretrained(folder / "model")
    with serve(folder / "model", folder) as url:
        yield url


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page for a new visitor, and sees to it that nothing was asked of any other address."""
    foreign: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        context.on("request", lambda request: foreign.append(request.url))
        page = context.new_page()
        page.goto(address)
        page.locator("#translate").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert foreign and [url for url in foreign if not url.startswith((address, "data:", "blob:"))] == []
