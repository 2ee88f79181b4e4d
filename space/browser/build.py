"""Builds the page that translates in the visitor's own browser: a folder of plain files, for any web server.

    python space/browser/build.py --output site
    python -m http.server --directory site

`--model` takes a folder or a Hub id; by default the page has the weights that come with the library. With
`--weights-from-hub` the weights stay on the Hub, at the commit of the day, and visitors fetch them from there. npm
fetches ONNX Runtime in the version that `package-lock.json` fixes.
"""

import argparse
import gzip
import hashlib
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, hf_hub_url

from cyclegan_hf.saved_format import GENERATORS


HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1]))  # a checkout that is not installed builds too; what is installed goes first
sys.path.append(str(HERE.parent))  # the examples are the other page's

import shipped_examples  # noqa: E402

from cyclegan_hf import CycleGANPipeline  # noqa: E402
from cyclegan_hf.atomic import whole_folder  # noqa: E402
from cyclegan_hf.errors import one_line  # noqa: E402
from cyclegan_hf.export.onnx import WEIGHTS_NAME, export_onnx  # noqa: E402
from cyclegan_hf.hub.errors import hub_errors  # noqa: E402
from cyclegan_hf.hub.locate import find_folder, is_model_on_hub  # noqa: E402
from cyclegan_hf.hub.timeouts import answer_seconds  # noqa: E402
from cyclegan_hf.images.formats import open_header  # noqa: E402
from cyclegan_hf.saved_format import GRAPH_NAME, PRETRAINED_FOLDER  # noqa: E402


PAGE = ("index.html", "style.css", "main.js", "worker.js", "pixels.js", "headers.js", "README.md")
RUNTIME = {  # how a page computes: a script and the program that it loads
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
MAX_WHOLE_PIXELS = 1_000_000  # for a model that has to see a photo as a whole
SAMPLE_PARTS = {"before": "", "after": "-after", "thumbnail": "-small"}


def build(
    output: Path, model: str | None = None, node_modules: Path | None = None, *, weights_from_hub: bool = False
) -> Path:
    """Write the page's folder, whole or not at all.

    Args:
        output: The folder; what an earlier build left in it is replaced.
        model: A pipeline's folder or Hub id; by default the bundled weights.
        node_modules: Where `onnxruntime-web` is installed; by default npm installs it anew.
        weights_from_hub: Leave the weights where they are, in a public repository that has exported graphs.

    Raises:
        ValueError: The model cannot run in the page, or npm failed.
    """
    if weights_from_hub and (model is None or not is_model_on_hub(model)):
        raise ValueError(f"weights from the Hub need a model there, such as user/name, got {model}")
    pipeline = CycleGANPipeline.from_pretrained(model)
    generators = {name: part for name in GENERATORS if (part := getattr(pipeline, name)) is not None}
    for name, generator in generators.items():
        _check(name, generator)
    with tempfile.TemporaryDirectory(prefix="cyclegan-hf-browser-") as scratch, whole_folder(output) as folder:
        runtime = _installed(Path(scratch)) if node_modules is None else node_modules / "onnxruntime-web"
        for name in PAGE:
            shutil.copyfile(HERE / name, folder / name)
        description = _describe(pipeline, generators)
        description["name"] = model or "The weights that come with cyclegan_hf"
        description["runtime"] = _copy_runtime(runtime, folder / "runtime")
        if weights_from_hub:
            description["directions"] = _weights_on_hub(str(model), generators)
        else:
            description["directions"] = _copy_weights(pipeline, model, generators, Path(scratch), folder)
        description["samples"] = _samples(pipeline, generators, model, folder)
        (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        _write_service_worker(folder, description["samples"])
    return output


def _samples(
    pipeline: CycleGANPipeline, generators: dict[str, Any], model: str | None, folder: Path
) -> list[dict[str, str]]:
    """Return the examples of the other page that fit, with their translations; the first one opens the page."""
    there = {
        name.removeprefix("generator_"): pipeline.config[f"domain_{name.removeprefix('generator_')[0]}"]
        for name in generators
    }
    weights = PRETRAINED_FOLDER if model is None else Path(model)
    described = []
    for example in shipped_examples.examples_of(there):
        home = folder / "samples" / example.path.parent.name
        home.mkdir(parents=True, exist_ok=True)
        files = {part: home / f"{example.path.stem}{end}.jpg" for part, end in SAMPLE_PARTS.items()}
        shutil.copyfile(example.path, files["before"])
        if (result := shipped_examples.shipped_result(example, weights)) is not None:
            shutil.copyfile(result, files["after"])
        else:
            with open_header(example.path) as picture:
                translation = pipeline(picture, direction=example.direction).images[0]
            shipped_examples.save_result(translation, files["after"])
        shipped_examples.small(files["before"], files["after"]).save(files["thumbnail"], quality=80)
        addresses = {part: path.relative_to(folder).as_posix() for part, path in files.items()}
        described.append({"name": example.path.stem, "direction": example.direction, **addresses})
    return described


def _write_service_worker(folder: Path, samples: list[dict[str, str]]) -> None:
    """Return the script that caches the page's files; its version changes with any of them."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    kept = [name for name in names if not name.startswith("model/") and not name.endswith((".gz", ".md", ".txt"))]
    later = {sample[part] for sample in samples[1:] for part in ("before", "after")}  # kept once they are looked at
    opening = [name for name in kept if name not in later]
    text = (HERE / "sw.js").read_text(encoding="utf-8")
    text = text.replace('"development"', json.dumps(digest.hexdigest()[:16]))
    text = text.replace('FILES = ["./"]', f"FILES = {json.dumps(['./', *opening])}")
    (folder / "sw.js").write_text(text, encoding="utf-8")


def _check(name: str, generator: Any) -> None:
    """Refuses what the page's own walk from pixels to pixels does not know."""
    if generator.resize_to_training_size:
        raise ValueError(f"{type(generator).__name__} runs at its training size only, which the page cannot do")
    for key in ("in_channels", "out_channels"):
        if generator.config[key] not in (1, 3):
            raise ValueError(f"`{name}` has {generator.config[key]} `{key}`; the page takes 1 or 3")
    if generator.config.get("in_padding", 3) != 3 or generator.config.get("out_padding", 3) != 3:
        raise ValueError(f"`{name}` changes the pictures' size, which the page cannot do")


def _describe(pipeline: CycleGANPipeline, generators: dict[str, Any]) -> dict[str, Any]:
    parts = generators.values()
    multiple = math.lcm(*(part.size_multiple for part in parts))
    radii = [getattr(part, "receptive_radius", None) for part in parts]
    spaces = {"a": pipeline.image_processor_a, "b": pipeline.image_processor_b}
    return {
        "domains": {key: pipeline.config[f"domain_{key}"] for key in "ab"},
        "spaces": {
            key: {"num_channels": space.num_channels, "mean": space.mean, "std": space.std}
            for key, space in spaces.items()
        },
        "size_multiple": multiple,
        "min_size": max(part.min_size for part in parts),
        "margin": None if None in radii else -(-max(radii) // multiple) * multiple,
        "max_pixels": MAX_WHOLE_PIXELS,
    }


def _copy_runtime(package: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    described: dict[str, Any] = {}
    for name, (script, binary) in RUNTIME.items():
        shutil.copyfile(package / "dist" / script, folder / script)
        # Packed, for not every web server packs on its own: a quarter of the bytes. The worker unpacks it.
        packed = gzip.compress((package / "dist" / binary).read_bytes(), 6, mtime=0)
        (folder / f"{binary}.gz").write_bytes(packed)
        address = _with_digest(f"runtime/{binary}.gz", packed)
        described[name] = {"script": f"runtime/{script}", "binary": address, "bytes": len(packed)}
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))
    notice = f"onnxruntime-web {version['version']}, Microsoft Corporation, {version['license']} licence.\n"
    (folder / "NOTICE.txt").write_text(notice, encoding="utf-8")
    return described


def _with_digest(address: str, content: bytes) -> str:
    """Return an address that changes with the file's content, so that a browser's cache is never outdated."""
    return f"{address}?{hashlib.sha256(content).hexdigest()[:12]}"


def _copy_weights(
    pipeline: CycleGANPipeline, model: str | None, generators: dict[str, Any], scratch: Path, folder: Path
) -> dict[str, Any]:
    """Each direction's graph and weights, half precision: the graph computes in float32 all the same."""
    source = find_folder(model, list(GENERATORS))
    if not all((source / name / GRAPH_NAME).is_file() for name in generators):
        source = scratch / "exported"
        pipeline.to(dtype=torch.float16).save_pretrained(source)
        export_onnx(source)
    described = {}
    for name in generators:
        (folder / "model" / name).mkdir(parents=True)
        for file in (GRAPH_NAME, WEIGHTS_NAME):
            shutil.copyfile(source / name / file, folder / "model" / name / file)
        files = {file: f"model/{name}/{file}" for file in (GRAPH_NAME, WEIGHTS_NAME)}
        sizes = {file: (folder / path).stat().st_size for file, path in files.items()}
        files = {file: _with_digest(path, (folder / path).read_bytes()) for file, path in files.items()}
        described |= _direction(name, files, sizes)
    return described


def _weights_on_hub(model: str, generators: dict[str, Any]) -> dict[str, Any]:
    """Each direction's addresses on the Hub, at the newest commit: a later push does not change the page."""
    with hub_errors(model):
        info = HfApi(token=False).model_info(model, files_metadata=True, timeout=answer_seconds())
    found = {file.rfilename: file.size or 0 for file in info.siblings or []}
    described = {}
    for name in generators:
        paths = {file: f"{name}/{file}" for file in (GRAPH_NAME, WEIGHTS_NAME)}
        if missing := [path for path in paths.values() if path not in found]:
            raise ValueError(
                f"{model} has no {missing[0]}: `cyclegan-hf export` writes it, `cyclegan-hf push` pushes it"
            )
        addresses = {file: hf_hub_url(model, path, revision=info.sha) for file, path in paths.items()}
        described |= _direction(name, addresses, {file: found[path] for file, path in paths.items()})
    return described


def _direction(name: str, files: dict[str, str], sizes: dict[str, int]) -> dict[str, Any]:
    direction = name.removeprefix("generator_")
    return {
        direction: {
            "source": direction[0],
            "target": direction[-1],
            "graph": files[GRAPH_NAME],
            "graph_bytes": sizes[GRAPH_NAME],
            "weights": files[WEIGHTS_NAME],
            "weights_bytes": sizes[WEIGHTS_NAME],
        }
    }


def _installed(scratch: Path) -> Path:
    """ONNX Runtime's package, as `npm ci` puts it there."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(HERE / name, scratch / name)
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError("building the page needs npm, which comes with Node.js; it is not on the PATH")
    ended = subprocess.run(
        [npm, "ci", "--omit=dev", "--silent"], cwd=scratch, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise ValueError(f"`npm ci` failed: {one_line(ended.stderr.strip() or ended.stdout.strip())}")
    return scratch / "node_modules" / "onnxruntime-web"


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write the page to")
    parser.add_argument("--model", help="folder or Hub id of a pipeline; by default the bundled weights")
    parser.add_argument("--node-modules", type=Path, help="where onnxruntime-web is installed already")
    parser.add_argument(
        "--weights-from-hub",
        action="store_true",
        help="visitors fetch the weights of `--model user/name` from the Hub",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    try:
        folder = build(
            arguments.output,
            arguments.model,
            arguments.node_modules,
            weights_from_hub=arguments.weights_from_hub,
        )
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB. To look at it: python -m http.server --directory {os.fspath(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
