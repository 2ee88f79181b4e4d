import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_hf.images.files import PictureFile, plan_pictures, save_picture, visible_files
from tests.testing_utils import make_picture


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty files under the current folder: only their names matter here."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.JPG", "in/a.png", "in/day 1/c.tif", "in/.hidden/d.png", "in/._a.png", "in/notes.txt", "photo"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def outputs(*args: object, **kwargs: object) -> list[str]:
    files, _ = plan_pictures(*args, **kwargs)
    return [file.output.as_posix() for file in files]


def test_a_folder_keeps_its_sub_folders_and_leaves_out_what_is_hidden_or_no_picture() -> None:
    files, skipped = plan_pictures(["in/"], "out")
    assert files == [
        PictureFile(source=Path("in/a.png"), output=Path("out/a.png")),
        PictureFile(source=Path("in/b.JPG"), output=Path("out/b.JPG")),
        PictureFile(source=Path("in/day 1/c.tif"), output=Path("out/day 1/c.png")),
    ]
    assert skipped == 0


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["in/*"], ["out/a.png", "out/b.JPG", "out/day 1/c.png"]),
        (["in/*.[pj][np]g"], ["out/a.png"]),
        (["i?/**/*.tif"], ["out/in/day 1/c.png"]),
        (["in/**/*.tif"], ["out/day 1/c.png"]),
        (["photo"], ["out/photo.png"]),
        (["in/day 1/c.tif", "in/"], ["out/c.png", "out/a.png", "out/b.JPG"]),  # each picture once, as first named
    ],
)
def test_files_and_patterns(inputs: list[str], expected: list[str]) -> None:
    assert outputs(inputs, "out") == expected


def test_a_file_may_have_a_name_that_looks_like_a_pattern() -> None:
    Path("in/[x].png").touch()
    assert outputs(["in/[x].png"], "out") == ["out/[x].png"]


def test_the_output_folder_is_not_read_again() -> None:
    Path("in/out").mkdir()
    Path("in/out/a.png").touch()
    assert outputs(["in"], "in/out", existing="overwrite") == ["in/out/a.png", "in/out/b.JPG", "in/out/day 1/c.png"]


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [("keep", "out/b.JPG"), ("png", "out/b.png"), ("jpg", "out/b.jpg"), ("webp", "out/b.webp")],
)
def test_format(output_format: str, expected: str) -> None:
    assert outputs(["in/b.JPG"], "out", output_format=output_format) == [expected]


def test_one_picture_may_name_its_output_file() -> None:
    assert outputs(["in/a.png"], "new/winter.JPEG") == ["new/winter.JPEG"]
    assert outputs(["in/day 1"], "winter.webp", output_format="webp") == ["winter.webp"]


def test_a_folder_may_be_called_like_a_picture() -> None:
    Path("odd.png").mkdir()
    assert outputs(["in/a.png"], "odd.png") == ["odd.png/a.png"]
    assert outputs(["in/a.png"], "other.png/") == ["other.png/a.png"]


def test_cycles_are_named_beside_their_translation() -> None:
    (file,), _ = plan_pictures(["in/a.png"], "out", cycle=True)
    assert file.cycle_output == Path("out/a_cycle.png")


@pytest.mark.parametrize(
    ("inputs", "output", "options", "message"),
    [
        ([], "out", {}, "got none"),
        (["in/x.png"], "out", {}, "in/x.png: expected a picture, a folder or a pattern, but there is no such file"),
        (["in/*.webp"], "out", {}, "found none"),
        (["in/.hidden/.."], "photo", {}, "photo: expected a folder, or a new picture's name"),
        (["in"], "out.png", {}, "expected a folder for 3 pictures"),
        (["in/a.png"], "out.bmp", {}, "to write, got .bmp"),
        (["in/a.png"], "out.png", {"output_format": "jpg"}, "contradict"),
        (["in/a.png"], "in", {"existing": "overwrite"}, "would replace an input"),
        (["in/b.JPG", "in/a.png"], "in/a.png", {"existing": "overwrite"}, "got the name of one file"),
        (["in/b.JPG"], "in/b.JPG", {"existing": "skip"}, "would replace an input"),
    ],
)
def test_refusals(inputs: list[str], output: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_pictures(inputs, output, **options)


def test_a_link_to_an_input_is_not_replaced_either() -> None:
    Path("out").mkdir()
    Path("out/a.png").symlink_to("../in/a.png")
    with pytest.raises(ValueError, match="would replace an input"):
        plan_pictures(["in/a.png"], "out", existing="overwrite")


def test_linked_folders_are_looked_into_once_and_never_in_a_circle() -> None:
    Path("links").mkdir()
    Path("links/animals").symlink_to("../in", target_is_directory=True)
    Path("links/same").symlink_to("../in", target_is_directory=True)
    Path("in/day 1/back").symlink_to("../../links", target_is_directory=True)
    assert list(visible_files(Path("links"))) == [
        Path("links/animals", name) for name in ("a.png", "b.JPG", "notes.txt", "day 1/c.tif")
    ]
    assert Path("in/day 1/back/animals") not in {path.parent for path in visible_files(Path("in"))}
    Path("in/results").symlink_to("../out", target_is_directory=True)
    Path("out").mkdir()
    Path("out/old.png").touch()
    assert Path("in/results/old.png") not in set(visible_files(Path("in"), leave_out=Path("out")))


def test_two_pictures_never_share_an_output() -> None:
    Path("in/a.tif").touch()
    with pytest.raises(ValueError, match=r"in/a\.png and in/a\.tif would both become out/a\.png"):
        plan_pictures(["in"], "out")
    with pytest.raises(ValueError, match=r"in/a\.png and other/a\.png would both become out/a\.png"):
        Path("other").mkdir()
        Path("other/a.png").touch()
        plan_pictures(["in/a.png", "other"], "out")
    Path("in/b_cycle.JPG").touch()
    with pytest.raises(ValueError, match=r"in/b\.JPG and in/b_cycle\.JPG would both become out/b_cycle\.JPG"):
        plan_pictures(["in/b.JPG", "in/b_cycle.JPG"], "out", cycle=True)


def test_existing_outputs() -> None:
    Path("out").mkdir()
    Path("out/a.png").touch()
    with pytest.raises(ValueError, match=r"1 of 3 outputs exist already, the first is out/a\.png"):
        plan_pictures(["in"], "out")
    files, skipped = plan_pictures(["in"], "out", existing="skip")
    assert ([file.source.name for file in files], skipped) == (["b.JPG", "c.tif"], 1)
    files, skipped = plan_pictures(["in"], "out", existing="overwrite")
    assert (len(files), skipped) == (3, 0)
    files, skipped = plan_pictures(["in"], "out", existing="skip", cycle=True)  # its cycle is missing
    assert (len(files), skipped) == (3, 0)


@pytest.mark.parametrize(
    ("name", "form"), [("x.png", "PNG"), ("x.JPG", "JPEG"), ("x.jpeg", "JPEG"), ("x.webp", "WEBP")]
)
def test_saving(name: str, form: str) -> None:
    path = Path("new/folder") / name
    save_picture(make_picture("A", 0), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == (form, (48, 48))
    assert os.listdir(path.parent) == [name]


def test_png_is_exact_and_jpeg_is_close() -> None:
    picture = make_picture("A", 0, size=64)
    save_picture(picture, Path("x.png"))
    save_picture(picture, Path("x.jpg"))
    with Image.open("x.png") as exact, Image.open("x.jpg") as close:
        assert exact.tobytes() == picture.tobytes()
        differences = [abs(a - b) for a, b in zip(close.tobytes(), picture.tobytes(), strict=True)]
        assert 0 < sum(differences) / len(differences) < 2


def test_a_picture_too_large_for_its_format_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"a picture of 16384x1 cannot be saved as WEBP"):
        save_picture(Image.new("RGB", (16384, 1)), Path("x.webp"))
    assert not Path("x.webp").exists()


def test_a_full_disk_leaves_the_old_file() -> None:
    save_picture(make_picture("A", 0), Path("out/x.png"))
    before = Path("out/x.png").read_bytes()
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX")
    signal = pytest.importorskip("signal")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=f"could not save out/x.png: {os.strerror(errno.EFBIG)}"):
            save_picture(make_picture("B", 0), Path("out/x.png"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert Path("out/x.png").read_bytes() == before
    assert os.listdir("out") == ["x.png"]


def test_a_name_is_too_long_only_where_the_results_own_is(tmp_path: Path) -> None:
    picture = make_picture("A", 0, 8)
    longest = tmp_path / f"{'x' * 251}.png"  # 255 bytes: the most that file systems take
    save_picture(picture, longest)
    assert [path.name for path in tmp_path.glob("x*")] == [longest.name]
    with pytest.raises(ValueError, match="too long"):  # the picture's fault: other pictures go on
        save_picture(picture, longest.with_stem("y" * 252))
    files, _ = plan_pictures([str(longest)], "out", cycle=True)
    assert len(files) == 1
