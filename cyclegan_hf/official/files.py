"""Weight files that others wrote: read without running anything in them, or refused by name."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cyclegan_hf.official.pickles import pickled_objects
from cyclegan_hf.regular_files import is_regular_file


_EXPECTED = "expected a PyTorch file of an official CycleGAN network, such as latest_net_G_A.pth"

_WRAPPERS = ("state_dict", "model_state_dict", "params_ema", "params", "model", "netG", "generator", "net")
"""Entries under which training scripts keep a network's state dict, beside an epoch or an optimizer's state."""

# How files begin that people take for PyTorch's.
_SIGNATURES = {
    rb"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes it",
    rb"\x93NUMPY": "a NumPy array (npy)",
    rb"\x08[\x01-\x1f]\x12.[\w.-]{2}": "an ONNX graph",
    rb".{4}TFL3": "a TensorFlow Lite model",
    rb"GGUF": "a GGUF file",
    rb"\x1f\x8b": "a gzip archive, to be unpacked first",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive, to be unpacked first",
    rb"Rar!\x1a\x07": "a RAR archive, to be unpacked first",
    rb".{257}ustar": "a tar archive, to be unpacked first",
    rb"%PDF-": "a PDF document",
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8|RIFF.{4}WEBP": "a picture",
}


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a file that holds one dictionary of tensors: `.pth` of any age, or safetensors.

    Pickles are read with `weights_only=True`: tensors and plain containers, never code. A state dict may lie under a
    name of its own, as in `{"state_dict": …, "epoch": 5}`.

    Args:
        path: The file.

    Returns:
        The tensors by their names in the file, on the CPU, in the file's dtypes.

    Raises:
        ValueError: Anything else; one line that says what the file is.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file; {_EXPECTED}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; {_EXPECTED}.")
    if not is_regular_file(path):  # reading a pipe or a device may never end
        raise ValueError(f"{path} is not a regular file but a pipe, socket or device; {_EXPECTED}.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError(f"{path} is empty; {_EXPECTED}.")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer, expected the weights it stands for: `git lfs pull` gets them.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ValueError(f"{path} is a web page (HTML or XML), probably a download's error page; {_EXPECTED}.")
    for signature, name in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            raise ValueError(f"{path} is {name}; {_EXPECTED}.")
    text = _as_text(head)
    if text.startswith(("{", "[")):
        raise ValueError(f"{path} is JSON, often a download's error message, {text!r}; {_EXPECTED}.")
    if head[8:9] == b"{":
        return _checked(path, _read_safetensors(path))
    try:
        return _checked(path, _read_pickle(path, is_zip=head.startswith(b"PK")))
    except _UnknownFormatError as error:
        what = f"a text that begins {text!r}" if text else "of no known weight format"
        raise ValueError(f"{path} is {what}; {_EXPECTED}.") from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _UnknownFormatError(Exception):
    """Not PyTorch's, and not known by its first bytes."""


def _as_text(head: bytes) -> str:
    """Return the beginning of a text on one line; empty for binary data."""
    return "" if re.search(rb"[\x00-\x08\x0e-\x1f]", head) else " ".join(head.decode(errors="replace").split())[:60]


def _zip_kind(path: Path) -> str:
    """Describe a zip archive that PyTorch didn't write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a zip archive that PyTorch cannot read, truncated or of another kind"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (npz)"
    if "model.weights.h5" in names:
        return "a Keras archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a damaged PyTorch file"
    return "a zip archive that PyTorch did not write"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is a damaged safetensors file ({error}); {_EXPECTED}.") from error


def _read_pickle(path: Path, is_zip: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on old protocols and TorchScript: answered below where it matters
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the unpickler raises whatever the bytes lead it into
        message = str(error)
        objects = re.findall(r"GLOBAL (?!torch.storage._load_from_bytes)([\w.]+)", message) or pickled_objects(path)
        if objects and "TorchScript" not in message:
            raise ValueError(
                f"{path} holds code: pickled Python objects (`{objects[0]}`). It was not loaded, and nothing in it "
                "was run; expected a plain `state_dict` of tensors."
            ) from error
        if "torch.storage._load_from_bytes" in message or (is_zip and "Unsupported operand" in message):
            raise ValueError(
                f"{path} is pickled in a form that cannot be read safely; save it again with "
                "`torch.save(state_dict, path)`."
            ) from error
        if "TorchScript" in message:
            raise ValueError(f"{path} is a TorchScript program; expected a plain `state_dict` of tensors.") from error
        if is_zip:
            raise ValueError(f"{path} is {_zip_kind(path)}; {_EXPECTED}.") from error
        if isinstance(error, EOFError) or "unexpected EOF" in message:
            raise ValueError(f"{path} is truncated; {_EXPECTED}.") from error
        raise _UnknownFormatError from error


def _checked(path: Path, content: Any) -> dict[str, torch.Tensor]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a `state_dict`, a dictionary of tensors.")
    content = _unwrapped(content)
    if not content:
        raise ValueError(f"{path} holds no tensors; {_EXPECTED}.")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            entries = ", ".join(repr(key)[:60] for key in list(content)[:4])
            raise ValueError(
                f"{path} is a checkpoint of another framework (mmagic, Lightning or the like) with the entries "
                f"{entries}; expected a plain `state_dict`, names and tensors only."
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f"{path}: {name!r} is sparse, quantised or without data; expected a dense tensor.")
    return {name: value.detach() for name, value in content.items()}


def _unwrapped(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the state dict inside a training checkpoint, at most two levels down; otherwise the content itself."""
    for _ in range(2):
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping) and content[name]]
        if len(inner) != 1:
            break
        content = inner[0]
    return content
