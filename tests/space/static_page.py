"""The page without a server: how the tests build it, serve it and use it."""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE


BUILD = Path(__file__).resolve().parents[2] / "space/browser/build.py"
CORE = 512  # pixels of a piece, as in `worker.js`
TOLERANCE = 1  # of 255: two runtimes may round a value to either side


def build(
    output: Path, model: Path | str | None, node_modules: Path, *more: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the build; no model stands for the bundled weights."""
    chosen = [] if model is None else ["--model", model]
    command = [sys.executable, BUILD, "--output", output, *chosen, "--node-modules", node_modules, *more]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE, check=False, env=env
    )


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def put(page: Any, content: bytes, name: str = "meadow.png", kind: str = "image/png") -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def choose_size(page: Any, size: str) -> None:
    """Opens the options, chooses a longest side, and translates again."""
    page.get_by_text("Options").click()
    page.get_by_label(size).check()
    page.locator("#translate").click()


def translated(page: Any) -> tuple[str, np.ndarray]:
    """Waits for the translation that has begun; returns the download's name and pixels."""
    page.locator("#status", has_text="pixels in").wait_for()
    with page.expect_download() as event:
        page.locator("#download").click()
    with Image.open(event.value.path()) as picture:
        return event.value.suggested_filename, np.asarray(picture.convert("RGB")).astype(int)


def expected(pipeline: CycleGANPipeline, picture: Image.Image, direction: str) -> np.ndarray:
    whole = pipeline.__class__(
        *(part.float() for part in (pipeline.generator_a2b, pipeline.generator_b2a)), domain_a="a", domain_b="b"
    )
    return np.asarray(whole(picture, direction=direction).images[0]).astype(int)
