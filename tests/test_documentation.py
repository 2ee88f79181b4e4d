"""The examples of README.md and docs/, run as they stand there on tiny images, networks and a Hub on this machine."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline, __version__
from cyclegan_hf.arguments import bind_verb
from cyclegan_hf.cli import DESCRIPTION, VERBS
from cyclegan_hf.training.command import read_command
from cyclegan_hf.training.trainer import Trainer
from tests.hub_server import HubServer
from tests.images.test_video import write_clip
from tests.official.official_networks import Resnet, save
from tests.testing_utils import make_picture, write_domains
from tests.training.data_files import write_parquet
from tests.training.tiny import tiny_config, write_recipe


ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {
    "hf": [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"],
    "cyclegan-hf": [sys.executable, "-m", "cyclegan_hf.cli"],
    "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    "python": [sys.executable],
}
TINY = ["--max-train-steps", "4", "--checkpointing-steps", "2"]


class Block(NamedTuple):
    """A code block, its page, and whether it is to be run."""

    page: str
    language: str
    code: str
    tested: bool


def blocks() -> Iterator[Block]:
    """The code blocks of all pages. `<!-- not tested: why -->` above one says that it can't run here."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for comment, language, code in re.findall(
            r"(<!-- [^\n]*tested[^\n]*-->\n)?```(bash|python)\n(.*?)```", text, re.DOTALL
        ):
            yield Block(page.name, language, code, not comment)


def commands(block: Block) -> list[list[str]]:
    """The commands of a bash block, without comments."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def of_language(language: str, hub: bool | None = None) -> list[object]:
    """The blocks to run as parameters, named by page and number; `hub` picks those that name a repository or not."""
    chosen = [block for block in blocks() if block.language == language and block.tested]
    if hub is not None:
        chosen = [block for block in chosen if ('"user/' in block.code or "runs/" in block.code) == hub]
    return [pytest.param(block, id=f"{block.page}-{number}") for number, block in enumerate(chosen)]


def training_flags(words: list[str]) -> list[str] | None:
    """The flags of a training command, `None` of another one or of one with a recipe that isn't ours."""
    scripts = [
        index for index, word in enumerate(words) if word in ("training/train.py", "training/domain_control.py")
    ]
    if not scripts or "recipe.yaml" in words:
        return None
    flags = words[scripts[0] + 1 :]
    for flag in ("--resume-from-checkpoint", "--recipe"):
        if flag in flags and flags[flags.index(flag) + 1] in ("latest", "auto", "RECIPE"):
            del flags[flags.index(flag) : flags.index(flag) + 2]
    return flags if "--data.a" in flags else [*flags, "--data.a", "summer", "--data.b", "winter"]


def test_every_command_has_the_flags_that_the_pages_give_it() -> None:
    seen = {"cyclegan-hf": 0, "train": 0}
    for block in blocks():
        for words in commands(block) if block.language == "bash" else []:
            if words[0] == "cyclegan-hf":
                bind_verb(words[1:], VERBS, prog="cyclegan-hf", description=DESCRIPTION, version=__version__)
                seen["cyclegan-hf"] += 1
            if (flags := training_flags(words)) is not None:
                read_command(flags)
                seen["train"] += 1
    assert seen["cyclegan-hf"] > 15 and seen["train"] > 12


def test_a_flag_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"data\.banana"):
        read_command(training_flags(["training/train.py", "--data.banana", "1"]) or [])


def write_official(folder: Path) -> None:
    """Write checkpoints of the official code."""
    folder.mkdir(exist_ok=True)
    for key in ("G_A", "G_B"):
        save(folder / f"latest_net_{key}.pth", Resnet(width=8, blocks=6))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every input that the pages name."""
    root = tmp_path_factory.mktemp("inputs")
    write_domains(root / "seasons", count=8, size=40)
    for name, domain in {
        "summer": "trainA",
        "winter": "trainB",
        "A": "trainA",
        "B": "trainB",
        "TA": "testA",
        "TB": "testB",
        "holiday": "testA",
        "test/summer": "testA",
        "test/winter": "testB",
    }.items():
        shutil.copytree(root / "seasons" / domain, root / name)
    (root / "space").symlink_to(ROOT / "space")
    make_picture("A", 1, 40).save(root / "photo.jpg")
    make_picture("A", 2, 40).save(root / "holiday" / "1.jpg")
    (root / "scans").mkdir()
    Image.fromarray((np.arange(1600, dtype=np.uint16) * 2).reshape(40, 40)).save(root / "scans" / "deep.png")
    write_clip(root / "clip.mp4", frames=3)
    for name, folder in (("green.txt", "summer"), ("snowy.txt", "winter")):
        (root / name).write_text(f"{folder}/000.png\n{folder}/001.png\n")
    write_official(root)
    write_official(root / "official")
    write_recipe(root / "tiny.yaml")
    sources = {"a": str(root / "summer"), "b": str(root / "winter"), "domain_a": "summer", "domain_b": "winter"}
    finished = {"output_dir": str(root / "runs" / "s2w"), "checkpointing_steps": 2}
    Trainer(tiny_config(root, data=sources, run=finished)).train()
    return root


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy of `template` for one block."""
    return Path(shutil.copytree(template, tmp_path / "place", symlinks=True))


@pytest.fixture
def hub(template: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a client of a Hub that has the pages' repositories."""
    trained = template / "runs" / "s2w"
    model = {
        str(path.relative_to(trained)): path.read_bytes()
        for path in trained.rglob("*")
        if path.is_file() and not path.relative_to(trained).parts[0].startswith(("checkpoint", "logs"))
    }
    model |= {
        name.replace(".safe", ".fp16.safe"): data for name, data in model.items() if name.endswith(".safetensors")
    }
    write_parquet(tmp_path / "rows", (5, 4))
    pairs = {f"data/{file.name}": file.read_bytes() for file in (tmp_path / "rows").iterdir()}
    photos = {path.name: path.read_bytes() for path in (template / "holiday").glob("*.png")}
    with HubServer() as server:
        for name in ("tester/summer2winter", "user/summer2winter"):
            server.add("model", name, model)
        for name in ("tester/pairs", "user/pairs"):
            server.add("dataset", name, pairs)
        server.add("dataset", "tester/photos", photos)
        yield server.environment(tmp_path / "home") | {"OMP_NUM_THREADS": "1"}


def training(words: list[str]) -> list[str]:
    """A training command with a tiny recipe and few steps."""
    script = (
        words.index("training/train.py") if "training/train.py" in words else words.index("training/domain_control.py")
    )
    words = [*words[:script], str(ROOT / words[script]), *words[script + 1 :]]
    resumes = "latest" in words
    if "--recipe" in words:
        words[words.index("--recipe") + 1] = "tiny.yaml"
    elif not resumes:
        words += ["--recipe", "tiny.yaml"]
    words += ["--max-train-steps", "6"] if resumes else TINY
    if words[0] == "accelerate" and "--multi_gpu" not in words:
        words[2:2] = ["--cpu", "--num_processes", "1", "--mixed_precision", "no"]
    return [*PROGRAMS.get(words[0], [sys.executable, words[0]]), *words[1:]]


def run(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command that ends well; return its output."""
    environment = {**(environment or {**os.environ, "OMP_NUM_THREADS": "1"}), "PYTHONPATH": str(ROOT)}
    environment |= {"ACCELERATE_USE_CPU": "1"} if "torch.distributed.run" in words or "--multi_gpu" in words else {}
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("block", of_language("python", hub=False))
def test_an_example_in_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture("A", 1, 40).save(tmp_path / "photo.jpg")
    (tmp_path / "holiday").mkdir()
    make_picture("A", 2, 40).save(tmp_path / "holiday" / "1.jpg")
    if '"official"' in block.code:
        write_official(tmp_path / "official")
    if '"exported"' in block.code:
        CycleGANPipeline.from_pretrained().save_pretrained(tmp_path / "exported")
        for name in ("generator_a2b", "generator_b2a"):
            shutil.copytree(
                ROOT / "cyclegan_hf" / "pretrained" / name, tmp_path / "exported" / name, dirs_exist_ok=True
            )
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(block.code, block.page, "exec"), names)
    results = [value for value in names.values() if isinstance(value, Image.Image)]
    assert all(image.size == (40, 40) for image in results)
    assert results or "pipe" in names


@pytest.mark.slow
@pytest.mark.parametrize("block", of_language("python", hub=True))
def test_an_example_in_python_with_a_repository_runs(block: Block, place: Path, hub: dict[str, str]) -> None:
    run([sys.executable, "-c", block.code], place, hub)


@pytest.mark.slow
@pytest.mark.parametrize("block", of_language("bash"))
def test_an_example_in_bash_runs(block: Block, place: Path, hub: dict[str, str]) -> None:
    everything = commands(block)
    trains_anew = any("--recipe" in words and "runs/s2w" in words for words in everything)
    if trains_anew:
        shutil.rmtree(place / "runs" / "s2w")
    for words in everything:
        if words[0] in ("pip", "git", "make"):
            continue
        words = [word.replace("user/", "tester/") for word in words]
        if words[:2] == ["hf", "auth"]:
            words += ["--token", "hf_write"]
        if "training/train.py" in words or "training/domain_control.py" in words:
            run(training(words), place, hub)
        else:
            program = PROGRAMS[words[0]]
            if words[0] == "accelerate":
                words[2:2] = ["--cpu"] if "--multi_gpu" not in words else []
            run([*program, *words[1:]], place, hub)


def test_the_pages_links_into_the_repository_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            link = next(filter(None, target))
            generated = page.parent / "x" if link in ("changelog.md", "contributing.md") else page.parent / link
            assert link.startswith("http") or generated.exists(), f"{page.name}: {link}"
