"""The page without a server, in a real browser: it must give what the library gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline, ResnetGenerator, UnetGenerator
from tests.chromium import PATIENCE
from tests.hub.test_pull import files_of
from tests.hub_server import HubServer
from tests.space.static_page import CORE, TOLERANCE, build, choose_size, expected, put, served, translated
from tests.space.test_page import png
from tests.testing_utils import make_picture, noise


def test_both_directions_are_the_librarys(open_site: Callable[..., Any], light_pipeline: CycleGANPipeline) -> None:
    page = open_site()
    assert page.locator("h1").inner_text() == "Turn your photo from summer to late winter"
    picture = make_picture("A", 0, (75, 50))  # neither side is a multiple of the model's
    put(page, png(picture))
    name, found = translated(page)
    assert name == "meadow-late_winter.png"
    assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE
    page.get_by_text("Late winter → Summer").click()
    name, found = translated(page)
    assert name == "meadow-summer.png"
    assert np.abs(found - expected(light_pipeline, picture, "b2a")).max() <= TOLERANCE


def test_a_large_photo_in_pieces_is_as_if_translated_whole(
    open_site: Callable[..., Any], light_pipeline: CycleGANPipeline
) -> None:
    picture = Image.fromarray(noise(70, 2 * CORE + 301))
    page = open_site()
    put(page, png(picture))
    translated(page)
    choose_size(page, "Original")
    _, found = translated(page)
    assert found.shape == (70, 2 * CORE + 301, 3)
    assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE


def test_the_margin_is_what_the_pieces_need(site: Path, light_pipeline: CycleGANPipeline) -> None:
    model = json.loads((site / "model.json").read_text())
    assert model["margin"] >= light_pipeline.generator_a2b.receptive_radius
    assert model["margin"] % model["size_multiple"] == 0


def test_a_chosen_size_is_the_longest_side(open_site: Callable[..., Any]) -> None:
    page = open_site()
    put(page, png(make_picture("A", 1, (600, 300))))
    translated(page)
    choose_size(page, "512")
    _, found = translated(page)
    assert found.shape == (256, 512, 3)


@pytest.mark.parametrize(
    ("content", "name", "kind", "words"),
    [
        (b"GIF89a\x40\0\x40\0 but no more", "broken.gif", "image/gif", "This file cannot be opened as a picture."),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "drawing.svg",
            "image/svg+xml",
            "A drawing (SVG) has no",
        ),
        (b"\0\0\0\x18ftypheic", "photo.heic", "image/heic", "This browser cannot open HEIC photos."),
        (png(Image.new("RGB", (1, 1))), "dot.png", "image/png", "This picture is too small: 1 × 1 pixels."),
    ],
    ids=["damaged", "drawing", "heic", "dot"],
)
def test_what_cannot_be_translated_is_said(
    open_site: Callable[..., Any], content: bytes, name: str, kind: str, words: str
) -> None:
    page = open_site()
    put(page, content, name, kind)
    page.get_by_text(words).wait_for()
    assert page.locator("#translate").is_disabled()
    put(page, png(make_picture("A", 2, 40)))  # the next one is welcome
    page.locator("#translate:enabled").wait_for()
    assert page.locator("#error").is_hidden()


def test_on_a_phone_and_by_keyboard_alone(open_site: Callable[..., Any]) -> None:
    page = open_site(viewport={"width": 360, "height": 640}, color_scheme="dark")
    put(page, png(make_picture("A", 3, 64)))
    name, _ = translated(page)
    assert name == "meadow-late_winter.png"
    page.locator("#file").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    name, _ = translated(page)
    assert name == "meadow-summer.png"
    page.locator("#directions input:checked").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "translate"
    page.locator("#slider").focus()
    before = page.locator("#frame").evaluate("frame => frame.style.getPropertyValue('--share')")
    page.keyboard.press("ArrowRight")
    assert before == "50%"
    assert page.locator("#frame").evaluate("frame => frame.style.getPropertyValue('--share')") == "51%"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_cancelled_translation_leaves_a_page_that_works(open_site: Callable[..., Any]) -> None:
    page = open_site()
    put(page, png(Image.fromarray(noise(1500, 1500))))
    page.locator("#cancel").click()
    page.get_by_text("Stopped.").wait_for()
    put(page, png(make_picture("A", 4, 40)))
    _, found = translated(page)
    assert found.shape == (40, 40, 3)


def test_beyond_its_borders_a_picture_is_mirrored_as_numpy_does(open_site: Callable[..., Any]) -> None:
    page = open_site()
    found = page.evaluate(
        "import('./pixels.js').then(({mirrored}) => [1, 2, 5].map((n) =>"
        " Array.from({length: n + 24}, (_, i) => mirrored(i - 12, n))))"
    )
    assert found == [np.pad(np.arange(n), 12, mode="reflect").tolist() for n in (1, 2, 5)]


@pytest.mark.slow
def test_weights_that_stay_on_the_hub(
    browser: Any, site: Path, light_pipeline: CycleGANPipeline, node_modules: Path, tmp_path: Path
) -> None:
    with HubServer() as hub:
        environment = hub.environment(tmp_path / "home", role=None)
        plain = files_of(site.parent / "model")
        hub.add("model", "tester/plain", {path: data for path, data in plain.items() if "onnx" not in path})
        ended = build(tmp_path / "page", "tester/plain", node_modules, "--weights-from-hub", env=environment)
        assert ended.returncode == 2 and "tester/plain has no generator_a2b/model.onnx" in ended.stderr
        assert not (tmp_path / "page").exists()

        repo = hub.add("model", "tester/light", plain | files_of(site / "model"))
        ended = build(tmp_path / "page", "tester/light", node_modules, "--weights-from-hub", env=environment)
        assert ended.returncode == 0, ended.stderr
        commit = repo.at("main").oid
        hub.add("model", "tester/light", {"generator_a2b/model.onnx": b"a later push"})
        assert not (tmp_path / "page/model").exists()
        model = json.loads((tmp_path / "page/model.json").read_text())
        address = f"{hub.endpoint}/tester/light/resolve/{commit}/generator_a2b"
        assert model["directions"]["a2b"]["graph"] == f"{address}/model.onnx"

        index = tmp_path / "page/index.html"  # the page may ask the Hub alone, which here is another one
        index.write_text(
            index.read_text().replace("https://huggingface.co https://*.hf.co", f"{hub.endpoint} {hub.cdn}")
        )
        with served(tmp_path / "page") as url:
            context = browser.new_context()
            context.set_default_timeout(PATIENCE * 1000)
            page = context.new_page()
            page.goto(url)
            page.locator("#directions input").first.wait_for()
            picture = make_picture("A", 0, (75, 50))
            put(page, png(picture))
            _, found = translated(page)
            context.close()
        assert np.abs(found - expected(light_pipeline, picture, "a2b")).max() <= TOLERANCE
        assert hub.seen("GET", f"{commit}/generator_a2b/model.onnx")


def test_models_that_the_page_cannot_run_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    unet = UnetGenerator(block_out_channels=(4, 4, 4, 4, 4))
    sizes = {"num_channels": 3, "size": [32, 32]}
    pipeline = CycleGANPipeline(generator_a2b=unet, image_processor_a=sizes, image_processor_b=sizes)
    pipeline.save_pretrained(tmp_path / "unet")
    growing = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1, in_padding=5)
    CycleGANPipeline(generator_a2b=growing).save_pretrained(tmp_path / "growing")
    for name, words in (("unet", "runs at its training size only"), ("growing", "changes the pictures' size")):
        ended = build(tmp_path / "page", tmp_path / name, tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: ") and words in ended.stderr and ended.stderr.count("\n") == 1
        assert not (tmp_path / "page").exists()
