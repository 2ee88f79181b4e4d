"""Checkpoints: a pipeline's folder plus `training_state/`, written whole or not at all. `best/` is one too.

```
checkpoint-<step>/
  model_index.json, generator_a2b/, generator_b2a/, README.md   the pipeline: averaged generators where EMA is on
  training_state/
    config.yaml                the resolved recipe
    run.json                   step, stream positions, versions, threads
    <network>.safetensors      the four networks as they train
    state.pt                   optimisers, EMA counts, scaler; of every process its pools, random numbers and networks'
                               buffers (read with `weights_only=True`)
```
"""

import io
import json
import logging
import math
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import distributed, nn

from cyclegan_hf.atomic import put_in_place, whole_folder
from cyclegan_hf.errors import one_line
from cyclegan_hf.metrics.weights import weight_hashes
from cyclegan_hf.saved_format import CONFIG_NAME, RUN_NAME, STATE_FOLDER


logger = logging.getLogger(__name__)

METRICS_NAME = "metrics.json"
BEST_FOLDER = "best"
STAGES_NAME = "stages.yaml"  # the resolved recipe of a run in stages, whose checkpoints lie in its stages' folders


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    found = []
    for folder in output_dir.glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if number.isdigit() and (folder / STATE_FOLDER / RUN_NAME).is_file():
            found.append((int(number), folder))
    return [folder for _, folder in sorted(found)]


def find_checkpoint(name: str, output_dir: Path) -> Path | None:
    """Return the folder that `--resume-from-checkpoint` means; `None` for `latest` and `auto` where there is none yet.

    Raises:
        ValueError: If `name` is a path that is no complete checkpoint.
    """
    if name in ("latest", "auto"):
        folders = checkpoint_folders(output_dir)
        return folders[-1] if folders else None
    for folder in (Path(name), output_dir / name):
        if (folder / STATE_FOLDER / RUN_NAME).is_file():
            return folder
    raise ValueError(f"`--resume-from-checkpoint` must be 'latest', 'auto' or a checkpoint's folder; {name} is none.")


def save_checkpoint(
    folder: Path,
    *,
    pipeline: Any,
    config: str,
    run: dict[str, Any],
    networks: dict[str, nn.Module],
    state: dict[str, Any],
    metrics: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint; it appears in one rename, and takes the place of an earlier one of that name whole.

    Args:
        folder: Where to.
        pipeline: What has the checkpoint's `save_pretrained`.
        config: The resolved recipe as YAML.
        run: What `run.json` holds.
        networks: The networks as they train, by name.
        state: Everything else, in tensors and plain types.
        metrics: What its `metrics.json` holds, besides the weights' hashes; unset, it has none.

    Raises:
        OSError: If it cannot be written (a full disk); nothing stays behind then.
        ValueError: If a weight is not finite: the checkpoint before this one is the last good one.
    """
    check_finite(networks)
    fresh = folder.with_name(f".{folder.name}.fresh.tmp") if folder.exists() else folder
    with whole_folder(fresh) as temporary:
        pipeline.save_pretrained(temporary)
        home = temporary / STATE_FOLDER
        home.mkdir()
        (home / CONFIG_NAME).write_text(config, encoding="utf-8")
        for name, network in networks.items():
            tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
            save_file(tensors, home / f"{name}.safetensors")
        buffer = io.BytesIO()  # torch's own writer says "unexpected pos" of a full disk
        torch.save(state, buffer)
        (home / "state.pt").write_bytes(buffer.getbuffer())
        (home / RUN_NAME).write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        if metrics is not None:
            told = json.dumps(with_hashes(metrics, temporary), indent=2)
            (temporary / METRICS_NAME).write_text(told + "\n", encoding="utf-8")
        _to_disk(temporary)
    if fresh is not folder:  # the old one goes when the new one is whole
        put_in_place(fresh, folder)


def with_hashes(metrics: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content of a `metrics.json` with the hashes of the weights beside it added to its protocol.

    Args:
        metrics: From `cyclegan_hf.training.record.run_report.metrics_document`.
        folder: Holds the saved pipeline.
    """
    if "protocol" not in metrics:
        return metrics
    protocol = metrics["protocol"]
    model = protocol["model"] | {"sha256": weight_hashes(folder)}
    return metrics | {"protocol": protocol | {"model": model}}


def _to_disk(folder: Path) -> None:
    """Wait until a folder's files are on the disk: after a power cut, one that has its name is whole."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() and os.name != "posix":  # Windows has no way to do it for folders
            continue
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_finite(networks: dict[str, nn.Module]) -> None:
    """Refuse weights that are not to be saved.

    Raises:
        ValueError: If one is not finite; the message names the tensor.
    """
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"`{name}.{key}` holds NaN or infinite values: this step is not saved.")


def finite_numbers(values: dict[str, torch.Tensor], step: int, output_dir: Path) -> dict[str, float]:
    """Return a step's losses and terms as numbers.

    Raises:
        FloatingPointError: If one is NaN or infinite; the message names it and the last checkpoint.
    """
    numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
    wrong = [f"{name} = {number}" for name, number in numbers.items() if not math.isfinite(number)]
    if wrong:
        kept = checkpoint_folders(output_dir)
        last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise FloatingPointError(f"Step {step}: {', '.join(wrong)}; stopped, {last}.")
    return numbers


def load_checkpoint(folder: Path, networks: dict[str, nn.Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the networks in place; returns what `save_checkpoint` got as `run` and `state`.

    Raises:
        ValueError: If a file is missing or damaged, or does not fit the networks.
    """
    home = folder / STATE_FOLDER
    try:
        for name, network in networks.items():
            network.load_state_dict(load_file(home / f"{name}.safetensors"))
        run = json.loads((home / RUN_NAME).read_text(encoding="utf-8"))
        state = torch.load(home / "state.pt", weights_only=True, map_location="cpu")
        _check_entries(RUN_NAME, run, _RUN_ENTRIES)
        _check_entries("state.pt", state, _STATE_ENTRIES)
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder} cannot be resumed from: {one_line(error, 300)}") from error
    return run, state


_RUN_ENTRIES = {"step": int, "seconds": (int, float), "positions": dict, "pictures": dict}
_STATE_ENTRIES = {"step": dict, "ema": list, "scaler": object, "plateau": object, "processes": list}


def _check_entries(name: str, content: Any, entries: dict[str, Any]) -> None:
    """Refuse a file of a checkpoint that parses and is not what a run has written."""
    if not isinstance(content, dict):
        raise ValueError(f"expected entries in {name}, got {type(content).__name__}")
    for key, kind in entries.items():
        if key not in content or not isinstance(content[key], kind):
            raise ValueError(f"{name} has no valid `{key}`")


def rotate(output_dir: Path, limit: int | None) -> None:
    """Remove the oldest checkpoints until `limit` remain."""
    folders = checkpoint_folders(output_dir)
    for folder in folders[: max(0, len(folders) - limit)] if limit is not None else []:
        logger.info("Removing %s: `--checkpoints-total-limit` is %d.", folder.name, limit)
        hidden = folder.with_name(f".{folder.name}.tmp")  # a kill in between leaves no half of a checkpoint
        folder.rename(hidden)
        shutil.rmtree(hidden)


def remove_leftovers(output_dir: Path, begins: bool = False) -> None:
    """Remove the temporary folders of a run that was killed while it saved.

    Args:
        output_dir: The run's folder.
        begins: The run starts from nothing: the best of one that was killed before its first checkpoint goes too.
    """
    best, fresh = output_dir / BEST_FOLDER, output_dir / f".{BEST_FOLDER}.fresh.tmp"
    if fresh.exists() and not best.exists():  # killed when the old one had gone and the new one had not come
        fresh.rename(best)
    if begins and best.exists():
        shutil.rmtree(best)
    for pattern in (
        ".checkpoint-*.tmp",
        ".push-*.tmp",
        f".{BEST_FOLDER}.*.tmp",
        f"..{BEST_FOLDER}.*.tmp",
        f".{output_dir.name}.*.tmp",
    ):
        for folder in output_dir.glob(pattern):
            shutil.rmtree(folder)


def of_all_processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Every process's `state`, in the order of their ranks, for the main process; elsewhere nothing.

    Args:
        state: This process's, in tensors and plain types.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    buffer = io.BytesIO()  # bytes: a tensor would arrive on the device that it left
    torch.save(state, buffer)
    main = distributed.get_rank() == 0
    gathered: list[Any] | None = [None] * distributed.get_world_size() if main else None
    distributed.gather_object(buffer.getvalue(), gathered)
    return [torch.load(io.BytesIO(one), weights_only=True, map_location="cpu") for one in gathered or []]


def random_state() -> dict[str, Any]:
    """Return the state of every random number generator of this process, in tensors and plain types."""
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
