"""Each tab besides the photo's, in a real browser, and several visitors at once."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE
from tests.images.test_video import pictures, sound_of, write_clip
from tests.space.conftest import serve, tiny_pipeline
from tests.space.test_page import PALE_TEXTS, assert_same_picture, download, png, upload, wait_until_enabled
from tests.testing_utils import make_picture


TABS = ("Photo", "Batch", "Video", "Model", "About")


def open_tab(page: Any, name: str) -> None:
    """Opens a tab, on a narrow screen through the menu behind the dots."""
    tab, menu = page.get_by_role("tab", name=name, exact=True), page.locator(".overflow-menu > button")
    tab.or_(menu).filter(visible=True).first.wait_for()  # before the page is drawn neither is there
    if tab.is_visible():
        tab.click()
        return
    menu.click()
    page.locator(".overflow-dropdown button", has_text=name).click()


def file(name: str, content: bytes, kind: str) -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_a_batch_comes_back_as_a_zip(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page, photos = visit(), [make_picture("B", seed, (64, 48)) for seed in range(3)]
    open_tab(page, "Batch")
    archive = zipped({"tour/day 1/lake.png": png(photos[0]), "../../etc/lake.png": png(photos[1]), "a.svg": b"<svg/>"})
    page.locator("#files input[type=file]").set_input_files(
        [file("in.zip", archive, "application/zip"), file("hill.png", png(photos[2]), "image/png")]
    )
    page.get_by_role("group", name="Direction").filter(visible=True).get_by_text("Winter → Summer").click()
    wait_until_enabled(page.locator("#translate-all"))
    page.locator("#translate-all").click()
    wait_until_enabled(page.locator("#download-all"))
    assert not page.locator("#stop-batch").is_visible()
    assert page.locator("#report textarea").input_value().splitlines() == [
        "3 of 4 translated.",
        "a.svg: A drawing (SVG) has no pixels that could be translated. Try a JPEG, PNG, WebP or AVIF file.",
    ]
    page.locator("#gallery img").nth(2).wait_for()
    with page.expect_download() as event:
        page.locator("#download-all").click()
    with zipfile.ZipFile(event.value.path()) as results:
        assert results.namelist() == ["tour/day_1/lake-summer.png", "etc/lake-summer.png", "hill-summer.png"]
        for name, photo in zip(results.namelist(), photos, strict=True):
            with Image.open(results.open(name)) as result:
                assert_same_picture(result.copy(), pipeline(photo, direction="b2a").images[0])


def test_a_clip_keeps_its_sound(visit: Callable[..., Any], tmp_path: Path) -> None:
    page, clip = visit(), write_clip(tmp_path / "walk.mp4", frames=6)
    open_tab(page, "Video")
    page.locator("#clip input[type=file]").set_input_files(clip)
    wait_until_enabled(page.locator("#translate-clip"))
    page.locator("#translate-clip").click()
    wait_until_enabled(page.locator("#download-clip"))
    assert "Summer → Winter · 6 frames" in page.locator("#clip-info").inner_text()
    page.wait_for_function("document.querySelector('#clip-result video')?.readyState >= 2")
    with page.expect_download() as event:
        page.locator("#download-clip").click()
    assert event.value.suggested_filename == "walk-winter.mp4"
    event.value.save_as(tmp_path / "out.mp4")
    assert len(pictures(tmp_path / "out.mp4")) == 6
    assert sound_of(tmp_path / "out.mp4") == sound_of(clip)


def test_a_clip_can_be_stopped(visit: Callable[..., Any], tmp_path: Path) -> None:
    page, clip = visit(), write_clip(tmp_path / "walk.mp4", frames=230, size=(512, 384))
    open_tab(page, "Video")
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip-long-side").get_by_text("512").click()
    wait_until_enabled(page.locator("#translate-clip"))
    page.locator("#translate-clip").click()
    page.locator(
        "#clip-info", has_text=re.compile(r"^\s*\d+ of 230 frames · about \d+ (s|minutes) left\s*$")
    ).wait_for()
    page.locator("#stop-clip").click()
    page.locator("#clip-info", has_text="Stopped.").wait_for()
    page.wait_for_timeout(3000)  # the job's last words would come by now
    assert page.locator("#clip-info").inner_text().strip() == "Stopped."
    assert page.locator("#download-clip").is_disabled()


def test_a_clip_that_is_too_long_is_another_matter(visit: Callable[..., Any], tmp_path: Path) -> None:
    page, clip = visit(), write_clip(tmp_path / "walk.mp4", frames=620, size=(32, 32))
    open_tab(page, "Video")
    page.locator("#clip input[type=file]").set_input_files(clip)
    wait_until_enabled(page.locator("#translate-clip"))
    page.locator("#translate-clip").click()
    page.locator("#clip-info", has_text="This video is too long").wait_for()
    assert page.locator("#download-clip").is_disabled()


def test_what_is_no_clip_is_refused_kindly(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, "Video")
    page.locator("#clip input[type=file]").set_input_files(file("film.mp4", b"#EXTM3U\n/etc/passwd\n", "video/mp4"))
    wait_until_enabled(page.locator("#translate-clip"))
    page.locator("#translate-clip").click()
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert "cannot be opened as a video" in toast.inner_text()
    assert not any(leak in toast.inner_text() for leak in ("/", "\\", "Traceback", "film"))


def test_the_way_back_and_the_difference_on_request(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, png(make_picture("A", 1, (90, 60))))
    page.locator("#info", has_text="90 × 60").wait_for()
    assert not page.locator("#cycle").is_visible() and not page.locator("#difference").is_visible()
    page.get_by_role("button", name="Options").click()
    for label in ("The way back", "Where it changed"):
        page.get_by_label(label).filter(visible=True).check()
    page.locator("#translate").click()
    page.locator("#info", has_text="there and back").wait_for()
    page.locator("#cycle img").wait_for()
    page.locator("#difference img").wait_for()


def test_keys_alone_are_enough(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, png(make_picture("A", 2, 64)))
    page.locator("#info", has_text="64 × 64").wait_for()
    page.locator("#direction input").first.focus()
    page.keyboard.press("ArrowRight")  # as in any group of choices
    page.locator("#info", has_text="Winter → Summer · 64 × 64").wait_for()
    page.keyboard.press("Tab")  # one station for the whole group
    wait_until_enabled(page.locator("#translate"))
    page.locator("#direction input:checked").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "translate"
    page.get_by_role("tab", name="Photo").focus()
    outline = (
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    page.keyboard.press("ArrowRight")
    page.locator("#translate-all").wait_for()
    assert page.evaluate("document.activeElement.textContent").strip() == "Batch"
    assert page.evaluate(outline) == "solid3px"
    page.keyboard.press("ArrowLeft")
    page.locator("#translate").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_readable_on_a_phone(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(color_scheme=scheme, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for name in TABS[1:]:
        open_tab(page, name)
        page.get_by_role("tab", name=name, exact=True, selected=True).filter(visible=True).wait_for()
        page.wait_for_timeout(300)  # colours fade in
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(PALE_TEXTS) == [], name


CARD = f"""---
license: cc-by-4.0
---
# Two seasons
[report](report.md)
```python
image = pipe("photo.jpg").images[0]  # winter
```

|{" discriminators |" * 8}
|{" --- |" * 8}
|{" residual blocks of instance norm |" * 8}
"""


@pytest.fixture(scope="module")
def gallery_of_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with two models."""
    folder = tmp_path_factory.mktemp("models")
    tiny_pipeline().save_pretrained(folder / "seasons")
    (folder / "seasons/README.md").write_text(CARD)
    CycleGANPipeline(generator_b2a=tiny_pipeline().generator_b2a, domain_a="horse", domain_b="zebra").save_pretrained(
        folder / "zebra2horse"
    )
    with serve(folder / "seasons", folder, CYCLEGAN_MODELS=str(folder / "zebra2horse")) as url:
        yield url


def test_another_model_changes_what_the_tabs_offer(browser: Any, gallery_of_models: str) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(gallery_of_models)
    page.locator("#model input").click()
    page.get_by_role("option", name="zebra2horse: Zebra → Horse").click()
    page.locator("#direction", has_text="Zebra → Horse").wait_for()
    assert "Horse → Zebra" not in page.locator("#direction").inner_text()
    assert not page.locator("#examples").is_visible()
    page.get_by_role("button", name="Options").click()
    assert "The way back" not in page.locator("#extras").inner_text()
    upload(page, png(make_picture("A", 3, 64)))
    page.locator("#info", has_text="Zebra → Horse · 64 × 64").wait_for()
    open_tab(page, "Models")
    assert "See your summer photo in winter – and back" in page.locator("#model-list").inner_text()
    page.get_by_role("button", name="Details").click()
    page.locator("#facts", has_text="zebra2horse").wait_for()
    assert not page.locator("#model-id").is_visible()  # the free field is off
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_models_card_is_readable_on_a_phone(browser: Any, gallery_of_models: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, is_mobile=True)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(gallery_of_models)
    open_tab(page, "Models")
    page.get_by_role("button", name="Details").click()
    page.locator("#facts", has_text="cc-by-4.0").wait_for()
    page.get_by_role("button", name="Model card").click()
    assert page.locator("#card a").count() == 0  # a link to another file of the model would lead nowhere
    page.get_by_role("heading", name="Two seasons").wait_for()
    page.wait_for_timeout(300)  # colours fade in
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(PALE_TEXTS) == []
    heading = page.locator("#card th").first.bounding_box()  # a word is on one line; the table scrolls
    assert heading["height"] < 60 and heading["width"] > 60
    context.close()


@pytest.mark.slow
def test_ten_visitors_at_once_each_get_their_own(address: str, pipeline: CycleGANPipeline, tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")
    photos = [make_picture("A", seed, (80 + seed, 64)) for seed in range(10)]

    def visitor(number: int) -> Image.Image:
        photos[number].save(tmp_path / f"{number}.png")
        client = gradio_client.Client(address, verbose=False, download_files=tmp_path / f"downloads{number}")
        path = client.predict(photo=gradio_client.handle_file(tmp_path / f"{number}.png"), api_name="/translate")
        with Image.open(path) as picture:
            return picture.copy()

    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(visitor, range(10)))
    for photo, result in zip(photos, results, strict=True):
        assert_same_picture(result, pipeline(photo).images[0])


@pytest.mark.slow
def test_ten_browsers_at_once_each_show_their_own(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    photos = [make_picture("A", seed, (80 + seed, 64)) for seed in range(10)]
    pages = [visit() for _ in photos]
    for page, photo in zip(pages, photos, strict=True):
        upload(page, png(photo))
    for page, photo in zip(pages, photos, strict=True):
        page.locator("#info", has_text=f"{photo.width} × 64").wait_for()
        assert_same_picture(download(page)[1], pipeline(photo).images[0])
