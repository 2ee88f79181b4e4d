"""Who may import whom: the library's parts lie in layers, and no two modules import each other, not even late."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cyclegan_hf


ROOT = Path(__file__).resolve().parents[1]
# A part (a folder or module of cyclegan_hf) may import those of the layers above its own line, and no neighbour.
LAYERS = [
    {"errors", "regular_files"},
    {"arguments", "feature_networks", "hardware", "processes", "saved_format", "tables"},
    {"atomic"},
    {"images"},
    {"image_processor", "losses", "metrics"},
    {"hub"},
    {"models"},
    {"official"},
    {"pipelines"},
    {"bulk", "conversion", "evaluation"},
    {"export"},
    {"cli", "training"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
PURE = {
    "losses": {"feature_networks", "images"},
    "metrics": {"feature_networks", "images", "saved_format"},
}  # the parts that they may use
NOWHERE = {"transformers", "torchvision"}
NEVER = {
    "cyclegan_hf": NOWHERE | {"training", "space", "tests", "gradio"},
    "training": NOWHERE | {"space", "tests", "gradio"},
    "space": NOWHERE | {"training", "tests"},
}
FILES = {file: file.relative_to(ROOT).with_suffix("").parts for top in NEVER for file in (ROOT / top).rglob("*.py")}
MODULES = {".".join(parts).removesuffix(".__init__"): file for file, parts in FILES.items()}


def imports_of(source: str, package: str) -> Iterator[str]:
    """Yield the dotted name behind each import, those inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -node.level + 1 or None] if node.level else []
            for alias in node.names:
                lazy = cyclegan_hf._MODULES.get(alias.name) if node.module == "cyclegan_hf" else None
                yield lazy or ".".join([*parents, *filter(None, [node.module]), alias.name])


def imports_in(module: str, source: str) -> Iterator[str]:
    """Yield the imports of a module, relative ones resolved."""
    is_package = module in MODULES and MODULES[module].stem == "__init__"
    return imports_of(source, module if is_package else module.rpartition(".")[0])


def violations(module: str, source: str) -> list[str]:
    """Name every import that the layers forbid."""
    parts = module.split(".")
    found = []
    for name in imports_in(module, source):
        other = name.split(".")
        if other[0] in NEVER[parts[0]] or (other[0] == "accelerate" and parts[1:2] != ["training"] != parts[:1]):
            found.append(f"{module}: {parts[0]} never imports {other[0]}")
        if parts[0] == "space" and other[:2] == ["cyclegan_hf", "training"]:
            found.append(f"{module}: the page never imports the training")
        inside = parts[0] == other[0] == "cyclegan_hf" and len(parts) > 1 and other[1:] not in ([], ["__version__"])
        if not inside:
            continue
        part, used = parts[1], other[1]
        if part == used:
            if part == "models" and other[2].startswith(("generator_", "discriminator_")):
                found.append(f"{module}: an architecture imports another one ({name})")
        elif LEVEL[used] >= LEVEL[part] or used not in PURE.get(part, LEVEL):
            found.append(f"{module}: `{part}` may not import `{used}` ({name})")
    return found


def test_imports_go_one_way() -> None:
    found = [line for module, file in MODULES.items() for line in violations(module, file.read_text(encoding="utf-8"))]
    assert found == []


def test_no_modules_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for module, file in MODULES.items():
        for name in imports_in(module, file.read_text(encoding="utf-8")):
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name not in ("", "cyclegan_hf", module):
                graph.setdefault(module, set()).add(name)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cyclegan_hf.models.generator_unet", "from .generator_resnet import ResnetGenerator"),
        ("cyclegan_hf.models.generator_unet", "from cyclegan_hf import ResnetGenerator"),
        ("cyclegan_hf.losses.adversarial", "def f():\n    from cyclegan_hf.models import layers"),
        ("cyclegan_hf.hub.card", "from cyclegan_hf.evaluation.report import document"),
        ("cyclegan_hf.pipelines.storage", "import cyclegan_hf.conversion"),
        ("cyclegan_hf.cli.train", "from accelerate.commands.launch import launch_command"),
        ("cyclegan_hf.training.data.sources", "import torchvision.transforms"),
        ("space.app", "from cyclegan_hf.training.config import TrainConfig"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import cyclegan_hf, cyclegan_hf.models, cyclegan_hf.pipelines", {"torch", "diffusers", "numpy", "PIL"}),
        ("dir(__import__('cyclegan_hf'))", {"torch", "diffusers", "numpy", "PIL"}),
        ("from cyclegan_hf import ImageProcessor", {"torch", "diffusers"}),
        ("from cyclegan_hf import ResnetGenerator", {"cyclegan_hf.hub", "cyclegan_hf.metrics"}),
    ],
)
def test_light_imports_stay_light(statement: str, unwanted: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sorted({unwanted!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'CycleGan'"):
        _ = cyclegan_hf.CycleGan
