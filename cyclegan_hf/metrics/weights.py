"""Published weights of feature networks, read from a file without running anything in it."""

import hashlib
import pickle
from pathlib import Path

import torch

from cyclegan_hf.saved_format import GENERATORS


"""The parts of a pipeline that have weights."""


def read_weights(path: str | Path, expected: str) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file that torch saved.

    Args:
        path: The file.
        expected: What it should hold, for messages.

    Raises:
        ValueError: If there is no such file, or it holds something else than tensors.
    """
    if not Path(path).is_file():
        raise ValueError(f"Expected {expected} at {path}, found no file.")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"Expected {expected} at {path}, which torch cannot read as weights.") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(f"Expected {expected} at {path}, found something else than tensors by name.")
    return weights


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_hashes(folder: str | Path) -> dict[str, str]:
    """Return the first characters of the SHA-256 of each generator of a saved pipeline that exists."""
    files = {name: Path(folder, name, "diffusion_pytorch_model.safetensors") for name in GENERATORS}
    return {name: file_hash(file)[:16] for name, file in files.items() if file.is_file()}
