"""The report in a browser: what a reader does with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_hf.evaluation.gallery import Gallery
from cyclegan_hf.evaluation.report import write_report
from cyclegan_hf.evaluation.run_logs import Curve, RunLogs
from tests.chromium import PATIENCE
from tests.evaluation.test_report import LINES, made
from tests.space.test_page import PALE_TEXTS
from tests.testing_utils import write_domains


PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1200, "height": 900}}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("page")
    folder = home / "report"
    folder.mkdir()
    gallery = Gallery(folder, 6)
    result = made(write_domains(home / "domains", count=6, size=48), gallery=gallery)
    result["warnings"] = ["few pictures"]
    losses = {"train": LINES[0]["train"], "test": LINES[1]["train"]}
    curves = [Curve("total", "epoch", {"train": [(1, 9.0), (2, 4.0)], "validation": [(1, 10.0), (2, 6.0)]})]
    write_report(folder, result, gallery, RunLogs(curves, losses))
    return folder / "index.html"


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report, and sees to it that it asks for nothing but its own files, and that no script fails."""
    wrong: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        allowed = (report.parent.as_uri(), "data:")
        context.on("request", lambda asked: None if asked.url.startswith(allowed) else wrong.append(asked.url))
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(report.as_uri())
        page.locator("#gallery button").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def captions(page: Any) -> list[float]:
    return [float(text.split()[-1]) for text in page.locator("#gallery .below span:last-child").all_inner_texts()]


def test_sorting_and_directions(visit: Callable[..., Any]) -> None:
    page = visit(**DESKTOP)
    assert page.title() == "model-0: summer ↔ winter"
    names = page.locator("#gallery .below span:first-child")
    assert names.all_inner_texts() == [f"{number:03d}.png" for number in range(6)]
    page.get_by_label("Sort by").select_option(label="cycle L1, best first")
    best_first = captions(page)
    assert best_first == sorted(best_first)
    page.get_by_label("Sort by").select_option(label="cycle L1, worst first")
    assert captions(page) == best_first[::-1]
    page.get_by_label("Sort by").select_option(label="SSIM to input, best first")
    assert captions(page) == sorted(captions(page), reverse=True)
    page.get_by_role("button", name="winter → summer").click()
    page.locator('#gallery img[src*="pictures/b2a/"]').first.wait_for()
    assert page.locator('#gallery img[src*="pictures/a2b/"]').count() == 0
    assert page.locator("#extremes .card").count() == 5


def test_the_slider_and_the_way_through_the_pictures(visit: Callable[..., Any]) -> None:
    page = visit(**DESKTOP)
    page.locator("#gallery button").first.click()
    viewer, handle = page.locator("#viewer"), page.get_by_label("Line between before and after")
    assert viewer.is_visible()
    assert page.locator("#over").get_attribute("src").endswith("-translation.png")
    handle.focus()
    handle.press("End")
    assert page.locator("#over").evaluate("e => getComputedStyle(e).clipPath") == "inset(0px 0px 0px 100%)"
    handle.press("Home")
    assert page.locator("#over").evaluate("e => getComputedStyle(e).clipPath") in (
        "inset(0px)",
        "inset(0px 0px 0px 0%)",
    )
    page.get_by_role("button", name="cycle", exact=True).click()
    assert page.locator("#over").get_attribute("src").endswith("-cycle.png")
    page.get_by_role("button", name="Next picture").click()
    assert page.locator("#viewer-name").inner_text() == "001.png"
    page.get_by_role("button", name="Previous picture").click()
    page.get_by_role("button", name="Previous picture").click()
    assert page.locator("#viewer-name").inner_text() == "005.png"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    page.locator("#extremes button").first.click()
    assert viewer.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_fits_and_can_be_read(visit: Callable[..., Any], screen: dict[str, Any], scheme: str) -> None:
    page = visit(**screen, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["viewport"]["width"]
    page.locator("details summary").first.click()
    assert page.evaluate(PALE_TEXTS) == []
    assert page.locator("svg .line.validation").count() >= 1
    assert page.get_by_text("few pictures").is_visible()
    page.evaluate("document.querySelectorAll('#gallery img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.querySelectorAll('#gallery img')].every(i => i.naturalWidth)")
    page.locator("#gallery button").first.click()
    assert page.locator("#viewer").bounding_box()["width"] <= screen["viewport"]["width"]
