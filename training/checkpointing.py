"""Checkpoints: a pipeline's folder plus `training_state/`, written whole or not at all.

```
checkpoint-<step>/
  model_index.json, generator_a2b/, generator_b2a/, README.md   the pipeline: averaged generators where EMA is on
  training_state/
    config.yaml                the resolved recipe
    run.json                   step, stream positions, versions, threads
    <network>.safetensors      the four networks as they train
    state.pt                   optimisers, EMA counts, scaler, pools, random numbers (read with `weights_only=True`)
```
"""

import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cyclegan_hf.pipelines.storage import whole_folder


logger = logging.getLogger(__name__)

STATE_FOLDER = "training_state"
CONFIG_NAME = "config.yaml"
RUN_NAME = "run.json"


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = []
    for folder in output_dir.glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if number.isdigit() and (folder / STATE_FOLDER / RUN_NAME).is_file():
            found.append((int(number), folder))
    return [folder for _, folder in sorted(found)]


def find_checkpoint(name: str, output_dir: Path) -> Path | None:
    """The folder that `--resume-from-checkpoint` means; `None` for `latest` where there is none yet.

    Raises:
        ValueError: If `name` is a path that is no complete checkpoint.
    """
    if name == "latest":
        folders = checkpoint_folders(output_dir)
        return folders[-1] if folders else None
    for folder in (Path(name), output_dir / name):
        if (folder / STATE_FOLDER / RUN_NAME).is_file():
            return folder
    raise ValueError(f"`--resume-from-checkpoint` must be 'latest' or a checkpoint's folder; {name} is none.")


def save_checkpoint(
    folder: Path,
    *,
    pipeline: Any,
    config: str,
    run: dict[str, Any],
    networks: dict[str, nn.Module],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint; it appears in one rename.

    Args:
        folder: Where to.
        pipeline: What has the checkpoint's `save_pretrained`.
        config: The resolved recipe as YAML.
        run: What `run.json` holds.
        networks: The networks as they train, by name.
        state: Everything else, in tensors and plain types.

    Raises:
        OSError: If it cannot be written (a full disk); nothing stays behind then.
        ValueError: If a weight is not finite: the checkpoint before this one is the last good one.
    """
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"`{name}.{key}` holds NaN or infinite values: this step is not saved.")
    if folder.exists():  # left by a run that was resumed from an earlier step
        shutil.rmtree(folder)
    with whole_folder(folder) as temporary:
        pipeline.save_pretrained(temporary)
        home = temporary / STATE_FOLDER
        home.mkdir()
        (home / CONFIG_NAME).write_text(config, encoding="utf-8")
        for name, network in networks.items():
            tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
            save_file(tensors, home / f"{name}.safetensors")
        torch.save(state, home / "state.pt")
        (home / RUN_NAME).write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path, networks: dict[str, nn.Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the networks in place; returns what `save_checkpoint` got as `run` and `state`."""
    home = folder / STATE_FOLDER
    for name, network in networks.items():
        network.load_state_dict(load_file(home / f"{name}.safetensors"))
    run = json.loads((home / RUN_NAME).read_text(encoding="utf-8"))
    return run, torch.load(home / "state.pt", weights_only=True, map_location="cpu")


def rotate(output_dir: Path, limit: int | None) -> None:
    """Remove the oldest checkpoints until `limit` remain."""
    folders = checkpoint_folders(output_dir)
    for folder in folders[: len(folders) - limit] if limit is not None else []:
        logger.info("Removing %s: `--checkpoints-total-limit` is %d.", folder.name, limit)
        shutil.rmtree(folder)


def random_state() -> dict[str, Any]:
    """The state of every random number generator of this process, in tensors and plain types."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [str(name), torch.from_numpy(keys.copy()), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Take over a `random_state`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
