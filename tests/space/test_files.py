"""What the Space's repository holds besides the page: front matter, requirements, example pictures."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.space.conftest import ROOT


SPACE = ROOT / "space"
EXAMPLES = sorted((SPACE / "examples").glob("*/*.jpg"))
# The Hub's documentation, "Spaces Configuration Reference".
KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware",
    "suggested_storage", "app_file", "app_port", "base_path", "fullWidth", "header", "short_description", "models",
    "datasets", "tags", "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes",
    "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers", "preload_from_hub",
    "license",
}  # fmt: skip
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def pins(path: Path) -> dict[str, str]:
    """Name to version of a requirements file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines if line)}


@pytest.mark.parametrize("folder", [SPACE, SPACE / "browser"], ids=["gradio", "static"])
def test_the_front_matter_is_what_the_hub_documents(folder: Path) -> None:
    _, block, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(block)
    assert set(settings) <= KEYS
    assert {settings["colorFrom"], settings["colorTo"]} <= COLOURS
    assert settings["title"] and settings["license"] == "apache-2.0"
    assert len(settings["short_description"]) <= 60
    assert (folder / settings["app_file"]).is_file()
    if folder == SPACE:
        assert (settings["sdk"], settings["sdk_version"]) == ("gradio", pins(ROOT / "constraints.txt")["gradio"])
        assert re.fullmatch(r"3\.\d+(\.\d+)?", settings["python_version"])
        assert 'api_name="/translate"' in (ROOT / "docs/page.md").read_text(encoding="utf-8")
    else:
        assert settings["sdk"] == "static"
        assert not {"sdk_version", "python_version"} & set(settings)  # of Spaces with a server


def test_the_requirements_are_the_librarys_at_tested_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in project["dependencies"]}
    required, tested = pins(SPACE / "requirements.txt"), pins(ROOT / "constraints.txt")
    assert set(required) == needed | {"av", "onnxruntime"}  # videos; and what is faster on a processor
    assert {name: version for name, version in required.items() if version != tested[name]}.keys() <= {"torch"}


def test_there_are_examples_for_both_seasons() -> None:
    assert {path.parent.name for path in EXAMPLES} == {"summer", "winter"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_small_and_plain(path: Path) -> None:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (512, 384))
        assert not picture.getexif() and "icc_profile" not in picture.info
    assert path.stat().st_size <= 60_000


def test_summer_is_greener_than_winter() -> None:
    def green(path: Path) -> float:
        red, green, blue = np.asarray(Image.open(path), np.float32)[192:].mean((0, 1))
        return float(2 * green - red - blue)

    greens = {
        season: [green(path) for path in EXAMPLES if path.parent.name == season] for season in ("summer", "winter")
    }
    assert min(greens["summer"]) > max(greens["winter"]) + 10


def test_without_gradio_the_page_says_what_to_install() -> None:
    code = (
        "import runpy, sys; sys.modules['gradio'] = None; sys.path[0] = 'space'; "
        "runpy.run_path('space/app.py', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch(
        r"app.py: .*gradio.*; the page needs the extra `space`: pip install -e '.*\[space\]'\n", result.stderr
    )


@pytest.mark.slow
def test_the_script_makes_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SPACE / "examples")
    spec = importlib.util.spec_from_file_location("make_examples", SPACE / "examples/make_examples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {f"{place.season}/{place.name}.jpg" for place in module.PLACES} == {
        path.relative_to(SPACE / "examples").as_posix() for path in EXAMPLES
    }
    place = module.PLACES[-1]
    made = np.asarray(module.make_picture(place), np.float32)
    shipped = np.asarray(Image.open(SPACE / f"examples/{place.season}/{place.name}.jpg"), np.float32)
    assert np.abs(made - shipped).mean() < 4  # the JPEG's own loss
    for name in ("terrain", "trees"):
        sys.modules.pop(name, None)


def test_the_screenshots_are_small_and_shown() -> None:
    shots = sorted((SPACE / "screenshots").iterdir())
    assert {path.suffix for path in shots} == {".jpg"}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in shots:
        assert path.stat().st_size <= 150_000
        assert f'src="space/screenshots/{path.name}"' in text
        with Image.open(path) as picture:
            assert not picture.getexif()


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs/page.md").read_text(encoding="utf-8")
    used = {name for path in SPACE.glob("*.py") for name in re.findall(r"CYCLEGAN_[A-Z_]+", path.read_text("utf-8"))}
    assert len(used) >= 5
    assert [name for name in sorted(used) if f"`{name}" not in text] == []


def test_the_examples_translations_are_by_the_bundled_weights() -> None:
    hint = "run `python space/examples/make_results.py`: the pictures or the bundled weights have changed"
    made = json.loads((SPACE / "examples/results.json").read_text(encoding="utf-8"))

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    weights = (ROOT / "cyclegan_hf/pretrained").glob("generator_*/*.safetensors")
    assert made["weights"] == {path.parent.name: digest(path) for path in weights}, hint
    pictures = {f"{path.parent.name}/{path.stem}": digest(path) for path in EXAMPLES}
    assert made["pictures"] == pictures and made["opening"] in pictures, hint
    results = {path.relative_to(SPACE / "examples/results") for path in (SPACE / "examples/results").rglob("*.jpg")}
    assert {path.with_suffix("").as_posix() for path in results} == set(pictures), hint
