"""The page as visitors meet it: a process of its own, and Chromium in front of it."""

import contextlib
import json
import os
import re
import shutil
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
from tests.space.static_page import BUILD, build, served
from tests.testing_utils import free_port


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


# `python space/app.py`, with other limits than `settings.py` has.
LIMITED = """
import json, runpy, sys
sys.path.insert(0, "space")
import settings
vars(settings).update(json.loads(sys.argv[1]))
runpy.run_path("space/app.py", run_name="__main__")
"""


@contextlib.contextmanager
def serve(model: Path, folder: Path, limits: dict[str, int] | None = None, **settings: str) -> Iterator[str]:
    """Runs `python space/app.py` and yields its address; `folder` gets its log and its temporary files.

    Args:
        model: the page's.
        folder: one that is there.
        limits: of `settings.py`, other values.
        **settings: environment variables.
    """
    pytest.importorskip("gradio", reason="gradio is not installed")
    log = folder / "page.log"
    # A port of its own: Gradio looks for one, and another page that starts may take it before Gradio does.
    environment = {"CYCLEGAN_MODEL": str(model), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    environment |= {"GRADIO_SERVER_PORT": str(free_port()), **settings}
    with log.open("w") as output:
        page = subprocess.Popen(
            [sys.executable, *(["-c", LIMITED, json.dumps(limits)] if limits else ["space/app.py"])],
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


@contextlib.contextmanager
def visitors(browser: Any, address: str, ready: str, faults: list[str]) -> Iterator[Callable[..., Any]]:
    """Opens a page for new visitors, until `ready` is there; nothing may be asked of any other address."""
    asked: list[str] = []
    contexts = []

    def open_page(script: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        context.add_init_script(script)
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.locator(ready).first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked and [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page for a new visitor, and sees to it that nothing was asked of any other address."""
    with visitors(browser, address, "#translate", []) as open_page:
        yield open_page


# The page without a server


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime for browsers, as npm installs it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which builds the page for browsers, is not installed")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(BUILD.parent / name, folder)
    ended = subprocess.run([npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ended.returncode:
        pytest.skip(f"npm cannot fetch onnxruntime-web: {ended.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules"


@pytest.fixture(scope="session")
def light_pipeline() -> CycleGANPipeline:
    """Without norms, so that large photos go through in pieces. Large weights: small ones would hide the seams."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generators = [
            ResnetGenerator(
                block_out_channels=(8, 16), num_res_blocks=2, norm_type="none", upsample_type="resize_conv"
            )
            for _ in range(2)
        ]
        for generator in generators:
            for parameter in generator.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    return CycleGANPipeline(*generators, domain_a="summer", domain_b="late_winter").to(dtype=torch.float16)


@pytest.fixture(scope="session")
def site(light_pipeline: CycleGANPipeline, node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built page."""
    pytest.importorskip("onnxruntime", reason="exporting graphs needs the extra `export`")
    pytest.importorskip("onnxscript", reason="exporting graphs needs the extra `export`")
    folder = tmp_path_factory.mktemp("site")
    light_pipeline.save_pretrained(folder / "model")
    ended = build(folder / "page", folder / "model", node_modules)
    assert ended.returncode == 0, ended.stderr
    return folder / "page"


@pytest.fixture(scope="session")
def site_address(site: Path) -> Iterator[str]:
    """Where any web server would have the page."""
    with served(site) as url:
        yield url


@pytest.fixture
def open_site(browser: Any, site_address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page for a new visitor; it must ask no other address, and report no error."""
    faults: list[str] = []
    with visitors(browser, site_address, "#directions input", faults) as open_page:
        yield open_page
    assert faults == []
