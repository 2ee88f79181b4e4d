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


def slider_position(page: Any) -> float:
    """Where the line between before and after is, from 0 at the left to 1."""
    return float(
        page.evaluate(
            """() => {
                const grip = document.querySelector("#result [data-testid=slider]").getBoundingClientRect();
                const box = document.querySelector("#result img").getBoundingClientRect();
                return (grip.left + grip.width / 2 - box.left) / box.width;
            }"""
        )
    )


def drag_slider(page: Any, to: float) -> None:
    grip = page.locator("#result [data-testid=slider]").bounding_box()
    box = page.locator("#result img").first.bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + to * box["width"], grip["y"] + grip["height"] / 2, steps=5)
    page.mouse.up()


def replace_photo(page: Any, content: bytes, name: str = "meadow.png") -> None:
    """Uploads a photo in the place of another."""
    page.locator("#photo button[aria-label='Remove Image'], #photo button[aria-label='Clear']").first.click()
    page.locator("#photo img").wait_for(state="detached")
    upload(page, content, name)


def in_sight(page: Any, selector: str) -> bool:
    box, view = page.locator(selector).bounding_box(), page.viewport_size
    return box["y"] >= 0 and box["y"] + box["height"] <= view["height"]


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_first_screen_is_a_translated_pair_with_examples(visit: Callable[..., Any], phone: bool) -> None:
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    page = visit(viewport=size, is_mobile=phone, has_touch=phone)
    page.locator("#result img").nth(1).wait_for()  # these weights did not come with results: they are computed
    assert page.get_by_role("heading", level=1).inner_text() == "See your summer photo in winter"
    assert page.locator("#ends").inner_text().split() == ["Summer", "Winter"]
    page.locator("#examples img").last.wait_for()
    page.wait_for_function("[...document.querySelectorAll('#result img, #examples img')].every((i) => i.naturalWidth)")
    for selector in ("#result", "#ends .ends", "#examples"):
        assert in_sight(page, selector), selector
    assert not page.locator("#long-side").is_visible()  # in the closed options
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_photo_is_translated_when_it_arrives_and_when_the_direction_changes(
    visit: Callable[..., Any], pipeline: CycleGANPipeline
) -> None:
    page, picture = visit(), make_picture("A", 1, (150, 90))
    assert page.title() == "See your summer photo in winter · CycleGAN"
    assert page.locator("#translate").is_disabled() and page.locator("#download").is_disabled()
    upload(page, png(picture))
    results = []
    for direction, label, name in (
        ("a2b", "Summer → Winter", "meadow-winter.png"),
        ("b2a", "Winter → Summer", "meadow-summer.png"),
    ):
        page.get_by_role("group", name="Direction").get_by_role("radio", name=label).check()
        page.locator("#info", has_text=f"{label} · 150 × 90 pixels").wait_for()
        assert page.locator("#ends").inner_text().split() == label.split(" → ")
        filename, result = download(page)
        results.append(np.asarray(result, np.int16))
        assert filename == name
        assert_same_picture(result, pipeline(picture, direction=direction).images[0])
    assert page.locator("#photo img").get_attribute("alt") == "Your photo"
    assert np.abs(results[0] - results[1]).mean() > 5
    assert page.locator("#result img").count() == 2


def test_the_slider_tells_where_it_is_and_returns_to_the_middle(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, png(make_picture("A", 1, (150, 90))))
    page.locator("#info", has_text="150 × 90").wait_for()
    handle = page.get_by_role("slider", name="Line between before and after")
    wait_for_attribute(handle, "aria-valuenow", "50")
    for _ in range(2):  # each new result, not the first one alone
        drag_slider(page, 0.2)
        assert abs(slider_position(page) - 0.2) < 0.03
        wait_for_attribute(handle, "aria-valuenow", "20")  # it follows the mouse
        page.locator("#translate").click()
        wait_for_attribute(handle, "aria-valuenow", "50")
        assert abs(slider_position(page) - 0.5) < 0.01
        wait_until_enabled(page.locator("#translate"))
    handle.press("End")
    wait_for_attribute(handle, "aria-valuenow", "100")
    handle.press("Home")
    wait_for_attribute(handle, "aria-valuenow", "0")


def test_an_example_is_one_click_also_on_a_phone(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.get_by_role("button", name="Example: shore").tap()
    page.locator("#info", has_text="Winter → Summer · an example").wait_for()
    assert page.get_by_role("radio", name="Winter → Summer").is_checked()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with page.expect_download() as event:
        page.locator("#download").click()
    assert event.value.suggested_filename == "shore-summer.jpg"
    expected = pipeline(ROOT / "space/examples/winter/shore.jpg", direction="b2a").images[0]
    with Image.open(event.value.path()) as result:
        assert np.abs(np.asarray(result, np.int16) - np.asarray(expected, np.int16)).mean() < 6  # it is a JPEG
    # An example is a photo like any other.
    page.get_by_role("radio", name="Summer → Winter").check(force=True)
    page.locator("#info", has_text="Summer → Winter · 512 × 384 pixels").wait_for()


def test_on_a_phone_the_page_shows_its_work_and_then_the_result(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 390, "height": 500}, is_mobile=True, has_touch=True)
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => {
                const button = document.querySelector("#translate");
                window.seen.push(`${button.textContent.trim()} ${button.disabled ? "off" : "on"}`);
            }).observe(document.querySelector("#controls"), {
                subtree: true, childList: true, attributes: true, characterData: true,
            });
        }"""
    )
    page.locator("#translate").scroll_into_view_if_needed()
    upload(page, png(make_picture("A", 1, (900, 600))))
    page.locator("#info", has_text="900 × 600").wait_for()
    assert "Translating … off" in page.evaluate("window.seen")
    page.wait_for_function("document.querySelector('#result').getBoundingClientRect().top >= -5")
    assert page.locator("#translate").inner_text() == "Translate"
    assert page.locator("#translate").is_enabled()


def test_a_later_photo_is_the_one_that_is_shown(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page, small = visit(), make_picture("A", 3, 64)
    upload(page, png(make_picture("A", 2, (1000, 1000))))
    page.locator("#info", has_text="Translating").wait_for()
    replace_photo(page, png(small), "later.png")
    page.locator("#info", has_text="64 × 64").wait_for()
    page.wait_for_timeout(2000)  # the first one would come by now
    assert "64 × 64" in page.locator("#info").inner_text()
    name, result = download(page)
    assert name == "later-winter.png"
    assert_same_picture(result, pipeline(small).images[0])


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
