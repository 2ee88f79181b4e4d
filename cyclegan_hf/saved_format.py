"""The files of a saved pipeline and of a checkpoint: their names, and the small ones read without torch.

```
README.md, model_index.json, pipeline.py, grid-*.jpg
recipe.yaml, training.json, metrics.json, report.md, conversion.json
generator_a2b/, generator_b2a/     config.json, diffusion_pytorch_model[.fp16|.bf16].safetensors, model.onnx, model.xml
discriminator_a/, discriminator_b/ in a converted or pushed pipeline, on request
training_state/                    in a checkpoint: what training needs to go on
```
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan_hf.errors import one_line


PRETRAINED_FOLDER = Path(__file__).parent / "pretrained"
INDEX_NAME = "model_index.json"
GRAPH_NAME = "model.onnx"
OPENVINO_NAME = "model.xml"
CUSTOM_PIPELINE = "pipeline"
"""The name, without `.py`, of the file in a saved folder by which diffusers finds the pipeline's class."""

GENERATORS = ("generator_a2b", "generator_b2a")
DISCRIMINATORS = ("discriminator_a", "discriminator_b")

RECORDS = ("recipe.yaml", "training.json", "metrics.json", "report.md", "conversion.json")
GRIDS = ("grid*.jpg", "grid*.png", "grid*.webp")

STATE_FOLDER = "training_state"
CONFIG_NAME = "config.yaml"
"""The resolved recipe, in `training_state/`."""
RUN_NAME = "run.json"
"""In `training_state/`, of a complete checkpoint only."""

REPLACED = [f"{part}/*" for part in (*GENERATORS, *DISCRIMINATORS, STATE_FOLDER)] + [*RECORDS, *GRIDS, "pipeline.py"]
"""Files of an earlier push that would not belong to new weights."""

_QUOTED = 300  # characters of the parser's message


def weights_name(variant: str | None) -> str:
    """Return the name of a weight file of a variant such as `"fp16"`, or of the default weights."""
    return f"diffusion_pytorch_model{f'.{variant}' if variant else ''}.safetensors"


def holds_component(index: Mapping[str, Any], name: str) -> bool:
    """Return whether a `model_index.json` names a model for a component: diffusers writes `[null, null]` for none."""
    return index.get(name) not in (None, [None, None])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: it is none.
    """
    if path.exists() and not path.is_file():  # reading a pipe or a device may never end
        raise ValueError(f"{path}: expected a JSON file, got a folder, pipe or device")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last: brackets, nested by the thousand
        raise ValueError(f"{path}: expected a JSON file ({one_line(error, _QUOTED)})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content
