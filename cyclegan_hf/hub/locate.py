"""Find a saved pipeline: bundled, in a folder, or on the Hub. Needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan_hf.hub.ids import has_id_form
from cyclegan_hf.saved_format import (
    GRAPH_NAME,
    INDEX_NAME,
    PRETRAINED_FOLDER,
    holds_component,
    read_json,
    weights_name,
)


if TYPE_CHECKING:
    from cyclegan_hf.hub.download import RepoFiles

_WEIGHT_FILES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".h5")


def find_folder(
    model: str | os.PathLike[str] | None,
    component_names: list[str],
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    graphs: bool = False,
    **hub: Any,
) -> Path:
    """Find a saved pipeline: bundled, in a folder, or on the Hub (only the pipeline's files are downloaded).

    Args:
        model: a folder, a Hub id (`"user/name"`), or `None` for the bundled weights.
        component_names: the sub-folders that hold weights.
        subfolder: where the pipeline is inside the folder or the repository.
        variant: of the weight files, such as `"fp16"`.
        graphs: whether the exported graphs are wanted too, where there are any.
        **hub: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download` for the download.

    Returns:
        `Path`: a folder that holds `model_index.json`.

    Raises:
        ValueError: there is nothing of that name, it cannot be had, or it is no pipeline.
    """
    name = "the bundled weights" if model is None else os.fspath(model)
    if is_model_on_hub(model):
        from cyclegan_hf.hub.download import RepoFiles

        return _fetch(name, component_names, subfolder, variant, graphs, RepoFiles(name, **hub))
    folder = (PRETRAINED_FOLDER if model is None else Path(name)) / (subfolder or ".")
    if not (folder / INDEX_NAME).is_file():
        official = ", but there are files of the official code: set `official`" if _official(folder) else ""
        raise ValueError(f"{name}: expected a saved pipeline, but there is no {INDEX_NAME} in {folder}{official}")
    return folder


def is_model_on_hub(model: str | os.PathLike[str] | None) -> bool:
    """Return whether a model's name is an id on the Hub, and not a folder here.

    Raises:
        ValueError: it is neither.
    """
    if model is None or Path(name := os.fspath(model)).is_dir():
        return False
    if Path(name).suffix in _WEIGHT_FILES:
        what = "got a file" if Path(name).exists() else "and there is no such file"
        raise ValueError(
            f"{name}: expected a pipeline's folder or a Hub id, {what}; weights of the official code are converted "
            "with `cyclegan-hf convert FILE --output FOLDER`, or read where they are with `--official` "
            "(`official=True`) and their folder"
        )
    if Path(name).exists():
        raise ValueError(f"{name}: expected a pipeline's folder or a Hub id, got a file")
    if isinstance(model, os.PathLike) or not has_id_form(name):
        raise ValueError(f"{name}: expected a pipeline's folder or a Hub id such as user/name, found no such folder")
    return True


def _fetch(
    repo_id: str,
    component_names: list[str],
    subfolder: str | None,
    variant: str | None,
    graphs: bool,
    files: RepoFiles,
) -> Path:
    """Return a pipeline's folder in the cache with the files needed to load it."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    from cyclegan_hf.hub.errors import HubError, no_folder_either

    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    try:
        index = files.get(prefix + INDEX_NAME)
    except HubError as error:
        if not isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise no_folder_either(error, repo_id) from error
        raise ValueError(
            f"{repo_id}: expected a saved pipeline, but there is no {prefix}{INDEX_NAME} at revision "
            f"{files.asked or 'main'!r}; where it holds files of the official code (latest_net_G.pth), set `official`"
        ) from error
    content = read_json(index)
    for part in component_names:
        if not holds_component(content, part):
            continue
        for file in ("config.json", weights_name(variant), *([GRAPH_NAME] if graphs else [])):
            if file == GRAPH_NAME and files.is_known_to_lack(f"{prefix}{part}/{file}"):
                continue
            try:
                files.get(f"{prefix}{part}/{file}")
            except HubError as error:
                # Without a connection only the cache answers: where it has the weights and no graph, they will do.
                missing = (RemoteEntryNotFoundError, LocalEntryNotFoundError)
                if file != GRAPH_NAME or not isinstance(error.__cause__, missing):
                    raise
    return index.parent


def _official(folder: Path) -> bool:
    return next(folder.glob("*_net_G*.pth"), None) is not None
