"""The page under load: how soon it is ready, what it adds to the model's time, and what memory it needs. For Linux.

Times are in seconds of this machine; beside each stands what the same machine needed, in turn, for the part that is
not the page's: importing Gradio, and the model's own time.

    python tests/benchmarks/bench_page.py
    python tests/benchmarks/bench_page.py --parts queue --visitors 50 --seconds 600
"""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gradio_client
import httpx
import tyro
from PIL import Image


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import machine_line  # noqa: E402
from tests.chromium import OPTIONS  # noqa: E402
from tests.testing_utils import make_picture  # noqa: E402


Part = Literal["start", "trip", "large", "beside", "queue"]
KIB = 2**20  # in a GiB
# What visitors send: (width, height) and the longest side that they ask for.
KINDS: list[tuple[tuple[int, int], str]] = [
    *[((256, 192), "1024")] * 5,
    *[((900, 700), "512")] * 2,
    ((4000, 3000), "512"),
    ((1000, 800), "1024"),
    ((1600, 1200), "original"),
]


def main(
    parts: tuple[Part, ...] = ("start", "trip", "large", "beside", "queue"),
    rounds: int = 5,
    visitors: int = 10,
    seconds: float = 20,
    model: str = "bundled",
) -> None:
    """Measure the page.

    Args:
        parts: What to measure: cold starts, round trips of small photos, a 12-megapixel photo's memory, a small photo
            beside a large one, a queue of mixed sizes.
        rounds: Starts and round trips that count; one more of each warms the caches.
        visitors: Programs that send one photo after another, all at once.
        seconds: For how long they do so.
        model: A pipeline's folder; by default the bundled weights.
    """
    print(f"{rounds} rounds; {machine_line()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            match part:
                case "start":
                    cold_starts(rounds, model, Path(folder))
                case "trip":
                    round_trips(rounds, model, Path(folder))
                case "large":
                    large_photo(model, Path(folder))
                case "beside":
                    small_beside_large(rounds, model, Path(folder))
                case "queue":
                    queue(visitors, seconds, model, Path(folder))
    print(f"load {os.getloadavg()[0]:.1f} after")


@dataclass
class Page:
    """A page's process.

    Attributes:
        url: its address.
        pid: of its process.
        seconds: from the start of the process to its first answer.
    """

    url: str
    pid: int
    seconds: float

    def memory(self, key: Literal["VmRSS", "VmHWM"]) -> float:
        """GiB of resident memory: now, or at its peak."""
        return int(re.search(rf"{key}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1]) / KIB


@contextlib.contextmanager
def page(model: str, folder: Path) -> Iterator[Page]:
    log = folder / "page.log"
    environment = os.environ | {"CYCLEGAN_MODEL": model, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "space/app.py"], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while not (found := re.search(r"Running on local URL:\s+(http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        httpx.get(found[1]).raise_for_status()
        yield Page(found[1], process.pid, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait()


def cold_starts(rounds: int, model: str, folder: Path) -> None:
    """From `python space/app.py` to the first answer, and to a page that can be used."""
    times: dict[str, list[float]] = {"import gradio": [], "first answer": [], "button in Chromium": []}
    with contextlib.ExitStack() as stack:
        browser = start_browser(stack)
        for number in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import gradio"], check=True)
            taken = [time.perf_counter() - start]
            with page(model, folder) as served:
                taken.append(served.seconds)
                if browser is not None:
                    start, visit = time.perf_counter(), browser.new_page()
                    visit.goto(served.url)
                    visit.locator("#translate").wait_for()
                    taken.append(served.seconds + time.perf_counter() - start)
                    visit.close()
            if number:
                for name, value in zip(times, taken, strict=False):
                    times[name].append(value)
    for name, values in times.items():
        print(f"cold start, {name:<28}{spread(values)}", flush=True)


def start_browser(stack: contextlib.ExitStack) -> Any:
    """Debian's Chromium, where it and playwright are installed."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    driver = stack.enter_context(sync_playwright())
    browser = driver.chromium.launch(executable_path=chromium, args=OPTIONS)
    stack.callback(browser.close)
    return browser


def round_trips(rounds: int, model: str, folder: Path) -> None:
    """Photos through the endpoint, and through the same graphs in this process, in turn."""
    from cyclegan_hf import CycleGANPipeline

    pipeline = CycleGANPipeline.from_pretrained(None if model == "bundled" else model, backend="onnx")
    with page(model, folder) as served:
        client = warm(served, folder)
        for size in ((256, 256), (1024, 768)):
            photo = folder / "photo.png"
            make_picture("A", 0, size).save(photo)
            alone, through, ratios = [], [], []
            for number in range(rounds + 1):
                start = time.perf_counter()
                pipeline(photo)
                middle = time.perf_counter()
                client.predict(photo=gradio_client.handle_file(photo), api_name="/translate")
                end = time.perf_counter()
                if number:
                    alone.append(middle - start)
                    through.append(end - middle)
                    ratios.append(through[-1] / alone[-1])
            name = f"{size[0]} x {size[1]}"
            print(f"{name}, the model alone".ljust(39) + spread(alone))
            print(f"{name}, through the page".ljust(39) + spread(through))
            low, high = min(ratios), max(ratios)
            print(
                f"{name}, times the model alone: {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})", flush=True
            )


def small_beside_large(rounds: int, model: str, folder: Path) -> None:
    """A 256 x 256 photo alone, and while somebody else's 12 megapixels are translated."""
    small, large = folder / "small.png", folder / "large.jpg"
    make_picture("A", 0, 256).save(small)
    make_picture("A", 1, (4000, 3000)).save(large)
    with page(model, folder) as served:
        client, other = warm(served, folder), warm(served, folder)
        alone = [trip(client, small) for _ in range(rounds)]
        job = other.submit(photo=gradio_client.handle_file(large), long_side="original", api_name="/translate")
        time.sleep(alone[0] * 5)
        beside = []
        while not job.done() and len(beside) < rounds:
            beside.append(trip(client, small))
        job.cancel()
    print(f"256 x 256, nobody else                 {spread(alone)}")
    print(f"256 x 256, beside 12 megapixels        {spread(beside)}", flush=True)


def trip(client: gradio_client.Client, photo: Path) -> float:
    start = time.perf_counter()
    client.predict(photo=gradio_client.handle_file(photo), api_name="/translate")
    return time.perf_counter() - start


def large_photo(model: str, folder: Path) -> None:
    """4000 x 3000 pixels in their original size."""
    photo = folder / "large.jpg"
    make_picture("A", 1, (4000, 3000)).save(photo)
    with page(model, folder) as served:
        client = warm(served, folder)
        before, start = served.memory("VmHWM"), time.perf_counter()
        result = client.predict(photo=gradio_client.handle_file(photo), long_side="original", api_name="/translate")
        taken = time.perf_counter() - start
        with Image.open(result) as picture:
            assert picture.size == (4000, 3000), picture.size
        peak = served.memory("VmHWM")
    print(f"12 megapixels: {taken:.1f} s, peak memory {peak:.2f} GiB ({before:.2f} before)", flush=True)


def warm(served: Page, folder: Path) -> gradio_client.Client:
    """Has the model loaded; what follows needs memory for its pictures alone."""
    client = gradio_client.Client(served.url, verbose=False, download_files=folder / "downloads")
    photo = folder / "small.png"
    make_picture("A", 0, 64).save(photo)
    client.predict(photo=gradio_client.handle_file(photo), api_name="/translate")
    return client


@dataclass
class Tally:
    """What the visitors saw; `waits` are their seconds from sending to receiving, `lost` what went wrong."""

    waits: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def queue(visitors: int, seconds: float, model: str, folder: Path) -> None:
    """Many at once, with photos of all sizes: each sends the next when the last one is back, and compares its size."""
    tally, memory = Tally(), []
    with page(model, folder) as served:
        warm(served, folder)
        ready = threading.Barrier(visitors + 1)
        threads = [
            threading.Thread(target=visitor, args=(number, served.url, folder, seconds, ready, tally), daemon=True)
            for number in range(visitors)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            memory.append(served.memory("VmRSS"))
        peak = served.memory("VmHWM")
    fifth = max(1, len(memory) // 5)
    print(f"{visitors} visitors for {seconds:.0f} s: {len(tally.waits)} photos came back, {len(tally.lost)} were lost")
    print(f"  waited                               {spread(tally.waits)}")
    fifths = [memory[begin : begin + fifth] for begin in range(0, 5 * fifth, fifth)]
    told = ", ".join(f"{statistics.median(part):.3f}" for part in fifths if part)
    print(f"  memory, GiB in each fifth of the time {told}; peak {peak:.3f}", flush=True)
    for reason in sorted(set(tally.lost)):
        print(f"  lost: {reason}")


def visitor(number: int, url: str, folder: Path, seconds: float, ready: threading.Barrier, tally: Tally) -> None:
    photo, sent, long_side = folder / f"{number}.jpg", *KINDS[number % len(KINDS)]
    size = (sent[0] + number, sent[1])
    make_picture("A", number, size).save(photo)
    if long_side != "original":  # as Pillow's thumbnails
        scaled = Image.new("L", size)
        scaled.thumbnail((int(long_side), int(long_side)))
        size = scaled.size
    patience = {"timeout": 600}  # on a busy machine; the page's own limits are longer
    client = gradio_client.Client(
        url, verbose=False, download_files=folder / f"visitor{number}", httpx_kwargs=patience
    )
    ready.wait()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        start = time.perf_counter()
        try:
            result = client.predict(photo=gradio_client.handle_file(photo), long_side=long_side, api_name="/translate")
            with Image.open(result) as picture:
                assert picture.size == size, picture.size
            Path(result).unlink()
            tally.waits.append(time.perf_counter() - start)
        except Exception as error:
            tally.lost.append(f"{type(error).__name__}: {error}")


def spread(values: list[float]) -> str:
    if not values:
        return "not measured"
    return f"{statistics.median(values):>7.2f} s ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    tyro.cli(main)
