"""Each way to hand the page without a server a photo, what can be read of it, and what the first visit fetches."""

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import OPTIONS, PATIENCE
from tests.space.static_page import TOLERANCE, build, expected, put, served, translated
from tests.space.test_page import PALE_TEXTS, png
from tests.testing_utils import make_picture, noise


HANDED_OVER = """([bytes, how]) => {
    const file = new File([new Uint8Array(bytes)], "lake.png", {type: "image/png"});
    const data = new DataTransfer();
    data.items.add(file);
    if (how === "paste") {
        document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
    } else {
        const drop = document.querySelector("#drop");
        drop.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, bubbles: true, cancelable: true}));
        if (!drop.classList.contains("over")) throw new Error("nothing shows where the file would go");
        const event = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
        if (drop.dispatchEvent(event)) throw new Error("the browser would leave the page for the file");
    }
}"""


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_photo_may_be_dropped_and_pasted(
    open_site: Callable[..., Any], light_pipeline: CycleGANPipeline, how: str
) -> None:
    page, picture = open_site(), make_picture("A", 5, (60, 40))
    page.evaluate(HANDED_OVER, [list(png(picture)), how])
    assert page.locator("#drop.over").count() == 0
    name, found = translated(page)
    assert name == "lake-late_winter.png"
    assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE


@pytest.mark.parametrize("kind", ["gif", "avif"])
def test_of_an_animation_the_first_frame_and_newer_kinds_are_translated(
    open_site: Callable[..., Any], light_pipeline: CycleGANPipeline, kind: str
) -> None:
    stream = io.BytesIO()
    first, second = (Image.new("RGB", (64, 48), colour) for colour in ("#c04020", "#2040c0"))
    if kind == "gif":
        first.save(stream, "GIF", save_all=True, append_images=[second], duration=50, loop=0)
    else:
        first.save(stream, "AVIF", quality=100, subsampling="4:4:4")
    page = open_site()
    put(page, stream.getvalue(), f"lake.{kind}", f"image/{kind}")
    name, found = translated(page)
    assert name == "lake-late_winter.png"
    with Image.open(stream) as sent:
        library = expected(light_pipeline, sent.convert("RGB"), "a2b")
    assert np.abs(found - library).max() <= TOLERANCE
    assert np.abs(found - expected(light_pipeline, second, "a2b")).max() > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(open_site: Callable[..., Any], scheme: str) -> None:
    page = open_site(color_scheme=scheme)
    assert page.evaluate(PALE_TEXTS) == []
    put(page, b"no picture")
    page.locator("#error").wait_for()
    assert page.evaluate(PALE_TEXTS) == []
    put(page, png(make_picture("A", 6, 40)))
    page.locator("#error").wait_for(state="hidden")
    translated(page)
    assert page.locator("#source").is_visible() and page.evaluate(PALE_TEXTS) == []


@pytest.mark.slow
def test_the_first_visit_with_the_bundled_weights_fetches_12_mb_at_most(
    browser: Any, node_modules: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the page's graphs need the extra `export`")
    ended = build(tmp_path / "page", None, node_modules)
    assert ended.returncode == 0, ended.stderr
    with served(tmp_path / "page") as url:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE * 1000)
        page, sizes = context.new_page(), dict[str, int]()
        context.on("response", lambda answer: sizes.update({answer.url: int(answer.headers["content-length"])}))
        page.goto(url)
        page.locator("#directions input").first.wait_for()
        told = int(page.locator("#facts").inner_text().split(" MB")[0].split()[-1])
        put(page, png(make_picture("A", 7, 64)))
        translated(page)
        context.close()
    names = {address.removeprefix(url): size for address, size in sizes.items() if address.startswith(url)}
    assert {name.rpartition(".")[2] for name in names} >= {"js", "mjs", "json", "css", "jpg"}
    assert sum("model/" in name for name in names) == 2 and sum(".wasm.gz" in name for name in names) == 1
    assert 4_000_000 < sum(names.values()) <= 12_000_000, names
    model = sum(size for name, size in names.items() if "model/" in name or ".wasm" in name)
    assert abs(model / 1e6 - told) < 1  # what the page says of itself


# What comes late, what is too large, and a visit without a connection


SLOW_FIRST = """
    const real = createImageBitmap.bind(window);
    window.createImageBitmap = async (source, ...rest) => {
        if (source.name === "slow.png") await new Promise((done) => setTimeout(done, 1500));
        return real(source, ...rest);
    };
"""


def test_a_slow_first_choice_never_overwrites_a_later_one(
    open_site: Callable[..., Any], light_pipeline: CycleGANPipeline
) -> None:
    page, later = open_site(script=SLOW_FIRST), make_picture("A", 9, (60, 40))
    put(page, png(make_picture("B", 9, (400, 300))), "slow.png")
    put(page, png(later), "later.png")
    translated(page)
    page.wait_for_timeout(2500)  # the slow one is open by now
    name, found = translated(page)
    assert name == "later-late_winter.png"
    assert np.abs(found - expected(light_pipeline, later, "a2b")).max() <= TOLERANCE


def test_a_change_of_mind_in_mid_translation_shows_the_last_choice(
    open_site: Callable[..., Any], light_pipeline: CycleGANPipeline
) -> None:
    page, picture = open_site(), make_picture("A", 9, (60, 40))
    put(page, png(Image.fromarray(noise(1024, 1024))), "large.png")
    page.locator("#status", has_text="Translating").wait_for()
    put(page, png(picture), "small.png")
    name, found = translated(page)
    assert name == "small-late_winter.png"
    assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE


def test_a_giant_is_refused_by_its_header(open_site: Callable[..., Any]) -> None:
    page = open_site(script="window.createImageBitmap = () => { throw new Error('decoded'); };")
    header = struct.pack(">I4sIIBBBBB", 13, b"IHDR", 20_000, 20_000, 8, 2, 0, 0, 0)
    put(page, b"\x89PNG\r\n\x1a\n" + header + bytes(1000))
    page.get_by_text("This picture is too large: 64 megapixels are the most.").wait_for()


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "lossless WEBP", "alpha WEBP", "AVIF", "progressive JPEG"]
)
def test_a_size_is_read_from_the_header(open_site: Callable[..., Any], kind: str) -> None:
    stream, picture = io.BytesIO(), make_picture("A", 9, (517, 301))
    settings: dict[str, Any] = {"lossless": True} if "lossless" in kind else {}
    if "alpha" in kind:
        picture.putalpha(100)
    if "JPEG" in kind:
        exif = Image.Exif()
        exif[0x010E] = "x" * 30_000  # a long preface
        settings = {"exif": exif, "progressive": "progressive" in kind}
    picture.save(stream, kind.split()[-1], **settings)
    page = open_site()
    script = "(bytes) => import('./headers.js').then(({dimensions}) => dimensions(new Uint8Array(bytes)))"
    assert page.evaluate(script, list(stream.getvalue())) == {"width": 517, "height": 301}
    for length in (0, 3, 9):
        assert page.evaluate(script, list(stream.getvalue()[:length])) is None


def test_a_very_long_photo_keeps_its_rows(open_site: Callable[..., Any]) -> None:
    page = open_site()
    put(page, png(make_picture("A", 9, (4000, 40))))
    _, found = translated(page)
    assert found.shape == (32, 3200, 3)


def test_the_page_opens_on_a_translated_pair_and_an_example_is_one_click(
    browser: Any, pipeline: CycleGANPipeline, node_modules: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="exporting graphs needs the extra `export`")
    pipeline.save_pretrained(tmp_path / "model")
    ended = build(tmp_path / "page", tmp_path / "model", node_modules)
    assert ended.returncode == 0, ended.stderr
    with served(tmp_path / "page") as url:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        context.set_default_timeout(PATIENCE * 1000)
        page, asked = context.new_page(), list[str]()
        context.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.locator("#result").wait_for()
        assert page.locator("h1").inner_text() == "See your summer photo in winter"
        assert page.locator(".ends").inner_text().split() == ["Summer", "Winter"]
        assert page.evaluate("document.querySelector('#samples').getBoundingClientRect().bottom <= innerHeight")
        page.get_by_role("button", name="Example: shore").click()
        page.locator("#status", has_text="An example.").wait_for()
        with page.expect_download() as event:
            page.locator("#download").click()
        assert event.value.suggested_filename == "shore-summer.jpg"
        assert not any(".wasm.gz" in address for address in asked)  # nothing was computed
        page.get_by_label("Summer → Winter").check()
        name, _ = translated(page)
        assert name == "shore-winter.png"
        context.close()


def test_a_second_visit_works_without_a_connection(browser: Any, site: Path, light_pipeline: CycleGANPipeline) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    picture = make_picture("A", 9, (60, 40))
    with served(site) as url:
        page = context.new_page()
        page.goto(url)
        put(page, png(make_picture("A", 8, 40)))
        translated(page)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.close()
    page = context.new_page()
    page.goto(url)  # nobody listens there now
    put(page, png(picture))
    _, found = translated(page)
    assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE
    context.close()


@pytest.mark.slow  # a graphics card in software takes its time
def test_a_graphics_card_gives_the_same(browser: Any, site_address: str, light_pipeline: CycleGANPipeline) -> None:
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    kept = [option for option in OPTIONS if option != "--disable-gpu"]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    other = browser.browser_type.launch(executable_path=chromium, args=[*kept, *flags])
    try:
        page = other.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{site_address}?backend=webgpu")
        if not page.evaluate("navigator.gpu ? navigator.gpu.requestAdapter().then(Boolean) : false"):
            pytest.skip("this Chromium has no WebGPU adapter, not even one in software")
        picture = make_picture("A", 9, (60, 40))
        put(page, png(picture))
        _, found = translated(page)
        assert "on your graphics card" in page.locator("#status").inner_text()
        assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= 2
    finally:
        other.close()
