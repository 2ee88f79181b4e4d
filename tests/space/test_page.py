"""What a visitor does, in a real browser."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE
from tests.space.conftest import ROOT
from tests.testing_utils import make_picture


# The texts of the page whose contrast with what is behind them is below WCAG's 4.5 to 1; disabled controls are exempt.
PALE_TEXTS = """() => {
    const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = (colour) => {
        const [r, g, b] = colour.map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = numbers(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.9) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const pale = [];
    for (const element of document.querySelectorAll("body *:not(:disabled)")) {
        const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
        if (!text || !element.offsetParent) continue;
        const lights = [numbers(getComputedStyle(element).color).slice(0, 3), behind(element)].map(luminance);
        const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
        if (contrast < 4.5) pale.push(`${text}: ${contrast.toFixed(2)}`);
    }
    return pale;
}"""


def upload(page: Any, content: bytes, name: str = "meadow.png") -> None:
    file = {"name": name, "mimeType": f"image/{name.rpartition('.')[2]}", "buffer": content}
    page.locator("#photo input[type=file]").set_input_files(file)


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def download(page: Any) -> tuple[str, Image.Image]:
    with page.expect_download() as event:
        page.locator("#download").click()
    with Image.open(event.value.path()) as picture:
        return event.value.suggested_filename, picture.copy()


def wait_for_attribute(locator: Any, name: str, value: str) -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_attribute(name, value, timeout=PATIENCE * 1000)


def wait_until_enabled(locator: Any) -> None:
    from playwright.sync_api import expect

    expect(locator).to_be_enabled(timeout=PATIENCE * 1000)


def assert_same_picture(actual: Image.Image, expected: Image.Image) -> None:
    assert (actual.size, actual.mode, actual.format) == (expected.size, expected.mode, expected.format)
    difference = np.asarray(actual, np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference).max() <= 1  # another number of threads may round the other way


def test_a_photo_goes_through_in_both_directions(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page = visit()
    assert page.title() == "Summer ↔ Winter · CycleGAN"
    button, picture = page.locator("#translate"), make_picture("A", 1, (150, 90))
    assert button.is_disabled() and page.locator("#download").is_disabled()
    upload(page, png(picture))
    wait_until_enabled(button)
    assert page.locator("#photo img").get_attribute("alt") == "Your photo"

    results = []
    for direction, label, name in (
        ("a2b", "Summer → Winter", "meadow-winter.png"),
        ("b2a", "Winter → Summer", "meadow-summer.png"),
    ):
        page.get_by_role("group", name="Direction").get_by_role("radio", name=label).check()
        button.click()
        page.locator("#info", has_text=f"{label} · 150 × 90 pixels").wait_for()
        filename, result = download(page)
        results.append(np.asarray(result, np.int16))
        assert filename == name
        assert_same_picture(result, pipeline(picture, direction=direction).images[0])
    assert np.abs(results[0] - results[1]).mean() > 5

    assert page.locator("#result img").count() == 2
    handle = page.get_by_role("slider", name="Line between before and after")
    handle.press("End")
    wait_for_attribute(handle, "aria-valuenow", "100")
    handle.press("Home")
    wait_for_attribute(handle, "aria-valuenow", "0")


def test_an_example_is_one_click_also_on_a_phone(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Example: shore").tap()
    page.locator("#info", has_text="Winter → Summer · 512 × 384 pixels").wait_for()
    assert page.get_by_role("radio", name="Winter → Summer").is_checked()
    page.wait_for_function("document.querySelector('#result').getBoundingClientRect().top < innerHeight / 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    filename, result = download(page)
    assert filename == "shore-summer.png"
    assert_same_picture(result, pipeline(ROOT / "space/examples/winter/shore.jpg", direction="b2a").images[0])


def test_a_bad_file_is_refused_kindly_and_a_good_one_still_works(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, b"\xff\xd8\xff\xe0 no picture" * 20, name="holiday.jpeg")
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    text = toast.inner_text()
    assert "cannot be opened as a picture" in text
    assert not any(leak in text for leak in ("/", "\\", "Error(", "Traceback", "holiday"))
    page.locator("#photo img").wait_for(state="detached")
    assert page.locator("#translate").is_disabled()
    upload(page, png(make_picture("A", 2, 64)))
    wait_until_enabled(page.locator("#translate"))


def test_an_error_leaves_the_last_result_in_sight(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, png(make_picture("A", 3, 64)))
    wait_until_enabled(page.locator("#translate"))
    page.locator("#translate").click()
    page.locator("#info", has_text="64 × 64").wait_for()
    Path(page.locator("#photo img").get_attribute("src").partition("/file=")[2]).unlink()
    page.locator("#translate").click()
    page.get_by_test_id("toast-body").filter(has_text="Choose it again").wait_for()
    page.locator("#info", has_text="This file has been deleted in the meantime. Choose it again.").wait_for()
    page.locator("#result [data-testid=status-tracker].hide").wait_for(state="attached")
    assert page.locator("#result .error").count() == 0
    assert page.locator("#result img").count() == 2 and page.locator("#result img").last.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.locator("#examples img").last.wait_for()
    assert page.evaluate(PALE_TEXTS) == []


def test_the_api_panel_asks_nobody_else_either(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("button", name="Use via API").click()
    page.get_by_text("translate_batch").filter(visible=True).first.wait_for()
