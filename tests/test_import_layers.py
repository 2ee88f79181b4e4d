"""Who may import whom. The imports are read from the source, those inside functions and under TYPE_CHECKING too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cyclegan_hf


ROOT = Path(__file__).resolve().parents[1]

# What a part of the library may import from the others: `cli` stands on the jobs, they on the pipelines.
CONVERSION = {
    *("conversion", "conversion_networks", "conversion_files", "conversion_pickles"),
    *("conversion_layout", "conversion_parity"),
}
HUB = {"hub", "hub_data", "hub_info", "hub_space"}
TO_AND_FROM_THE_HUB = {
    "hub_timeouts",
    "hub_errors",
    "hub_download",
    "hub_upload",
    "hub_card",
    "hub_layout",
}  # below the pipelines, which push too
JOBS = {
    *CONVERSION,
    *HUB,
    *TO_AND_FROM_THE_HUB,
    "evaluation",
    "export",
    "export_int8",
    "export_pipeline",
    "video",
    "background",
    "wheel",
}
MAY_IMPORT = {
    "errors": set(),
    "luma": set(),
    "image_formats": set(),
    "image_depth": set(),
    "image_io": {"errors", "image_depth", "image_formats"},
    "image_processor": {"errors", "image_depth", "image_io", "luma"},
    "hub_timeouts": set(),
    "hub_errors": {"errors", "hub_timeouts"},
    "hub_download": {"hub_errors"},
    "hub_upload": {"hub_errors"},
    "hub_card": {"errors"},
    "hub_layout": set(),
    "hardware": set(),
    "feature_networks": set(),
    "models": {
        *("errors", "feature_networks", "hub_card", "hub_download", "hub_errors", "hub_upload", "luma", "saved_files")
    },
    "losses": {"luma"},
    "metrics": {"feature_networks", "luma"},
    "validation_split": set(),
    "pipelines": {
        *("conversion_files", "conversion_networks", "errors", "hardware", "image_io", "image_processor", "models"),
        *("saved_files", *TO_AND_FROM_THE_HUB),
    },
    **dict.fromkeys(
        JOBS,
        {"errors", "image_io", "image_processor", "losses", "metrics", "models", "pipelines", "saved_files"}
        | {"picture_files"}
        | JOBS,
    ),
    "background": {"errors", "image_depth", "image_io", "picture_files"},
    "evaluation": {
        *("errors", "image_formats", "image_io", "image_processor", "losses", "metrics", "models", "picture_files"),
        *("pipelines", "feature_networks", "hub_download", "hub_errors", "saved_files", "validation_split"),
    },
    "conversion_files": {"conversion_pickles"},
    "conversion_pickles": set(),
    "conversion_networks": {"conversion_files", "conversion_layout", "conversion_parity", "models"},
    "conversion_layout": {"models"},
    "conversion_parity": set(),  # an independent witness: it must not know the models
    "hub_data": {"errors", "hub_upload", "image_io", "picture_files", "table_access"},
    "picture_files": {"image_depth", "image_formats", "processes"},
    "processes": {"errors"},
    "bulk": {"errors", "image_depth", "image_io", "picture_files", "processes"},
    "table_access": {"errors"},
    "table_builder": {"errors", "table_access"},
    "bulk_source": {"errors", "hub_errors", "processes", "table_access", "table_builder"},
    "bulk_shards": {"errors", "image_formats", "table_access"},
    "bulk_datasets": {
        *("bulk", "bulk_shards", "bulk_source", "errors", "hub_errors", "hub_upload", "picture_files", "processes"),
        "image_formats",
    },
    "saved_files": {"errors"},
    "wheel": set(),
    "cli_hub": HUB,
    "cli_arguments": {"errors"},
    "cli_train": set(),
    "cli_video": {"image_formats", "picture_files", "video"},
    "cli_evaluate": {"cli_arguments", "errors", "evaluation"},
    "cli_export": {"export_pipeline"},
    "cli": {
        "bulk",
        "bulk_datasets",
        "cli_arguments",
        "cli_hub",
        "cli_evaluate",
        "cli_export",
        "cli_train",
        "cli_video",
        "errors",
        "image_depth",
        "image_formats",
        "image_io",
        "image_processor",
        "metrics",
        "models",
        "picture_files",
        "pipelines",
        "processes",
    }
    | JOBS,
}

# What several architectures share. Any other module of `models` is an architecture, and these are all it may import.
MODEL_BLOCKS = {
    "affine_field",
    "building",
    "checks",
    "layers",
    "attention",
    "vector_quantizer",
    "outputs",
    "initialization",
    "publishing",
    "winograd",
}

# Other packages.
NOWHERE = {"transformers", "torchvision"}
NEVER = {
    "cyclegan_hf": NOWHERE | {"training", "space", "tests", "benchmarks", "gradio", "accelerate"},
    "training": NOWHERE | {"space", "tests", "benchmarks", "gradio"},
    "space": NOWHERE | {"training", "tests", "benchmarks", "accelerate"},
}
ONLY = {
    "image_formats": {"PIL", "pillow_heif"},
    "image_depth": {"numpy", "PIL"},
    "image_io": {"numpy", "PIL"},
    "losses": {"torch", "kornia"},
    "metrics": {"torch", "torchmetrics", "kornia", "numpy"},
}


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the dotted name behind each import of a module in `package`: `a.b.c` for `from a.b import c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                lazy = cyclegan_hf._MODULES.get(alias.name) if base == "cyclegan_hf" else None
                yield lazy or name


def violations(path: str, source: str) -> list[str]:
    """Name every import in `source`, the file at `path` from the repository's root, that the tables forbid."""
    module = path.removesuffix(".py").removesuffix("/__init__").split("/")
    package = ".".join(module if path.endswith("__init__.py") else module[:-1])
    top, part = module[0], module[1] if len(module) > 1 else ""
    found = []
    for name in imported_names(ast.parse(source), package):
        other = name.split(".")
        if other[0] in NEVER[top]:
            found.append(f"{path}: {top} never imports {other[0]}")
        elif top != "cyclegan_hf" or not part:
            continue
        elif other[0] != "cyclegan_hf":
            if part in ONLY and other[0] not in ONLY[part] | sys.stdlib_module_names:
                found.append(f"{path}: {part} imports {other[0]}, not only {sorted(ONLY[part])}")
        elif other[1:] in ([], ["__version__"]):
            continue
        elif part == other[1] == "models":
            if MODEL_BLOCKS.isdisjoint(other[2:3]):
                found.append(f"{path}: models import {sorted(MODEL_BLOCKS)}, never one another ({name})")
        elif other[1] != part and other[1] not in MAY_IMPORT[part]:
            found.append(f"{path}: {part} may not import {other[1]} ({name})")
    return found


def source_files() -> list[str]:
    files = [file for top in NEVER for file in sorted((ROOT / top).rglob("*.py"))]
    return [file.relative_to(ROOT).as_posix() for file in files]


@pytest.mark.parametrize("path", source_files())
def test_imports_go_downwards(path: str) -> None:
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "cyclegan_hf" and parts[1] != "__init__":
        assert parts[1] in MAY_IMPORT, f"{path}: `{parts[1]}` is in no row of MAY_IMPORT; decide what it may import"
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cyclegan_hf/models/generator_unet.py", "from cyclegan_hf.models.generator_resnet import ResnetGenerator"),
        ("cyclegan_hf/models/generator_unet.py", "from .generator_resnet import ResnetGenerator"),
        ("cyclegan_hf/models/generator_unet.py", "from . import generator_resnet"),
        ("cyclegan_hf/models/generator_unet.py", "from cyclegan_hf import ResnetGenerator"),
        ("cyclegan_hf/models/layers.py", "import cyclegan_hf.image_processor"),
        ("cyclegan_hf/losses/adversarial.py", "def f():\n    from cyclegan_hf.models import layers"),
        ("cyclegan_hf/metrics/fid.py", "from ..models.layers import ResnetBlock"),
        ("cyclegan_hf/losses/adversarial.py", "import diffusers"),
        ("cyclegan_hf/image_processor.py", "from cyclegan_hf import CycleGANPipeline"),
        ("cyclegan_hf/pipelines/pipeline_cyclegan.py", "from cyclegan_hf.hub import push"),
        ("cyclegan_hf/conversion.py", "from cyclegan_hf.cli import main"),
        ("cyclegan_hf/hub.py", "from training.config import TrainConfig"),
        ("cyclegan_hf/cli.py", "def demo():\n    import gradio as gr"),
        ("cyclegan_hf/cli.py", "from accelerate.commands.launch import launch_command"),
        ("training/data/sources.py", "import torchvision.transforms"),
        ("space/app.py", "from training.config import TrainConfig"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cyclegan_hf/__init__.py", "from cyclegan_hf.conversion import convert_official_checkpoint"),
        (
            "cyclegan_hf/models/generator_unet.py",
            "import torch\nfrom .layers import make_norm\nfrom .outputs import X",
        ),
        ("cyclegan_hf/pipelines/pipeline_cyclegan.py", "from cyclegan_hf import ImageProcessor, __version__"),
        ("cyclegan_hf/metrics/fid.py", "from .features import Inception\nimport torchmetrics"),
        ("cyclegan_hf/cli.py", "from cyclegan_hf.hub import push\nfrom cyclegan_hf import CycleGANPipeline"),
        ("training/trainer.py", "import accelerate\nfrom cyclegan_hf.models.generator_resnet import ResnetGenerator"),
        ("space/app.py", "import gradio as gr\nfrom cyclegan_hf import CycleGANPipeline"),
    ],
)
def test_an_allowed_import_is_not(path: str, source: str) -> None:
    assert violations(path, source) == []


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import cyclegan_hf, cyclegan_hf.models, cyclegan_hf.pipelines", {"torch", "diffusers", "numpy", "PIL"}),
        ("dir(__import__('cyclegan_hf'))", {"torch", "diffusers", "numpy", "PIL"}),
        ("from cyclegan_hf import ImageProcessor", {"torch", "diffusers"}),
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
