"""Jobs that take a while: their place in the queue, the time left, and that stopping keeps what is done."""

import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE
from tests.space.conftest import serve
from tests.space.test_page import assert_same_picture, upload, wait_until_enabled
from tests.space.test_pictures import saved
from tests.space.test_tabs import file, open_tab, zipped
from tests.testing_utils import make_picture


COUNT = 60  # photos: some minutes' work, of which each test waits for a second


def start_batch(page: Any, count: int = COUNT, side: int = 1200) -> bytes:
    """Sends a zip of one photo many times; returns the photo."""
    photo = saved(make_picture("A", 1, side), format="JPEG")
    open_tab(page, "Batch")
    archive = zipped({f"{number:02d}.jpg": photo for number in range(count)})
    page.locator("#files input[type=file]").set_input_files(file("in.zip", archive, "application/zip"))
    page.locator("#batch-long-side").get_by_text("Original").click()
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    return photo


def wait_for_report(page: Any, pattern: str) -> str:
    page.wait_for_function(
        "pattern => new RegExp(pattern).test(document.querySelector('#report textarea').value)", arg=pattern
    )
    return str(page.locator("#report textarea").input_value())


@pytest.mark.slow
def test_a_stopped_batch_gives_what_is_done(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page = visit()
    photo = start_batch(page)
    wait_for_report(page, f"[1-9]\\d* of {COUNT} translated")
    page.locator("#batch-progress progress").wait_for()
    page.locator("#batch-progress", has_text=re.compile(r"about \d+ (s|minutes) left")).wait_for()
    page.locator("#gallery img").first.wait_for()  # results arrive one by one
    for _ in range(40):  # the bar stays
        assert page.locator("#batch-progress progress").is_visible()
        page.wait_for_timeout(50)
    page.locator("#stop-batch").click()
    report = wait_for_report(page, "Stopped: these are the ones that were done")
    done = int(report.split()[0])
    assert 1 <= done < COUNT
    wait_until_enabled(page.locator("#download-all"))
    with page.expect_download() as event:
        page.locator("#download-all").click()
    with zipfile.ZipFile(event.value.path()) as results:
        assert results.namelist() == [f"{number:02d}-winter.png" for number in range(done)]
        with Image.open(results.open(results.namelist()[-1])) as result, Image.open(io.BytesIO(photo)) as sent:
            assert_same_picture(result.copy(), pipeline(sent).images[0])
    page.locator("#gallery img").first.wait_for()


@pytest.mark.slow
def test_who_waits_sees_a_place_in_the_queue_and_may_leave_it(visit: Callable[..., Any]) -> None:
    first, second = visit(), visit()
    start_batch(first)
    wait_for_report(first, f"[1-9]\\d* of {COUNT} translated")
    start_batch(second, count=1, side=64)
    tracker = second.locator("#batch-progress [data-testid=status-tracker]")
    tracker.filter(has_text=re.compile(r"queue:\s*1/1")).wait_for()
    second.locator("#stop-batch").click()
    wait_for_report(second, "^Stopped before the first photo was done.$")
    tracker.filter(has_text="queue").wait_for(state="detached")
    first.locator("#stop-batch").click()
    wait_for_report(first, "Stopped: these")
    second.wait_for_timeout(1000)
    report = second.locator("#report textarea").input_value()
    assert report == "Stopped before the first photo was done."  # its turn did not come after all
    second.locator("#translate-all").click()  # and it may come again
    wait_for_report(second, "^1 of 1 translated")


def test_a_batch_of_which_nothing_can_be_done_says_so(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, "Batch")
    page.locator("#files input[type=file]").set_input_files(
        file("in.zip", zipped({"<img src=x onerror=alert(1)>.png": b"no picture"}), "application/zip")
    )
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    toast = page.get_by_test_id("toast-body")
    toast.filter(has_text="None of these files could be translated. <img src=x onerror=alert(1)>.png: This").wait_for()
    assert toast.locator("img").count() == 0
    assert wait_for_report(page, "^None of these files").endswith("AVIF file.")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({}), "This zip file is empty."),
        (zipped({"a.png": saved(make_picture("A", 1, 64), format="PNG")})[:500], "This zip file cannot be opened."),
    ],
    ids=["empty", "cut off"],
)
def test_what_a_zip_file_lacks_is_said_and_no_old_result_stays(
    visit: Callable[..., Any], content: bytes, words: str
) -> None:
    page = visit()
    open_tab(page, "Batch")
    assert not page.locator("#stop-batch").is_visible()
    good = zipped({"a.png": saved(make_picture("A", 1, 64), format="PNG")})
    page.locator("#files input[type=file]").set_input_files(file("in.zip", good, "application/zip"))
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    wait_until_enabled(page.locator("#download-all"))
    page.locator("#gallery img").first.wait_for()
    page.locator("#files button[aria-label='Remove this file'], #files button[aria-label='Clear']").first.click()
    page.locator("#files input[type=file]").set_input_files(file("bad.zip", content, "application/zip"))
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    page.locator("#batch-progress", has_text=words).wait_for()
    assert words in page.locator("#report textarea").input_value()
    assert page.locator("#download-all").is_disabled()
    assert page.locator("#gallery img").count() == 0


def test_a_batch_shows_before_and_after(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, "Batch")
    photo = saved(make_picture("A", 1, (64, 48)), format="PNG")
    page.locator("#files input[type=file]").set_input_files(file("a.png", photo, "image/png"))
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    page.locator("#gallery img").first.wait_for()
    page.wait_for_function("document.querySelector('#gallery img').naturalWidth > 2 * 64")


@pytest.mark.slow  # a page of its own
def test_a_closed_tab_and_a_stop_give_up_a_large_photo(
    browser: Any, light_pipeline: CycleGANPipeline, tmp_path: Path
) -> None:
    light_pipeline.save_pretrained(tmp_path / "model")
    small = {"WHOLE_BYTES": 30_000_000, "PIECE_BYTES": 30_000_000}
    with serve(tmp_path / "model", tmp_path, small) as url:

        def given_up() -> int:
            return (tmp_path / "page.log").read_text().count("gave up a photo")

        for number, leave in enumerate(("close", "stop"), 1):
            page = browser.new_page()
            page.set_default_timeout(PATIENCE * 1000)
            page.goto(url)
            page.get_by_role("button", name="Options").click()
            page.locator("#long-side").get_by_text("Original").click()
            upload(page, saved(make_picture("A", 1, (4000, 3000)), format="JPEG"), "large.jpeg")
            page.locator("#info", has_text=re.compile(r"[1-9]\d* of \d+ pieces")).wait_for()
            assert given_up() == number - 1
            if leave == "close":
                page.close()
            else:
                page.locator("#stop-photo").click()
                page.locator("#info", has_text="Stopped.").wait_for()
            deadline = time.monotonic() + PATIENCE
            while given_up() < number:
                assert time.monotonic() < deadline, leave
                time.sleep(0.2)
            if leave == "stop":
                page.wait_for_timeout(2000)  # its last words would come by now
                assert page.locator("#info").inner_text() == "Stopped."
                page.close()
