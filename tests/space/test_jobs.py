"""Jobs that take a while: their place in the queue, the time left, and that stopping keeps what is done."""

import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.space.test_page import assert_same_picture, wait_until_enabled
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
    page.locator("#gallery [data-testid=status-tracker]", has_text=re.compile(r"about \d+ s left")).wait_for()
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
    tracker = second.locator("#gallery [data-testid=status-tracker]")
    tracker.filter(has_text=re.compile(r"queue:\s*1/1")).wait_for()
    second.locator("#stop-batch").click()
    wait_for_report(second, "^Stopped.$")
    tracker.filter(has_text="queue").wait_for(state="detached")
    first.locator("#stop-batch").click()
    wait_for_report(first, "Stopped: these")
    second.wait_for_timeout(1000)
    assert second.locator("#report textarea").input_value() == "Stopped."  # its turn did not come after all
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
