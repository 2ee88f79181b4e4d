"""The page's endpoint, as programs call it, and the process behind it."""

import asyncio
import base64
import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.images.io import open_image
from tests.chromium import PATIENCE
from tests.space.conftest import ROOT, serve, tiny_pipeline
from tests.space.test_page import assert_same_picture
from tests.testing_utils import make_picture


gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")


@pytest.fixture
def client(address: str, tmp_path: Path) -> Any:
    return gradio_client.Client(address, verbose=False, download_files=tmp_path / "downloads")


def call(client: Any, photo: Path | dict[str, Any] | None, **settings: Any) -> Image.Image:
    upload = gradio_client.handle_file(photo) if isinstance(photo, Path) else photo
    path = client.predict(photo=upload, **settings, api_name="/translate")
    with Image.open(path) as picture:
        assert (Path(path).suffix, picture.format, picture.info) == (".png", "PNG", {})
        return picture.copy()


def test_the_endpoint_tells_its_types(client: Any) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    clips = ["/translate_video"] if find_spec("av") else []  # PyAV, of the extra `video`
    assert list(endpoints) == ["/translate", "/translate_batch", *clips, "/models"]
    assert all(endpoint["description"] for endpoint in endpoints.values())
    parameters = {p["parameter_name"]: p for p in endpoints["/translate"]["parameters"]}
    assert list(parameters) == ["photo", "direction", "long_side", "model"]
    assert parameters["photo"]["python_type"]["type"] == "filepath"
    assert parameters["direction"]["type"]["enum"] == ["a2b", "b2a"]
    assert parameters["model"]["type"]["enum"] == ["model"]
    assert parameters["long_side"]["type"]["enum"] == ["512", "1024", "original"]
    assert endpoints["/translate"]["description"].startswith("Translate a photo")


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_the_result_is_the_librarys(client: Any, pipeline: CycleGANPipeline, tmp_path: Path, direction: str) -> None:
    make_picture("A", 3, (70, 101)).save(tmp_path / "in.png")
    expected = pipeline(tmp_path / "in.png", direction=direction).images[0]
    assert_same_picture(call(client, tmp_path / "in.png", direction=direction), expected)


def test_long_photos_are_shrunk_and_short_ones_are_not(
    client: Any, pipeline: CycleGANPipeline, tmp_path: Path
) -> None:
    photo = make_picture("A", 4, (1100, 40))
    photo.save(tmp_path / "in.png")
    assert call(client, tmp_path / "in.png", long_side="original").size == (1100, 40)
    assert call(client, tmp_path / "in.png").size == (1024, 37)
    photo.thumbnail((512, 512))
    photo = photo.resize((512, 32))
    photo.save(tmp_path / "small.png")
    expected = pipeline(photo).images[0]
    assert_same_picture(call(client, tmp_path / "small.png", long_side="512"), expected)


@pytest.mark.parametrize("name", ["animation.gif", "turned.jpg", "clear.png", "sixteen.png", "new.avif"])
def test_all_kinds_of_pictures_are_opened_as_the_library_does(
    client: Any, pipeline: CycleGANPipeline, tmp_path: Path, name: str
) -> None:
    path, picture, turned = tmp_path / name, make_picture("A", 5, (80, 48)), Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    match name:
        case "animation.gif":
            picture.save(path, save_all=True, append_images=[make_picture("B", 5, (80, 48))])
        case "turned.jpg":
            picture.save(path, exif=turned)
        case "clear.png":
            picture.putalpha(128)
            picture.save(path)
        case "sixteen.png":
            Image.frombytes("I;16", (80, 48), bytes(range(256)) * 30).save(path)
        case "new.avif":
            picture.save(path)
    result = call(client, path)
    assert result.size == ((48, 80) if name == "turned.jpg" else (80, 48))
    assert_same_picture(result, pipeline(open_image(path)).images[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "cannot be opened as a picture"),
        ("page.png", "cannot be opened as a picture"),
        ("drawing.svg", "has no pixels"),
        ("program.eps", "cannot be opened as a picture"),
        ("half.png", "is damaged"),
        ("dot.png", "is too small: 1 × 1 pixels"),
        ("bomb.png", "is too large to open here"),
        ("wide.png", "choose a smaller size"),
    ],
)
def test_a_bad_file_is_refused_without_naming_files(client: Any, tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    match name:
        case "empty.png":
            path.write_bytes(b"")
        case "page.png":
            path.write_text("<html><script>alert(1)</script></html>")
        case "drawing.svg":
            path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>')
        case "program.eps":
            make_picture("A", 6, 64).save(path)
        case "half.png":
            Image.effect_noise((64, 64), 50).save(path)
            path.write_bytes(path.read_bytes()[:2000])
        case "dot.png":
            make_picture("A", 6, 1).save(path)
        case "bomb.png":
            Image.new("1", (9000, 9000)).save(path)
        case "wide.png":
            Image.new("L", (5000, 4000)).save(path)
    with pytest.raises(gradio_client.exceptions.AppError, match=message) as refusal:
        call(client, path, long_side="original")
    assert not any(leak in str(refusal.value) for leak in ("/", "\\", "Error(", "Traceback", name))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"direction": "winter"}, "direction must be one of a2b, b2a"),
        ({"long_side": "100000"}, "longest side must be one of 512, 1024, original"),
        ({"model": "../../etc"}, "model must be one of model"),
    ],
)
def test_settings_beyond_the_choices_are_refused(
    client: Any, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    make_picture("A", 7, 64).save(tmp_path / "in.png")
    with pytest.raises(gradio_client.exceptions.AppError, match=message):
        call(client, tmp_path / "in.png", **settings)


def test_a_direction_by_its_domains_and_a_side_in_pixels(
    client: Any, pipeline: CycleGANPipeline, tmp_path: Path
) -> None:
    photo = make_picture("B", 7, (200, 100))
    photo.save(tmp_path / "in.png")
    photo.thumbnail((128, 128))
    expected = pipeline(photo, direction="b2a").images[0]
    assert_same_picture(call(client, tmp_path / "in.png", direction="winter2summer", long_side=128), expected)


def test_a_malformed_call_leaves_no_traceback_and_no_file_name_in_the_log(
    tmp_path_factory: pytest.TempPathFactory, address: str, client: Any, tmp_path: Path
) -> None:
    httpx = pytest.importorskip("httpx", reason="gradio is not installed")
    (tmp_path / "my_secret_holiday.png").write_bytes(b"no picture at all")
    with pytest.raises(gradio_client.exceptions.AppError, match="cannot be opened as a picture"):
        call(client, tmp_path / "my_secret_holiday.png")
    Image.effect_noise((64, 64), 50).save(tmp_path / "my_secret_wedding.png")
    (tmp_path / "my_secret_wedding.png").write_bytes((tmp_path / "my_secret_wedding.png").read_bytes()[:2000])
    with pytest.raises(gradio_client.exceptions.AppError, match="is damaged"):
        call(client, tmp_path / "my_secret_wedding.png")
    for data in ([], [1, 2, 3, 4], [{"path": 7}], [None] * 9, {"photo": 1}):
        answer = httpx.post(f"{address}/gradio_api/call/translate", json={"data": data})
        if answer.status_code == 200:
            httpx.get(f"{address}/gradio_api/call/translate/{answer.json()['event_id']}", timeout=PATIENCE)
    log = (page_folder(tmp_path_factory) / "page.log").read_text()
    assert "Traceback" not in log and "my_secret" not in log


def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fixture `address`."""
    return next(path for path in tmp_path_factory.getbasetemp().glob("page*") if (path / "page.log").is_file())


@pytest.mark.parametrize("meta", [{}, {"meta": {}}, {"meta": {"_type": "other"}}])
def test_the_servers_own_pictures_cannot_be_asked_for(client: Any, tmp_path: Path, meta: dict[str, Any]) -> None:
    make_picture("A", 8, 64).save(tmp_path / "private.png")
    with pytest.raises(gradio_client.exceptions.AppError, match="Choose a photo first"):
        call(client, {"path": str(tmp_path / "private.png"), **meta})


def test_a_model_of_one_direction_and_what_is_left_when_the_page_ends(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(("b2a",)).optimize()
    pipeline.save_pretrained(tmp_path / "model")
    make_picture("B", 9, 64).save(tmp_path / "in.png")
    with serve(tmp_path / "model", tmp_path) as address:
        client = gradio_client.Client(address, verbose=False, download_files=tmp_path / "downloads")
        assert_same_picture(
            call(client, tmp_path / "in.png"), pipeline(tmp_path / "in.png", direction="b2a").images[0]
        )
        with pytest.raises(gradio_client.exceptions.AppError, match="direction must be one of b2a"):
            call(client, tmp_path / "in.png", direction="a2b")
        assert len(list(tmp_path.glob("cyclegan-hf-page-*"))) == 1
    assert list(tmp_path.glob("cyclegan-hf-page-*")) == []


@pytest.mark.slow
def test_nothing_is_kept_after_its_time(tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for number, photo in enumerate(photos):
        make_picture("A", number, 64).save(photo)
    with serve(tmp_path / "model", tmp_path, {"SWEEP_SECONDS": 1, "KEEP_SECONDS": 20}) as address:
        deadline = time.monotonic() + PATIENCE
        while "model: torch on cpu" not in (tmp_path / "page.log").read_text():  # loading takes longer than is kept
            assert time.monotonic() < deadline
            time.sleep(0.2)
        client = gradio_client.Client(address, verbose=False, download_files=tmp_path / "downloads")
        files = [gradio_client.handle_file(photo) for photo in photos]
        archive, report = client.predict(
            files=files, direction="a2b", long_side="512", model="model", api_name="/translate_batch"
        )
        assert report == "3 of 3 translated." and Path(archive).is_file()
        (page,) = tmp_path.glob("cyclegan-hf-page-*")
        shipped = {path.name for path in (ROOT / "space/examples").glob("*/*.jpg")}  # and their thumbnails
        deadline = time.monotonic() + PATIENCE

        def kept() -> list[Path]:
            return [path for path in page.glob("uploads/**/*") if path.is_file() and path.name not in shipped]

        assert sorted(path.suffix for path in kept()) == [".png"] * 3 + [".zip"]  # no previews that nobody sees
        while kept() and time.monotonic() < deadline:
            time.sleep(0.5)
        assert kept() == []
        assert {path.name for path in page.glob("uploads/**/*.jpg")} == shipped


@pytest.mark.skipif(os.name == "nt", reason="a lock of this kind is POSIX's")
def test_the_next_page_removes_what_a_killed_one_left_and_no_other(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "CYCLEGAN_MODEL": str(tmp_path / "nothing")}
    code = (
        "import sys; sys.path.insert(0, 'space'); import settings; (settings.UPLOADS / 'photo.png').touch(); "
        "print(settings.UPLOADS, flush=True); sys.stdin.read()"
    )
    pages = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    killed, alive = (Path(page.stdout.readline().decode().strip()) / "photo.png" for page in pages)
    pages[0].kill()
    pages[0].communicate()
    elsewhere = tmp_path / "elsewhere/uploads"
    elsewhere.mkdir(parents=True)
    (elsewhere.parent / "alive").touch()
    (tmp_path / "cyclegan-hf-page-link").symlink_to(elsewhere.parent)
    (tmp_path / "cyclegan-hf-page-new").mkdir()  # one that is just being made
    assert killed.is_file() and alive.is_file()
    subprocess.run([sys.executable, "space/app.py"], cwd=ROOT, env=environment, capture_output=True, timeout=PATIENCE)
    assert sorted(path.name for path in tmp_path.glob("cyclegan-hf-page-*")) == sorted(
        [alive.parents[1].name, "cyclegan-hf-page-link", "cyclegan-hf-page-new"]
    )
    assert alive.is_file() and elsewhere.is_dir()
    pages[1].communicate()
    assert not alive.parents[1].exists()


def test_without_weights_the_page_ends_with_one_line(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    # A temporary folder of its own: what another test's killed page left would be removed, and said, here.
    environment = {**os.environ, "TMPDIR": str(tmp_path), "CYCLEGAN_MODEL": str(tmp_path / "nothing")}
    result = subprocess.run(
        [sys.executable, "space/app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 1
    assert result.stderr.startswith("app.py: ") and result.stderr.count("\n") == 1
    assert "expected a pipeline's folder or a Hub id" in result.stderr


def test_agents_find_the_endpoints_as_tools(address: str, tmp_path: Path, pipeline: CycleGANPipeline) -> None:
    pytest.importorskip("mcp", reason="gradio[mcp] is not installed")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    photo = make_picture("A", 10, 64)
    photo.save(tmp_path / "in.png")
    data = base64.b64encode((tmp_path / "in.png").read_bytes()).decode()

    async def talk() -> tuple[dict[str, Any], Any, Any]:
        async with (
            streamablehttp_client(f"{address}/gradio_api/mcp/") as (reader, writer, _),
            ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            good = await session.call_tool("translate", {"photo": f"data:image/png;base64,{data}"})
            return tools, good, await session.call_tool("translate", {"photo": str(tmp_path / "in.png")})

    with ThreadPoolExecutor(1) as thread:  # a browser's driver may have an event loop in this one
        tools, good, bad = thread.submit(lambda: asyncio.run(talk())).result()
    assert set(tools) == {"translate", "translate_batch", "translate_video", "models"}
    assert all("description" in field for field in tools["translate"].inputSchema["properties"].values())
    with Image.open(io.BytesIO(base64.b64decode(good.content[0].data))) as picture:
        assert_same_picture(picture.convert("RGB"), pipeline(photo).images[0])
    assert bad.isError  # a path of the server


@pytest.mark.parametrize("name", ["drawing.svg", "page.html"])
def test_what_could_run_in_a_browser_is_only_given_back_as_a_download(address: str, name: str) -> None:
    httpx = pytest.importorskip("httpx", reason="gradio is not installed")
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, content)}).json()
    answer = httpx.get(f"{address}/gradio_api/file={path}")
    assert answer.headers["content-disposition"].startswith("attachment")


def test_files_elsewhere_are_not_served(address: str, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx", reason="gradio is not installed")
    (tmp_path / "private.txt").write_text("private")
    for path in (tmp_path / "private.txt", ROOT / "pyproject.toml", "/etc/hostname"):
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code in (403, 404)
