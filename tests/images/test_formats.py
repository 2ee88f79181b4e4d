"""Which files are opened at all, and by which of Pillow's plug-ins."""

import ast
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_hf.cli import main
from cyclegan_hf.images import formats as image_formats
from cyclegan_hf.images.files import images_in, plan_pictures, visible_files
from cyclegan_hf.images.formats import left_out_text, pixel_limit, readable_extensions
from cyclegan_hf.images.io import open_image
from cyclegan_hf.regular_files import require_regular_file
from tests.testing_utils import make_picture


ROOT = Path(__file__).resolve().parents[2]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
HEIC = b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heicmiaf"


@pytest.mark.parametrize("part", ["cyclegan_hf", "training", "space"])
def test_no_file_is_opened_without_a_list_of_formats(part: str) -> None:
    calls = 0
    for path in sorted((ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
            if is_call and isinstance(node.func.value, ast.Name) and node.func.value.id in ("Image", "PILImage"):
                calls += 1
                assert "formats" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
    assert calls or part == "training"


def test_an_eps_named_jpg_starts_no_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: started.append(args))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: started.append(args))
    path = tmp_path / "photo.jpg"
    path.write_bytes(EPS)
    for source in (path, EPS, io.BytesIO(EPS)):
        with pytest.raises(ValueError, match="PostScript"):
            open_image(source)
    assert not started
    assert "EPS" not in image_formats.FORMATS


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.jp2", "JPEG2000"), ("a.tga", "TGA"), ("a.avif", "AVIF")),
        *(("a.pbm", "PPM"), ("a.qoi", "QOI"), ("a.dib", "DIB"), ("a.PCX", "PCX"), ("a.sgi", "SGI"), ("a.ico", "ICO")),
    ],
)
def test_every_still_image_of_a_folder_is_taken(tmp_path: Path, name: str, form: str) -> None:
    if form not in Image.SAVE and form not in (Image.init() and Image.SAVE):
        pytest.skip(f"this Pillow writes no {form}")
    make_picture("A", 0, 32).convert("1" if name.endswith("pbm") else "RGB").save(tmp_path / name, format=form)
    (path,) = images_in(tmp_path)
    assert open_image(path).size == (32, 32)
    files, _ = plan_pictures([str(tmp_path)], str(tmp_path / "out"))
    assert [file.source for file in files] == [path]


def test_what_is_left_out_is_counted_by_extension(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_formats, "has_heif", lambda: False)
    for name in ("a.txt", "b.txt", "c.heic", "clip.mp4", "noext"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"5 files left out: 2 \.txt, 1 \.heic"):
        images_in(tmp_path)
    make_picture("A", 0, 8).save(tmp_path / "a.png")
    caplog.clear()
    assert [path.name for path in images_in(tmp_path)] == ["a.png"]
    assert "5 files left out: 2 .txt" in caplog.text and "1 without extension" in caplog.text
    caplog.clear()
    plan_pictures([str(tmp_path)], str(tmp_path / "out"))
    assert "2 .txt" in caplog.text
    caplog.clear()
    plan_pictures([str(tmp_path / "*")], str(tmp_path / "out"))
    assert "2 .txt" in caplog.text
    assert left_out_text([]) == ""


def test_heic_names_its_extra_and_videos_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_formats, "has_heif", lambda: False)
    assert ".heic" not in readable_extensions()
    assert "cyclegan_hf[heif]" in left_out_text([Path("a.HEIC")])
    assert "cyclegan-hf translate" in left_out_text([Path("a.mov")])
    with pytest.raises(ValueError, match=r"HEIC.*cyclegan_hf\[heif\]"):
        open_image(HEIC)
    with pytest.raises(ValueError, match=r"a video.*cyclegan-hf translate"):
        open_image(b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41")
    with pytest.raises(ValueError, match="a video"):
        open_image(b"\x1aE\xdf\xa3\x01\x00\x00\x00")


def test_heic_is_read_where_its_package_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(make_picture("A", 0, 64)).save(tmp_path / "a.heic")
    (path,) = images_in(tmp_path)
    assert open_image(path).size == (64, 64)


def test_thumbnails_and_what_systems_add_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "@eaDir/a.png", "__MACOSX/a.png", "sub/@eaDir/b.jpg", "sub/b.jpg", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in visible_files(tmp_path)] == ["a.png", "sub/b.jpg"]


def test_fifos_sockets_and_devices_never_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe.png")
    make_picture("A", 0, 8).save("a.png")
    Path("linked.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        assert [path.name for path in visible_files(Path())] == ["a.png"]
    for name in ("pipe.png", "linked.png", "s.png"):
        assert name in caplog.text
    assert require_regular_file("a.png") == Path("a.png")
    for name, kind in (("pipe.png", "FIFO"), ("linked.png", "device"), (".", "directory"), ("gone.png", "no such")):
        with pytest.raises(ValueError, match=kind):
            require_regular_file(name)
    with pytest.raises(ValueError, match="FIFO"):
        plan_pictures(["pipe.png"], "out")
    with pytest.raises(ValueError, match="FIFO"):
        open_image("pipe.png")
    files, _ = plan_pictures(["*.png"], "out")
    assert [file.source.name for file in files] == ["a.png"]


def test_pixels_beyond_the_limit_are_refused_in_one_line_and_the_limit_ends_with_its_block(
    recwarn: pytest.WarningsRecorder,
) -> None:
    encoded = io.BytesIO()
    Image.new("L", (40, 30)).save(encoded, "PNG")
    before = Image.MAX_IMAGE_PIXELS
    with pixel_limit(1199), pytest.raises(ValueError, match=r"1,199 pixels, got 1,200.*--max-pixels"):
        open_image(encoded)
    with pixel_limit(1200):
        assert open_image(encoded).size == (40, 30)
    assert before == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


def test_other_plug_ins_are_imported_only_where_they_are_needed() -> None:
    code = (
        "import io, sys; from PIL import Image; from cyclegan_hf.images.io import open_image; f = io.BytesIO();"
        "Image.new('L', (4, 4)).save(f, 'PNG'); open_image(f); print('PIL.EpsImagePlugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_file_object_that_cannot_be_rewound_is_read() -> None:
    encoded = io.BytesIO()
    Image.new("L", (40, 30)).save(encoded, "WEBP")

    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return self._rest.read(size)

        def __init__(self) -> None:
            self._rest = io.BytesIO(encoded.getvalue())

    assert open_image(Pipe()).size == (40, 30)


def test_a_folder_of_no_images_ends_with_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\x00")
    assert main(["translate", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert re.search(r"1 file left out: 1 \.mp4", capsys.readouterr().err)
