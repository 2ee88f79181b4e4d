"""The small files of a saved pipeline, read without torch."""

import json
from pathlib import Path
from typing import Any

from cyclegan_hf.errors import one_line


INDEX_NAME = "model_index.json"
_QUOTED = 300  # characters of the parser's message


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

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
