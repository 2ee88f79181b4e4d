"""Models of the Hub on the page: the owner's, official ones, those that visitors name; and without a connection."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.chromium import PATIENCE
from tests.hub.test_pull import files_of
from tests.hub_server import HubServer
from tests.official.official_networks import save, small_resnet
from tests.space.conftest import serve, tiny_pipeline
from tests.space.test_page import assert_same_picture, download, png, upload, wait_until_enabled
from tests.space.test_tabs import open_tab
from tests.testing_utils import make_picture


pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9"  # the port that discards


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubServer, Path]]:
    """A Hub with three models, and their folders."""
    home = tmp_path_factory.mktemp("models")
    tiny_pipeline().save_pretrained(home / "seasons")
    CycleGANPipeline(generator_b2a=tiny_pipeline().generator_b2a, domain_a="horse", domain_b="zebra").save_pretrained(
        home / "zebra2horse"
    )
    (home / "apple2orange").mkdir()
    for key, seed in (("G_A", 1), ("G_B", 2)):
        save(home / f"apple2orange/latest_net_{key}.pth", small_resnet(seed))
    with HubServer() as server:
        for name in ("seasons", "zebra2horse", "apple2orange"):
            server.add("model", f"tester/{name}", files_of(home / name))
        yield server, home


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def open_house(hub: tuple[HubServer, Path], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with two models of the Hub, one of them official, where visitors may name others."""
    environment = hub[0].environment(cache, role=None) | {"CYCLEGAN_ANY_MODEL": "1"}
    folder = tmp_path_factory.mktemp("page")
    with serve(Path("tester/seasons"), folder, **environment | {"CYCLEGAN_MODELS": "tester/apple2orange"}) as url:
        yield url


@pytest.fixture
def page(browser: Any, open_house: str) -> Iterator[Any]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(open_house)
    page.locator("#translate").wait_for()
    yield page
    context.close()


def translated(page: Any, picture: Image.Image, label: str) -> Image.Image:
    open_tab(page, "Photo")
    page.locator("#direction", has_text=label).wait_for()
    upload(page, png(picture))
    wait_until_enabled(page.locator("#translate"))
    page.locator("#translate").click()
    page.locator("#info", has_text=label).wait_for()
    return download(page)[1]


def test_a_visitor_names_a_model_of_the_hub(page: Any, hub: tuple[HubServer, Path]) -> None:
    open_tab(page, "Models")
    page.get_by_label("Another model of the Hub").fill("tester/zebra2horse")
    page.get_by_role("button", name="Use this model").click()
    page.locator("#facts", has_text="tester/zebra2horse").wait_for()
    commit = hub[0].repos["models", "tester/zebra2horse"].at("main").oid
    assert commit[:12] in page.locator("#facts").inner_text()
    picture = make_picture("A", 1, (64, 48))
    expected = CycleGANPipeline.from_pretrained(str(hub[1] / "zebra2horse")).optimize()(picture, direction="b2a")
    assert_same_picture(translated(page, picture, "Zebra → Horse"), expected.images[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tester/apple2orange-2", "There is no CycleGAN named tester/apple2orange-2 on the Hub"),
        ("tester/pickled", "are read from safetensors files only"),
        ("/etc/passwd", "Name a model of the Hub, such as user/name."),
    ],
)
def test_what_a_visitor_may_not_name(page: Any, hub: tuple[HubServer, Path], name: str, words: str) -> None:
    hub[0].add("model", "tester/pickled", files_of(hub[1] / "apple2orange"))
    open_tab(page, "Models")
    page.get_by_label("Another model of the Hub").fill(name)
    page.get_by_role("button", name="Use this model").click()
    page.get_by_test_id("toast-body").filter(has_text=words).wait_for()
    assert "tester/seasons" in page.locator("#facts").inner_text()  # the one before is still the one


def test_of_a_visitors_model_the_weights_are_read_and_never_a_graph_and_nothing_large(
    hub: tuple[HubServer, Path], tmp_path: Path
) -> None:
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")
    server, home = hub
    files = files_of(home / "zebra2horse")
    weights = sum(len(content) for name, content in files.items() if name.startswith("generator_"))
    graphs = {"generator_b2a/model.onnx": b"a program of strangers"}
    server.add("model", "tester/graphs", files | graphs)
    server.add("model", "tester/large", files | {"generator_b2a/other.bin": bytes(1000)})
    server.add("model", "tester/wordy", files | {"README.md": b"words " * 200_000})
    picture = make_picture("A", 5, (64, 48))
    picture.save(tmp_path / "in.png")
    environment = server.environment(tmp_path / "cache", role=None) | {"CYCLEGAN_ANY_MODEL": "1"}
    with serve(home / "seasons", tmp_path, {"MAX_WEIGHTS": weights + 100}, **environment) as url:
        client = gradio_client.Client(url, verbose=False, download_files=tmp_path / "downloads")
        photo = gradio_client.handle_file(tmp_path / "in.png")
        for name in ("large", "wordy"):
            with pytest.raises(gradio_client.exceptions.AppError, match="This model is too large"):
                client.predict(photo=photo, direction="b2a", model=f"tester/{name}", api_name="/translate")
            assert not server.seen("GET", f"tester/{name}/.*(safetensors|README)")
        path = client.predict(photo=photo, direction="b2a", model="tester/graphs", api_name="/translate")
    expected = CycleGANPipeline.from_pretrained(home / "zebra2horse").optimize()(picture, direction="b2a").images[0]
    with Image.open(path) as result:
        assert_same_picture(result.copy(), expected)
    assert server.seen("GET", "tester/graphs/.*safetensors") and not server.seen("GET", "tester/graphs/.*onnx")


def test_an_official_checkpoint_of_the_owner_is_used_and_explained(page: Any, hub: tuple[HubServer, Path]) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name="tester/apple2orange").click()
    open_tab(page, "Models")
    page.locator("#facts", has_text="latest_net_G_A.pth, latest_net_G_B.pth, of the official code").wait_for()
    facts = page.locator("#facts").inner_text()
    assert re.search(r"at most \de-0[5-9] away from what the official networks answer", facts)
    picture = make_picture("A", 2, (64, 48))
    library = CycleGANPipeline.from_pretrained(str(hub[1] / "apple2orange"), official=True).optimize()
    assert_same_picture(translated(page, picture, "Apple → Orange"), library(picture, direction="a2b").images[0])


def test_without_a_connection_what_was_loaded_before_will_do(
    page: Any, hub: tuple[HubServer, Path], cache: Path, tmp_path: Path
) -> None:
    translated(page, make_picture("A", 3, (64, 48)), "Summer → Winter")  # so that the weights are in the cache
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")
    environment = hub[0].environment(cache, role=None) | {"HF_ENDPOINT": NOWHERE, "CYCLEGAN_ANY_MODEL": "1"}
    picture = make_picture("A", 4, (64, 48))
    picture.save(tmp_path / "in.png")
    with serve(
        Path("tester/seasons"), tmp_path, **environment | {"CYCLEGAN_MODELS": "tester/apple2orange,tester/none"}
    ) as url:
        client = gradio_client.Client(url, verbose=False, download_files=tmp_path / "downloads")
        names = [model["name"] for model in client.predict(api_name="/models")]
        assert names == ["tester/seasons", "tester/apple2orange"]
        photo = gradio_client.handle_file(tmp_path / "in.png")
        library = {
            "tester/seasons": CycleGANPipeline.from_pretrained(str(hub[1] / "seasons")),
            "tester/apple2orange": CycleGANPipeline.from_pretrained(str(hub[1] / "apple2orange"), official=True),
        }
        for name, pipeline in library.items():
            with Image.open(client.predict(photo=photo, model=name, api_name="/translate")) as result:
                assert_same_picture(result.copy(), pipeline.optimize()(picture, direction="a2b").images[0])
        with pytest.raises(gradio_client.exceptions.AppError, match="or it cannot be had now"):
            client.predict(photo=photo, model="tester/zebra2horse-3", api_name="/translate")
