"""The page as a Space: files, front matter, the wheel, and what is left alone."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import SpaceCard

from cyclegan_hf import __version__
from cyclegan_hf.hub.wheel import build_wheel
from tests.hub.client import Client
from tests.hub.test_pull import files_of
from tests.hub_server import HubServer


ROOT = Path(__file__).resolve().parents[2]
WHEEL = f"cyclegan_hf-{__version__}-py3-none-any.whl"


@pytest.fixture
def published(server: HubServer, model: Path) -> str:
    server.add("model", "tester/shown", files_of(model))
    return "tester/shown"


def test_secrets_and_variables_of_the_owner_stay_and_old_wheels_go(
    server: HubServer, cli: Any, published: str
) -> None:
    old = {
        "README.md": b"---\ntags: [cyclegan]\n---\n",
        "cyclegan_hf-0.0.1-py3-none-any.whl": b"old",
        "mine.txt": b"x",
    }
    repo = server.add("space", "tester/page", old, sdk="gradio")
    repo.variables |= {"CYCLEGAN_MODEL": "tester/older", "THEME": "dark"}
    repo.secrets["HF_TOKEN"] = "hf_secret"
    code, output, errors = cli("push-space", "tester/page", "--model", published)
    assert (code, output, errors) == (0, f"{server.endpoint}/spaces/tester/page\n", "")
    assert repo.variables == {"CYCLEGAN_MODEL": published, "THEME": "dark"}
    assert repo.secrets == {"HF_TOKEN": "hf_secret"}
    files = server.files("space", "tester/page")
    assert files["mine.txt"] == b"x"
    assert [name for name in files if name.endswith(".whl")] == [WHEEL]
    written = [request for request in server.requests if request.method in ("POST", "PUT", "DELETE")]
    assert not any("secret" in request.path or b"hf_secret" in request.body for request in written)
    card = SpaceCard(files["README.md"].decode())
    facts = (card.data.title, card.data.sdk, card.data.app_file, card.data.models, card.data.license)
    assert facts == ("summer ↔ winter", "gradio", "app.py", [published], "apache-2.0")
    assert len(card.data.short_description) <= 60

    assert cli("push-space", "tester/page", "--model", published)[1].endswith("(nothing new)\n")  # the same wheel


def test_the_bundled_weights_need_no_variable(server: HubServer, cli: Any) -> None:
    assert cli("push-space", "tester/bundled-page")[0] == 0
    assert server.repos["spaces", "tester/bundled-page"].variables == {}
    files = server.files("space", "tester/bundled-page")
    assert files["README.md"] == (ROOT / "space" / "README.md").read_bytes()
    assert "cyclegan_hf/pretrained/model_index.json" in zipfile.ZipFile(io.BytesIO(files[WHEEL])).namelist()


def test_a_private_space_has_the_package_beside_the_page(server: HubServer, cli: Any, published: str) -> None:
    """Nothing may fetch a wheel from it."""
    assert cli("push-space", "tester/hidden", "--model", published, "--private")[0] == 0
    assert server.repos["spaces", "tester/hidden"].private
    files = server.files("space", "tester/hidden")
    assert {"app.py", "cyclegan_hf/__init__.py", "cyclegan_hf/pretrained/model_index.json"} < set(files)
    assert WHEEL not in files and b"cyclegan_hf" not in files["requirements.txt"]
    assert not any(name.endswith(".pyc") or "__pycache__" in name for name in files)


@pytest.mark.parametrize(
    ("space", "shown", "role", "words"),
    [
        ("tester/new-page", "tester/nowhere", "write", "tester/nowhere: there is no such model on the Hub"),
        ("tester/new-page", "runs/s2w/best", "write", "`model` must be a Hub id such as user/name"),
        ("tester/new-page", "tester/no-pipeline", "write", "tester/no-pipeline has no file model_index.json"),
        ("tester/new-page", "tester/shown", "read", "this token may not write to tester/new-page"),
        ("tester/new-page", "tester/shown", None, "log in with `hf auth login`"),
        ("tester/other-page", "tester/shown", "write", "holds something else (app.py)"),
    ],
)
def test_each_refusal_is_one_line(
    server: HubServer, cli: Any, published: str, space: str, shown: str, role: str | None, words: str
) -> None:
    server.add("model", "tester/no-pipeline", {"model.bin": b"theirs"})
    server.add("space", "tester/other-page", {"app.py": b"theirs", "README.md": b"# Theirs"})
    code, output, errors = cli("push-space", space, "--model", shown, role=role)
    assert (code, output) == (2, "") and errors.count("\n") == 1 and words in errors
    assert server.files("space", "tester/other-page")["app.py"] == b"theirs"
    assert ("spaces", "tester/new-page") not in server.repos


def test_the_wheel_is_the_library_with_its_page_and_always_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    wheels = [build_wheel(tmp_path / name) for name in ("one", "two")]
    assert wheels[0].name == WHEEL and wheels[0].read_bytes() == wheels[1].read_bytes()
    archive = zipfile.ZipFile(wheels[0])
    expected = {"cyclegan_hf/cli/__init__.py", "cyclegan_hf/py.typed", "cyclegan_hf/space/app.py"}
    assert expected < set(archive.namelist())
    assert not any("__pycache__" in name or "/checkpoints/" in name for name in archive.namelist())
    assert "cyclegan_hf/space/checkpoints.py" in archive.namelist()
    metadata = archive.read(f"cyclegan_hf-{__version__}.dist-info/METADATA").decode()
    assert "Name: cyclegan_hf\n" in metadata and "Requires-Dist: diffusers" in metadata
    licence = archive.read(f"cyclegan_hf-{__version__}.dist-info/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes() and b"Apache License" in licence
    assert archive.read("cyclegan_hf/space/app.py") == (ROOT / "space" / "app.py").read_bytes()


@pytest.mark.slow
def test_pip_installs_the_spaces_wheel_which_pushes_a_space_again(
    server: HubServer, cli: Any, published: str, client: Client, tmp_path: Path
) -> None:
    """From the requirement's address, by its hash; without the clone. The library then pushes itself, bit for bit."""
    assert cli("push-space", "tester/first", "--model", published)[0] == 0
    line = server.files("space", "tester/first")["requirements.txt"].decode().splitlines()[-1]
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    environment = server.environment(tmp_path / "home")
    subprocess.run([*pip, line], check=True, env=environment, cwd=tmp_path)
    wrong = line[:-1] + ("0" if line[-1] != "0" else "1")
    refused = subprocess.run([*pip, wrong], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode != 0 and "HASHES" in refused.stderr

    command = [sys.executable, "-m", "cyclegan_hf.cli", "push-space", "tester/second", "--model", published]
    environment["PYTHONPATH"] = str(installed)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    second = server.files("space", "tester/second")
    first = server.files("space", "tester/first")
    assert second.keys() == first.keys()
    for name in first.keys() - {"README.md", "requirements.txt", ".gitattributes", WHEEL}:
        assert second[name] == first[name], name
    names = [set(zipfile.ZipFile(io.BytesIO(files[WHEEL])).namelist()) for files in (first, second)]
    assert names[0] == names[1]
    assert not os.path.exists(installed / "training")
