"""Each way to hand the page without a server a photo, what can be read of it, and what the first visit fetches."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE
from tests.space.static_page import TOLERANCE, build, expected, put, served, translated
from tests.space.test_page import PALE_TEXTS, png
from tests.testing_utils import make_picture


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
    page.locator("#status", has_text="60 × 40 pixels.").wait_for()
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
    page.locator("#status", has_text="64 × 48 pixels.").wait_for()
    page.wait_for_timeout(200)  # an animation moves on
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
    translated(page)
    assert page.locator("#source").is_visible() and page.evaluate(PALE_TEXTS) == []


@pytest.mark.slow
def test_the_first_visit_with_the_bundled_weights_fetches_20_mb_at_most(
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
    assert {name.rpartition(".")[2] for name in names} >= {"wasm", "onnx", "js", "mjs", "json", "css"}
    assert any(name.startswith("model/") and not name.endswith(".onnx") for name in names)  # the weights
    assert 10_000_000 < sum(names.values()) <= 20_000_000, names
    assert abs(sum(names.values()) / 1e6 - told) < 1.5  # what the page says of itself
