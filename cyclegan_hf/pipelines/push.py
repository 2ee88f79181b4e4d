"""A pipeline's folder to the Hub: weights and their variants, card, recipe, figures, sample grids.

What lies where in the repository: `saved_format.py`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import load_file, save

import cyclegan_hf
from cyclegan_hf.hub.card import bare_facts, pipeline_card, published_card
from cyclegan_hf.hub.upload import Published, Target, open_repo, upload
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.saved_format import (
    CONFIG_NAME,
    CUSTOM_PIPELINE,
    DISCRIMINATORS,
    GENERATORS,
    GRIDS,
    INDEX_NAME,
    RECORDS,
    REPLACED,
    RUN_NAME,
    STATE_FOLDER,
    holds_component,
    read_json,
    weights_name,
)


Variant = Literal["fp16", "bf16"]
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

MARKER = (INDEX_NAME, f'"{CycleGANPipeline.__name__}"')


def push_pipeline(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    license: str | None = None,
    variants: Sequence[Variant] = ("fp16",),
    discriminators: bool = False,
    training_state: bool = False,
    subfolders: Sequence[tuple[str, Path]] = (),
    check: bool = True,
) -> Published:
    """Push a saved pipeline, as one commit.

    The folder is loaded first: what does not load is not published. Default weights go up byte for byte. The folder
    itself is not changed.

    Args:
        folder: What `CycleGANPipeline.save_pretrained`, the training or `cyclegan-hf convert` wrote.
        repo_id: `"user/name"`; made where there is none.
        private: Make a new repository private.
        revision: Branch, made where there is none; by default the main one.
        create_pr: Open a pull request instead.
        commit_message: By default one that names the pipeline.
        token: One with write access; by default the stored one.
        license: As the Hub spells it, for the card.
        variants: Half-precision copies of float32 weights to add: `"fp16"`, `"bf16"`.
        discriminators: Push them too.
        training_state: Push what a run needs to go on, of a checkpoint; without this machine's folders.
        subfolders: Whole folders that go along, by their names in the repository.
        check: Load the pipeline first. Building its networks draws random numbers: a training that pushes on the side
            must not.

    Returns:
        [`Published`]: The address and the commit.

    Raises:
        ValueError: The folder is no pipeline, lacks what was asked for, or the Hub refused; the message says what to
            do.
    """
    folder = Path(folder)
    if check:
        CycleGANPipeline.from_pretrained(folder)
    index = read_json(folder / INDEX_NAME)
    files = _weights(folder, index, variants)
    files |= {name: folder / name for name in RECORDS if (folder / name).is_file()}
    files |= {path.name: path for pattern in GRIDS for path in sorted(folder.glob(pattern))}
    if discriminators:
        files |= _discriminators(folder)
    if training_state:
        if not (folder / STATE_FOLDER / RUN_NAME).is_file():
            raise ValueError(f"{folder} has no {STATE_FOLDER}: push a checkpoint of the run, with the same option")
        files |= _all_files(folder, STATE_FOLDER)
    for name, place in subfolders:
        files |= {f"{name}/{path}": content for path, content in _all_files(place, ".").items()}
    target = Target(
        repo_id=repo_id,
        private=private,
        revision=revision,
        create_pr=create_pr,
        token=token,
        marker=MARKER,
    )
    repo_id = open_repo(target)
    domains = index["domain_a"], index["domain_b"]
    told: dict[str, Any] = {"domains": domains, "revision": revision, "license": license}
    files["README.md"] = published_card(
        _card(folder),
        repo_id,
        metrics=read_json(folder / "metrics.json") if "metrics.json" in files else None,
        grids=sorted(path for path in files if path.startswith("grid")),
        **told,
    ).encode()
    for name, place in subfolders:
        if (card := place / "README.md").is_file():
            text = card.read_text(encoding="utf-8")
            files[f"{name}/README.md"] = published_card(text, repo_id, subfolder=name, **told).encode()
    message = commit_message or f"Upload {' ↔ '.join(domains)}"
    replaces = [*REPLACED, *(f"{name}/*" for name, _ in subfolders)]
    return upload(target, files, message, replaces=replaces, opened=repo_id)


def _weights(folder: Path, index: dict[str, Any], variants: Sequence[Variant]) -> dict[str, Path | bytes]:
    """Return the pipeline's own files, with exported graphs and variants."""
    files: dict[str, Path | bytes] = {INDEX_NAME: folder / INDEX_NAME}
    if (custom := folder / f"{CUSTOM_PIPELINE}.py").is_file():
        files[custom.name] = custom
    for part in GENERATORS:
        if not holds_component(index, part):
            continue
        inner = [path for path in (folder / part).iterdir() if path.suffix in (".json", ".safetensors", ".onnx")]
        files |= {f"{part}/{path.name}": path for path in sorted(inner)}
        for variant in variants:
            name = f"{part}/{weights_name(variant)}"
            if name not in files and (content := _variant(folder / part / weights_name(None), variant)):
                files[name] = content
    return files


def _all_files(folder: Path, inner: str) -> dict[str, Path | bytes]:
    """Return the files of a folder's subfolder; of a checkpoint without the local folders that its settings name."""
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path for path in sorted((folder / inner).rglob("*")) if path.is_file()
    }
    if f"{STATE_FOLDER}/{CONFIG_NAME}" in files:
        files[f"{STATE_FOLDER}/{CONFIG_NAME}"] = folder / "recipe.yaml"  # the same without places
    return files


def _card(folder: Path) -> str:
    """Return the folder's card, or one from what the pipeline tells."""
    if (folder / "README.md").is_file():
        return (folder / "README.md").read_text(encoding="utf-8")
    pipeline = CycleGANPipeline.from_pretrained(folder)
    generators = {name: getattr(pipeline, name) for name in GENERATORS if getattr(pipeline, name) is not None}
    return pipeline_card(bare_facts(pipeline.config["domain_a"], pipeline.config["domain_b"], generators))


def _variant(weights: Path, variant: Variant) -> bytes | None:
    """Return a half-precision copy of a weight file; none if it isn't float32.

    Raises:
        ValueError: A weight is too large for float16.
    """
    tensors = load_file(weights)
    if not any(tensor.dtype == torch.float32 for tensor in tensors.values()):
        return None
    dtype = _DTYPES[variant]
    half = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    for key, tensor in half.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{weights}: {key!r} is too large for {variant}; leave that variant out")
    return save(half, metadata={"format": "pt"})


def _discriminators(folder: Path) -> dict[str, Path | bytes]:
    """Return the discriminators as model folders: as saved, or from a checkpoint's training state.

    Raises:
        ValueError: There are none.
    """
    files: dict[str, Path | bytes] = {}
    for name in DISCRIMINATORS:
        files |= _all_files(folder, name)
    state = folder / STATE_FOLDER
    if not files and (state / "discriminator_b.safetensors").is_file():
        block = yaml.safe_load((state / CONFIG_NAME).read_text(encoding="utf-8"))["discriminator"]
        arguments = {key: value for key, value in block.items() if not key.startswith("_")}
        for name in DISCRIMINATORS:
            tensors = load_file(state / f"{name}.safetensors")
            channels = read_json(folder / INDEX_NAME)[f"image_processor_{name[-1]}"]["num_channels"]
            network = getattr(cyclegan_hf, block["_class_name"])(**arguments | {"in_channels": channels})
            network.load_state_dict(tensors)
            with tempfile.TemporaryDirectory() as temporary:
                network.save_pretrained(temporary)
                files |= {f"{name}/{path.name}": path.read_bytes() for path in Path(temporary).iterdir()}
    if not files:
        raise ValueError(f"{folder} has no discriminators: push a checkpoint of the run, with the same option")
    return files
