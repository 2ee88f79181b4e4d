"""The page without a server, in headless Chromium: what a first visit fetches, and how long a photo takes in
WebAssembly, against ONNX Runtime on one thread of the same machine.

A round translates the photo in the page and in this process, in turn: trust the ratio, taken within each round. The
page's time is a visitor's, from the button to the result; the other is the pipeline's call. The page is built first,
for which npm fetches ONNX Runtime.

    python tests/benchmarks/bench_browser.py
    python tests/benchmarks/bench_browser.py --model user/name --side 512 --rounds 5
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.chromium import OPTIONS  # noqa: E402
from tests.space.static_page import BUILD, put, served  # noqa: E402
from tests.space.test_page import png  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


# Presses the button; the seconds until the result is there.
TRANSLATED = """() => new Promise((done, failed) => {
    const button = document.querySelector("#translate"), error = document.querySelector("#error");
    const start = performance.now();
    const observer = new MutationObserver(() => {
        if (!error.hidden) failed(new Error(error.textContent));
        else if (!button.disabled) done((performance.now() - start) / 1000);
    });
    button.click();  // it is off until the result is there
    observer.observe(button, {attributeFilter: ["disabled"]});
    observer.observe(error, {attributeFilter: ["hidden"]});
})"""


def main(rounds: int = 15, side: int = 256, model: str | None = None, node_modules: Path | None = None) -> None:
    """Measure the page without a server.

    Args:
        rounds: Translations that count; the first one, which fetches the model, does not.
        side: Height and width of the photo, in pixels.
        model: A pipeline's folder or Hub id; by default the bundled weights.
        node_modules: Where `onnxruntime-web` is installed already.
    """
    from playwright.sync_api import sync_playwright

    from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline

    pipeline = ExportedPipeline.from_pretrained(model, num_threads=1)
    photo = make_picture("A", 0, side)
    pipeline(photo)
    load = os.getloadavg()[0]
    sizes: dict[str, int] = {}
    there, here = [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        command = [sys.executable, str(BUILD), "--output", f"{folder}/page"]
        command += ["--model", model] if model else []
        command += ["--node-modules", str(node_modules)] if node_modules else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        with served(Path(folder) / "page") as url:
            context = browser.new_context()
            context.on("response", lambda answer: weigh(answer, sizes))
            page = context.new_page()
            page.goto(url)
            page.locator("#directions input").first.wait_for()
            start = time.perf_counter()
            put(page, png(photo))
            page.locator("#status", has_text="pixels in").wait_for(timeout=600_000)
            first = time.perf_counter() - start
            for _ in range(rounds):
                there.append(page.evaluate(TRANSLATED))
                start = time.perf_counter()
                pipeline(photo)
                here.append(time.perf_counter() - start)
            told = page.locator("#status").inner_text()
        browser.close()
    ratios = [a / b for a, b in zip(there, here, strict=True)]
    print(f"{rounds} rounds of {side}x{side}, one core for either, load {load:.1f} before; {machine_line()}; {told}")
    print(f"first visit: {sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} files, {first:.2f} s to its first result")
    print(f"{'in the page':<28}{spread(there)}")
    print(f"{'ONNX Runtime, one thread':<28}{spread(here)}")
    print(f"the page takes {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times as long")


def weigh(answer: Any, sizes: dict[str, int]) -> None:
    """Notes what a visitor without a cache fetches, as an uncompressed body."""
    if answer.url.startswith("http"):
        sizes[answer.url] = int(answer.headers["content-length"])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):>7.2f} s ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    tyro.cli(main)
