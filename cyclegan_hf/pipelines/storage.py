"""A pipeline's saved settings and generators, read strictly."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file

from cyclegan_hf.errors import one_line
from cyclegan_hf.models.building import check_against_weights, read_shapes
from cyclegan_hf.saved_format import CUSTOM_PIPELINE, GENERATORS, INDEX_NAME, holds_component, read_json, weights_name


_CUSTOM_PIPELINE = '''"""For `DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` of diffusers.

No foreign code is needed with `pip install cyclegan_hf`:
`from cyclegan_hf import {0}; {0}.from_pretrained(...)`.
"""

from cyclegan_hf import {0} as {0}
'''
_MODELS_PACKAGE = "cyclegan_hf.models."
_QUOTED = 300  # characters of another library's message


def load_settings(
    folder: Path,
    class_name: str,
    arguments: Sequence[str],
    generators: Sequence[str],
    variant: str | None,
    dtype: torch.dtype | None,
) -> dict[str, Any]:
    """Return the constructor's arguments out of a pipeline's saved folder.

    Args:
        folder: Holds `model_index.json`.
        class_name: The pipeline's class.
        arguments: Those that it takes.
        generators: The generators to load; others are left out.
        variant: Of the weight files, such as `"fp16"`.
        dtype: Of the generators; `None` takes the files'.

    Raises:
        ValueError: It is another class's folder, has settings of a later version, or a generator cannot be loaded.
    """
    index = read_json(folder / INDEX_NAME)
    saved = index.get("_class_name")
    if (saved[-1] if isinstance(saved, list) and saved else saved) != class_name:
        raise ValueError(f"{folder}: expected a saved {class_name}, got {saved!r}")
    settings: dict[str, Any] = {}
    for key, value in index.items():
        if key in GENERATORS:
            absent = key not in generators or not holds_component(index, key)
            settings[key] = None if absent else load_component(folder / key, value, variant, dtype)
        elif key in arguments:
            settings[key] = value
        elif not key.startswith("_"):
            raise ValueError(f"{folder / INDEX_NAME}: this version does not know the setting `{key}`")
    return settings


def load_component(folder: Path, class_path: Any, variant: str | None, dtype: torch.dtype | None) -> Any:
    """Build one of this library's models from its folder, in evaluation mode.

    diffusers' own loader imports whatever module the index names and only warns about tensors that are missing or left
    over; this one takes the library's models and accounts for every tensor.

    Args:
        folder: holds `config.json` and `diffusion_pytorch_model[.variant].safetensors`.
        class_path: [module, class], as `model_index.json` has it.
        variant: of the weight file, such as `"fp16"`.
        dtype: of the model, whatever the file holds; `None` takes the file's.

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
        check_against_weights(model_class, config, read_shapes(weights))
        model = model_class(**config)
        tensors = load_file(weights)
        model.load_state_dict(tensors)  # copies, so that half-precision files give float32 models
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot load `{class_name}` ({one_line(error, _QUOTED)})") from error
    stored = next((tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()), None)
    return cast(model, dtype=dtype or stored or torch.float32).eval()


def name_custom_pipeline(folder: Path, class_name: str) -> None:
    """Add what diffusers' `DiffusionPipeline` needs to find a pipeline's class to a saved folder."""
    (folder / f"{CUSTOM_PIPELINE}.py").write_text(_CUSTOM_PIPELINE.format(class_name), encoding="utf-8")
    index = read_json(folder / INDEX_NAME) | {"_class_name": [CUSTOM_PIPELINE, class_name]}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def cast(model: Any, **to: Any) -> Any:
    """Call torch's `Module.to`: diffusers 0.42's own warns at every change of dtype about an empty list."""
    return torch.nn.Module.to(model, **to)
