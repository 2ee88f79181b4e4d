"""A pipeline's files: finding the folder, reading a generator strictly, writing everything or nothing."""

import contextlib
import importlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub_download import RepoFiles
from cyclegan_hf.hub_errors import HubError
from cyclegan_hf.saved_files import INDEX_NAME, read_json


PRETRAINED_FOLDER = Path(__file__).parents[1] / "pretrained"
_MODELS_PACKAGE = "cyclegan_hf.models."
_QUOTED = 300  # characters of another library's message


def find_folder(
    model: str | os.PathLike[str] | None,
    component_names: list[str],
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    **hub: Any,
) -> Path:
    """Finds a saved pipeline: bundled, in a folder, or on the Hub (of which only the pipeline's files are fetched).

    Args:
        model: a folder, a Hub id (`"user/name"`), or `None` for the bundled weights.
        component_names: the sub-folders that hold weights.
        subfolder: where the pipeline is inside the folder or the repository.
        variant: of the weight files, such as `"fp16"`.
        **hub: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download` for the download.

    Returns:
        `Path`: a folder that holds `model_index.json`.

    Raises:
        ValueError: there is nothing of that name, it cannot be had, or it is no pipeline.
    """
    name = "the bundled weights" if model is None else os.fspath(model)
    if is_hub_id(model):
        return _fetch(name, component_names, subfolder, variant, RepoFiles(name, **hub))
    folder = (PRETRAINED_FOLDER if model is None else Path(name)) / (subfolder or ".")
    if not (folder / INDEX_NAME).is_file():
        official = ", but there are files of the official code: set `official`" if _official(folder) else ""
        raise ValueError(f"{name}: expected a saved pipeline, but there is no {INDEX_NAME} in {folder}{official}")
    return folder


def is_hub_id(model: str | os.PathLike[str] | None) -> bool:
    """Whether a model's name is an id on the Hub, and not a folder here.

    Raises:
        ValueError: it is neither.
    """
    if model is None or Path(name := os.fspath(model)).is_dir():
        return False
    if Path(name).exists():
        raise ValueError(f"{name}: expected a pipeline's folder or a Hub id, got a file")
    if isinstance(model, os.PathLike) or name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ValueError(f"{name}: expected a pipeline's folder or a Hub id such as user/name, found no such folder")
    return True


def weights_name(variant: str | None) -> str:
    """The name of a weight file."""
    return f"diffusion_pytorch_model{f'.{variant}' if variant else ''}.safetensors"


def _fetch(
    repo_id: str, component_names: list[str], subfolder: str | None, variant: str | None, files: RepoFiles
) -> Path:
    """A pipeline's folder in the cache, with the files that are needed to load it."""
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    try:
        index = files.get(prefix + INDEX_NAME)
    except HubError as error:
        unknown = isinstance(error.__cause__, LocalEntryNotFoundError) and error.__cause__.__cause__ is None
        if unknown or isinstance(error.__cause__, RepositoryNotFoundError):
            raise ValueError(f"{error}; nor is there a folder {repo_id} here") from error
        if not isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise
        raise ValueError(
            f"{repo_id}: expected a saved pipeline, but there is no {prefix}{INDEX_NAME} at revision "
            f"{files.asked or 'main'!r}; where it holds files of the official code (latest_net_G.pth), set `official`"
        ) from error
    content = read_json(index)
    for part in component_names:
        if content.get(part) in (None, [None, None]):
            continue
        for file in ("config.json", weights_name(variant)):
            files.get(f"{prefix}{part}/{file}")
    return index.parent


def _official(folder: Path) -> bool:
    return next(folder.glob("*_net_G*.pth"), None) is not None


def load_component(folder: Path, class_path: Any, variant: str | None, dtype: torch.dtype) -> Any:
    """Builds one of this library's models from its folder, in evaluation mode.

    diffusers' own loader imports whatever module the index names and only warns about tensors that are missing or left
    over; this one takes the library's models and accounts for every tensor.

    Args:
        folder: holds `config.json` and `diffusion_pytorch_model[.variant].safetensors`.
        class_path: [module, class], as `model_index.json` has it.
        variant: of the weight file, such as `"fp16"`.
        dtype: of the model, whatever the file holds.

    Raises:
        ValueError: a class that is not ours, settings that it does not have, or tensors that are missing, left over or
            of another shape.
    """
    match class_path:
        case [str(module_name), str(class_name)] if module_name.startswith(_MODELS_PACKAGE):
            pass
        case _:
            raise ValueError(f"{folder}: expected a model of `{_MODELS_PACKAGE}*`, got {class_path!r}")
    try:
        model_class = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError:
        model_class = None
    if not (isinstance(model_class, type) and issubclass(model_class, ModelMixin)):
        raise ValueError(f"{folder}: this version has no model `{module_name}.{class_name}`")
    weights = folder / weights_name(variant)
    if not weights.is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing"
        raise ValueError(f"{weights}: expected a safetensors file, found {found} in its folder")
    config = {key: value for key, value in read_json(folder / "config.json").items() if not key.startswith("_")}
    try:
        model = model_class(**config)
        model.load_state_dict(load_file(weights))  # copies, so that half-precision files give float32 models
    except (TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot load `{class_name}` ({one_line(error, _QUOTED)})") from error
    return cast(model, dtype=dtype).eval()


def cast(model: Any, **to: Any) -> Any:
    """`Module.to` as torch has it: diffusers 0.42's own warns at every change of dtype about an empty list."""
    return torch.nn.Module.to(model, **to)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a temporary folder whose files become `target`'s when the block ends well; otherwise nothing changes.

    A new target appears in one rename. In an existing one each file is replaced whole, `model_index.json` last, and
    other files stay.
    """
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: expected a folder to save to, got a file")
    home = target if target.is_dir() else target.parent
    temporary = home / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        mode = temporary.stat().st_mode & 0o666  # what the umask left of a new folder's rights
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(mode)  # safetensors lets nobody else read its files
        if home is not target:
            os.replace(temporary, target)
            return
        files = sorted(
            (path for path in temporary.rglob("*") if path.is_file()), key=lambda path: path.name == INDEX_NAME
        )
        for file in files:
            destination = target / file.relative_to(temporary)
            destination.parent.mkdir(exist_ok=True)
            os.replace(file, destination)
    except (OSError, SafetensorError) as error:  # a full disk is an OSError or, from the weights' writer, the other
        raise OSError(f"could not save to {target}: {one_line(error, _QUOTED)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
