"""Describe a checkpoint from its small files, without loading torch or the weights."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, parse_safetensors_file_metadata
from safetensors import SafetensorError, safe_open

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.download import RepoFiles
from cyclegan_hf.hub.errors import HubError, ask_hub, no_folder_either
from cyclegan_hf.hub.locate import is_model_on_hub
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.saved_format import GENERATORS, INDEX_NAME, PRETRAINED_FOLDER, holds_component, read_json


_RECORDS = ("recipe.yaml", "training.json", "metrics.json")
_TRAINING = {
    "recipe": ("run", "recipe"),
    "batch": ("run", "train_batch_size"),
    "crops": ("data", "image_size"),
    "adversarial loss": ("losses", "adversarial"),
    "cycle": ("losses", "lambda_a"),
    "identity": ("losses", "lambda_identity"),
    "learning rate": ("optimizer", "learning_rate"),
    "EMA": ("ema", "decay"),
}


def describe(
    model: str | os.PathLike[str] | None,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Describe a saved pipeline.

    Args:
        model: A folder, a Hub id, or `None` for the bundled weights.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        token: For private repositories; by default the stored one.

    Returns:
        Plain values under `model`, `commit`, `domains`, `pictures`, `generators`, `files`, `training`, `metrics`.

    Raises:
        ValueError: There is no such pipeline.
    """
    place: _Folder | _Repo
    if model is None:
        place = _Folder(PRETRAINED_FOLDER, subfolder, "the bundled weights")
    elif is_model_on_hub(model):
        place = _Repo(os.fspath(model), revision, subfolder, token)
    else:
        place = _Folder(Path(model), subfolder)
    if INDEX_NAME not in place.names:
        raise ValueError(f"{place.title}: expected a saved pipeline, there is no {INDEX_NAME}")
    index = read_json(place.path(INDEX_NAME))
    for key in ("image_processor_a", "image_processor_b"):
        if index.get(key) is not None:
            ImageProcessor.from_config(index[key])  # refuses what no pipeline could be loaded with
    generators = {name: _network(place, name) for name in GENERATORS if holds_component(index, name)}
    records = {name: place.path(name) for name in _RECORDS if name in place.names}
    training = read_json(records["training.json"]) if "training.json" in records else {}
    recipe = _recipe(records["recipe.yaml"]) if "recipe.yaml" in records else {}
    return {
        "model": place.title,
        "commit": place.commit,
        "domains": {"a": index.get("domain_a"), "b": index.get("domain_b")},
        "pictures": {key: index.get(f"image_processor_{key}") for key in ("a", "b")},
        "generators": generators,
        "files": sorted(name for name in place.names if not name.startswith(("checkpoint-", "samples/", "logs/"))),
        "training": recipe | training,
        "metrics": read_json(records["metrics.json"]) if "metrics.json" in records else {},
    }


def in_words(facts: dict[str, Any]) -> str:
    """Format `describe`'s facts as a few lines."""
    a, b = facts["domains"]["a"], facts["domains"]["b"]
    commit = f" at {facts['commit'][:12]}" if facts["commit"] else ""
    lines = [f"{facts['model']}{commit}: {a} (a), {b} (b)"]
    for name, network in facts["generators"].items():
        arguments = ", ".join(f"{key}={value}" for key, value in network["config"].items())
        lines.append(f"  {name}: {network['class']}, {network['values']:,} values, {network['dtype']}")
        lines.append(f"    {arguments}")
    for key, processor in facts["pictures"].items():
        if processor:
            size = f", trained at {' × '.join(map(str, processor['size']))}" if processor.get("size") else ""
            lines.append(f"  pictures of {facts['domains'][key]}: {processor.get('num_channels')} channels{size}")
    also = {
        "variants": sorted(
            {part for name in facts["files"] for part in name.split(".")[1:-1] if part in ("fp16", "bf16")}
        ),
        "ONNX graphs": [name for name in facts["files"] if name.endswith(".onnx")],
        "discriminators": sorted({name.split("/")[0] for name in facts["files"] if name.startswith("discriminator_")}),
        "training state": ["yes"] if any(name.startswith("training_state/") for name in facts["files"]) else [],
    }
    lines += [f"  {what}: {', '.join(found)}" for what, found in also.items() if found]
    training = {key: value for key, value in facts["training"].items() if value is not None}
    lines += [f"  {key}: {_plain(value)}" for key, value in training.items()]
    metrics = facts["metrics"]
    for direction, title in (("a2b", f"{a} → {b}"), ("b2a", f"{b} → {a}")):
        if figures := {key: value for key, value in _mapping(metrics.get(direction)).items() if _is_number(value)}:
            lines.append(f"  {title}: {', '.join(f'{key} {_figure(value)}' for key, value in figures.items())}")
    if metrics.get("protocol"):
        lines.append(f"  measured: {_plain(metrics['protocol'])}")
    return "\n".join(lines)


class _Folder:
    """A pipeline on this machine."""

    commit = None

    def __init__(self, folder: Path, subfolder: str | None, title: str | None = None) -> None:
        self.title = title or str(folder)
        self.folder = folder / (subfolder or ".")
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder}: expected a pipeline's folder or a Hub id such as user/name, got neither")
        self.names = {
            path.relative_to(self.folder).as_posix()
            for pattern in ("*", "generator_*/*", "discriminator_*/*", "training_state/*")
            for path in self.folder.glob(pattern)
            if path.is_file()
        }

    def path(self, name: str) -> Path:
        return self.folder / name

    def tensors(self, name: str) -> dict[str, Any]:
        try:
            with safe_open(self.path(name), "numpy") as file:
                parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118, no mapping
                return {key: (part.get_dtype(), part.get_shape()) for key, part in parts.items()}
        except SafetensorError as error:
            raise ValueError(f"{self.path(name)} is a damaged safetensors file ({error})") from error


class _Repo:
    """A pipeline on the Hub; of the weights only their header is fetched."""

    def __init__(self, repo_id: str, revision: str | None, subfolder: str | None, token: str | None) -> None:
        self.title = repo_id
        self.prefix = f"{subfolder.strip('/')}/" if subfolder else ""
        self.token = token
        api = HfApi(token=token)
        try:
            info = ask_hub(lambda: api.model_info(repo_id, revision=revision), repo_id, revision=revision)
        except HubError as error:
            raise no_folder_either(error, repo_id) from error
        self.commit = info.sha
        names = [sibling.rfilename for sibling in info.siblings or []]
        self.names = {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}
        self._files = RepoFiles(repo_id, revision=info.sha, token=token)

    def path(self, name: str) -> Path:
        return self._files.get(self.prefix + name)

    def tensors(self, name: str) -> dict[str, Any]:
        where: dict[str, Any] = {"revision": self.commit, "token": self.token}
        found = ask_hub(
            lambda: parse_safetensors_file_metadata(self.title, self.prefix + name, **where),
            self.title,
            revision=self.commit,
        )
        return {key: (info.dtype, info.shape) for key, info in found.tensors.items()}


def _network(place: _Folder | _Repo, name: str) -> dict[str, Any]:
    """Return a generator's class, arguments, parameters and precision."""
    config = read_json(place.path(f"{name}/config.json"))
    weights = f"{name}/diffusion_pytorch_model.safetensors"
    tensors = place.tensors(weights) if weights in place.names else {}
    return {
        "class": config.get("_class_name"),
        "config": {key: value for key, value in config.items() if not key.startswith("_")},
        "values": sum(math.prod(shape) for _, shape in tensors.values()),
        "dtype": ", ".join(sorted({dtype for dtype, _ in tensors.values()})),
    }


def _recipe(path: Path) -> dict[str, Any]:
    """Return the settings that tell most."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a recipe in YAML ({one_line(error, 300)})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a recipe in YAML, got {type(content).__name__}")
    return {
        title: content[group].get(key)
        for title, (group, key) in _TRAINING.items()
        if isinstance(content.get(group), dict)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:g}"
    return str(value)


def _figure(value: float) -> str:
    return _plain(float(value)) if abs(value) >= 1000 else f"{value:.3g}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
