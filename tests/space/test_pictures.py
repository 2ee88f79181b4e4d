"""Every kind of file, and every way to hand one over, in a real browser."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.images.io import open_image
from tests.space.test_page import assert_same_picture, download, png, upload, wait_until_enabled
from tests.testing_utils import make_picture, noise


def saved(picture: Image.Image, **settings: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, **settings)
    return stream.getvalue()


def translated(page: Any, size: str) -> tuple[str, Image.Image]:
    page.locator("#info", has_text=size).wait_for()
    return download(page)


@pytest.mark.parametrize("kind", ["gif", "avif", "webp", "turned.jpeg"])
def test_pictures_of_other_kinds_are_translated(
    visit: Callable[..., Any], pipeline: CycleGANPipeline, kind: str
) -> None:
    picture, turned = make_picture("A", 5, (80, 48)), Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    match kind:
        case "gif":
            content = saved(picture, format="GIF", save_all=True, append_images=[make_picture("B", 5, (80, 48))])
        case "turned.jpeg":
            content = saved(picture, format="JPEG", exif=turned)
        case _:
            content = saved(picture, format=kind)
    page = visit()
    upload(page, content, name=f"meadow.{kind}")
    name, result = translated(page, "48 × 80" if kind == "turned.jpeg" else "80 × 48")
    assert name == "meadow-winter.png" if kind != "turned.jpeg" else "meadow_turned-winter.png"
    assert_same_picture(result, pipeline(open_image(io.BytesIO(content))).images[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("drawing.svg+xml", "A drawing (SVG) has no pixels"),
        ("photo.heic", "HEIC photos cannot be opened here"),
        ("dot.png", "This picture is too small: 1 × 1 pixels"),
        ("hundred.png", "This picture is too large to open here. 64 megapixels are the most."),
        ("half.png", "This picture is damaged"),
    ],
)
def test_what_cannot_be_translated_is_said_and_the_next_is_welcome(
    visit: Callable[..., Any], name: str, words: str
) -> None:
    contents = {
        "drawing.svg+xml": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "dot.png": png(Image.new("RGB", (1, 1))),
        "hundred.png": png(Image.new("1", (10_000, 10_000))),
        "half.png": png(Image.fromarray(noise(64, 64)))[:6000],
    }
    page = visit()
    upload(page, contents[name], name=name)
    page.get_by_test_id("toast-body").filter(has_text=words).wait_for()
    page.locator("#photo img").wait_for(state="detached")
    assert page.locator("#translate").is_disabled()
    upload(page, png(make_picture("A", 2, 64)))
    wait_until_enabled(page.locator("#translate"))


def test_more_megapixels_than_a_translation_may_have(visit: Callable[..., Any]) -> None:
    page = visit()
    upload(page, png(Image.new("L", (5000, 4000))))
    page.locator("#info", has_text="1024 ×").wait_for()
    page.get_by_role("button", name="Options").click()
    page.locator("#long-side").get_by_text("Original").click()
    page.locator("#translate").click()
    page.locator("#info", has_text="This photo has 20.0 megapixels.").wait_for()
    assert "choose a smaller size" in page.locator("#info").inner_text()


def test_a_picture_that_browsers_do_not_show_is_shown(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page, picture = visit(), make_picture("A", 8, (90, 60))
    upload(page, saved(picture, format="TIFF"), name="scan.tiff")
    name, result = translated(page, "90 × 60")
    assert name == "scan-winter.png"
    assert_same_picture(result, pipeline(picture).images[0])
    page.wait_for_function("document.querySelector('#photo img')?.naturalWidth === 90")


def test_a_closed_clipboard_is_said(visit: Callable[..., Any]) -> None:
    page = visit(
        script="""
        navigator.clipboard.read = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    """
    )
    page.locator("#photo").get_by_role("button", name="Paste from clipboard").click()
    page.get_by_role("alert").filter(has_text="did not allow to read the clipboard").wait_for()


def test_without_a_camera_the_page_says_so(visit: Callable[..., Any]) -> None:
    page = visit(
        script="""
        const none = () => Promise.reject(new DOMException("none", "NotFoundError"));
        navigator.mediaDevices.getUserMedia = none;
    """
    )
    page.locator("#photo").get_by_role("button", name="Capture from camera").click()
    page.locator("#photo").get_by_role("button", name="Click to Access Webcam").click()
    page.get_by_role("alert").filter(has_text="No camera was found").wait_for()


def test_a_picture_can_be_pasted(visit: Callable[..., Any], pipeline: CycleGANPipeline) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    picture = make_picture("A", 6, (60, 40))
    page.evaluate(
        """async (bytes) => {
            const blob = new Blob([new Uint8Array(bytes)], {type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        list(png(picture)),
    )
    page.locator("#photo").get_by_role("button", name="Paste from clipboard").click()
    _, result = translated(page, "60 × 40")
    assert_same_picture(result, pipeline(picture).images[0])


def test_a_picture_can_be_taken_with_the_camera(visit: Callable[..., Any]) -> None:
    page = visit(permissions=["camera"])
    page.locator("#photo").get_by_role("button", name="Capture from camera").click()
    ask = page.locator("#photo").get_by_role("button", name="Click to Access Webcam")
    ask.click()
    playing = "document.querySelector('#photo video')?.videoWidth > 0"
    page.wait_for_timeout(
        3000
    )  # on a busy machine the page is drawn anew after its first click: the camera is off again
    if not page.evaluate(playing) and ask.is_visible():
        ask.click()
    page.wait_for_function(playing)  # a click before that is lost
    page.locator("#photo button[aria-label='capture photo']").click()
    page.locator("#photo img").wait_for()
    _, result = translated(page, "pixels")
    assert max(result.size) <= 1024
    assert len(set(result.convert("L").resize((8, 8)).tobytes())) > 1  # the test camera's pattern, not one colour
