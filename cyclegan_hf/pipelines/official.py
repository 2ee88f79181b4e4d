"""Generators of the official code (`latest_net_G_A.pth` and its like), from a folder or the Hub."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from cyclegan_hf.hub.download import RepoFiles
from cyclegan_hf.hub.errors import HubError, no_folder_either
from cyclegan_hf.hub.locate import is_model_on_hub
from cyclegan_hf.official.networks import convert_networks, roles
from cyclegan_hf.pipelines.storage import cast


logger = logging.getLogger(__name__)

_NAMES = ("G_A", "G_B", "G")


def official_arguments(
    model: str | os.PathLike[str] | None,
    dtype: torch.dtype | None,
    *,
    subfolder: str | None,
    variant: str | None,
    batch_statistics: bool = False,
    **hub: Any,
) -> dict[str, Any]:
    """Find official weight files and convert them in memory.

    G_A and G_B make both directions; without them, G (the official code's export of one direction) makes `"a2b"`. Of
    several epochs, `latest` is taken. Each network is compared with the official one: see `official.networks`.

    Args:
        model: A folder, or a Hub id.
        dtype: Of the generators; `None` is float32.
        subfolder: Where the files are in it.
        variant: Only `None`: such files have no variants.
        batch_statistics: Use each picture's own statistics in batch norms; see [`map_official_state_dict`].
        **hub: See [`RepoFiles`].

    Returns:
        The generators and image processors, as arguments of a pipeline.

    Raises:
        ValueError: There are no such files, or they are not what they should be.
    """
    if variant is not None:
        raise ValueError(f"files of the official code have no variants: leave `variant` {variant!r} out")
    if model is None:
        raise ValueError("`official` needs a folder or a Hub id; the bundled weights are in this library's own format")
    generators, _ = find_official(model, subfolder=subfolder, **hub)
    if not generators:
        raise ValueError(
            f"{os.fspath(model)}: expected files of the official code such as latest_net_G_A.pth or latest_net_G.pth"
            f"{f' in {subfolder}' if subfolder else ''}, found none"
        )
    converted = convert_networks(roles(generators, (), None), batch_statistics=batch_statistics)
    if converted.stored_statistics:
        logger.warning(
            "%s: batch norm translates with the stored statistics, as the official test.py does with --eval; "
            "`batch_statistics` (--batch-statistics) uses each picture's own, as without --eval",
            os.fspath(model),
        )
    arguments, dtype = converted.pipeline_arguments(), dtype or torch.float32
    return {
        key: cast(value, dtype=dtype) if key.startswith("generator") else value for key, value in arguments.items()
    }


def find_official(
    model: str | os.PathLike[str], *, subfolder: str | None = None, **hub: Any
) -> tuple[list[Path], str | None]:
    """Find the official code's generators: G_A and G_B, or otherwise G.

    Args:
        model: A folder, or a Hub id.
        subfolder: Where the files are in it.
        **hub: See [`RepoFiles`].

    Returns:
        Their files, none where there are none, and on the Hub the commit that they are of.

    Raises:
        ValueError: The model cannot be had, or has several files of a network and none is the latest.
    """
    name, prefix = os.fspath(model), f"{subfolder.strip('/')}/" if subfolder else ""
    commit = None
    if is_model_on_hub(model):
        repo = RepoFiles(name, **hub)
        try:
            found = repo.find(*(f"{prefix}*_net_{key}.pth" for key in _NAMES))
        except HubError as error:
            raise no_folder_either(error, name) from error
        files, commit = {PurePosixPath(path).name: file for path, file in found.items()}, repo.commit
    else:
        files = {file.name: file for file in (Path(name) / prefix).glob("*_net_G*.pth")}
    chosen = {key: _newest(name, key, files) for key in _NAMES}
    both = [file for file in (chosen["G_A"], chosen["G_B"]) if file]
    return both or [file for file in [chosen["G"]] if file], commit


def _newest(name: str, key: str, files: dict[str, Path]) -> Path | None:
    """Return the one file of a network: the only one, or `latest`."""
    found = {file: path for file, path in files.items() if file.endswith(f"_net_{key}.pth")}
    if len(found) > 1 and f"latest_net_{key}.pth" not in found:
        raise ValueError(f"{name}: expected one {key} or a latest_net_{key}.pth, found {', '.join(sorted(found))}")
    return found.get(f"latest_net_{key}.pth") or next(iter(found.values()), None)
