"""The pictures that come with the page, and their translations.

`examples/<domain>/*.jpg` are the pictures. `examples/results/` has their translations by the bundled weights, which
`examples/make_results.py` writes. For other weights the page computes them when it starts. All of this is data: other
pictures need no other code.
"""

import hashlib
import json
import logging
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoints import Checkpoint
from PIL import Image
from settings import FILES, HERE


logger = logging.getLogger(__name__)

EXAMPLES = HERE / "examples"
MANIFEST = "results.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
THUMBNAIL = (240, 180)
COMPUTED = Path(tempfile.mkdtemp(prefix="examples-", dir=FILES.name))  # goes with the page


@dataclass(frozen=True)
class Example:
    """A picture that comes with the page.

    Attributes:
        path: its file.
        direction: in which it is translated.
    """

    path: Path
    direction: str

    @property
    def key(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


def examples_of(checkpoint: Checkpoint, folder: Path = EXAMPLES) -> list[Example]:
    """Return the pictures of a model's domains; the first one opens the page."""
    found = [
        Example(path, direction)
        for direction, (source, _) in checkpoint.domains.items()
        for path in sorted((folder / source).glob("*.jpg"))
    ]
    opening = manifest(folder).get("opening")
    return sorted(found, key=lambda example: example.key != opening)


def manifest(folder: Path = EXAMPLES) -> dict[str, Any]:
    """Return what `results/` was made from: `opening`, and the digests of `weights` and `pictures`."""
    path = folder / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def weights_digests(folder: Path) -> dict[str, str]:
    """Return the digests of a pipeline's weight files, by the names of the generators."""
    return {path.parent.name: digest(path) for path in sorted(folder.glob(f"generator_*/{WEIGHTS_NAME}"))}


def shipped_result(example: Example, weights: Path, folder: Path = EXAMPLES) -> Path | None:
    """Return the translation of an example that was made with just these weights; `None` if there is none."""
    made = manifest(folder)
    result = folder / "results" / f"{example.key}.jpg"
    current = (
        made.get("weights") == weights_digests(weights)
        and made.get("pictures", {}).get(example.key) == digest(example.path)
        and result.is_file()
    )
    return result if current else None


class ExampleResults:
    """The translations of the examples, by all models of the page.

    Args:
        shelf: the models.
    """

    def __init__(self, shelf: Any) -> None:
        self._shelf = shelf
        self._results: dict[tuple[str, str], Path] = {}
        self._lock = threading.Lock()

    def ready(self, checkpoint: Checkpoint, example: Example) -> Path | None:
        """Return a translation that is there already."""
        key = checkpoint.name, example.key
        if key not in self._results and (folder := checkpoint.weights_folder) is not None:
            result = shipped_result(example, folder)
            if result is not None:
                self._results[key] = result
        return self._results.get(key)

    def result(self, checkpoint: Checkpoint, example: Example) -> Path:
        """Return an example's translation, and compute it if need be.

        Raises:
            Refusal: the model failed.
        """
        with self._lock:
            if (result := self.ready(checkpoint, example)) is None:
                result = COMPUTED / hashlib.sha256(checkpoint.name.encode()).hexdigest()[:16] / f"{example.key}.jpg"
                result.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(example.path) as picture:
                    ((translation,),) = self._shelf.translate(checkpoint, [picture.copy()], example.direction)
                save_result(translation, result)
                self._results[checkpoint.name, example.key] = result
            return result

    def compute_all(self, checkpoint: Checkpoint) -> None:
        """Compute what is missing, while the first visitors still look at the page."""
        for example in examples_of(checkpoint):
            self.result(checkpoint, example)

    def thumbnail(self, checkpoint: Checkpoint, example: Example) -> Path:
        """Return a small picture: the example on the left and, once it is there, its translation on the right."""
        result = self.ready(checkpoint, example)
        state = "pair" if result else "plain"
        name = hashlib.sha256(checkpoint.name.encode()).hexdigest()[:8]
        path = COMPUTED / "thumbnails" / name / state / f"{example.key}.jpg"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            small(example.path, result).save(path, quality=85)
        return path


def save_result(translation: Image.Image, path: Path) -> None:
    """Write an example's translation as the page shows it."""
    translation.convert("RGB").save(path, quality=90, subsampling=0)


def small(before: Path, after: Path | None) -> Image.Image:
    """Return a thumbnail, split down the middle where there are two pictures."""
    with Image.open(before) as picture:
        whole = picture.convert("RGB").resize(THUMBNAIL)
    if after is not None:
        width, height = THUMBNAIL
        with Image.open(after) as picture:
            right = picture.convert("RGB").resize(THUMBNAIL).crop((width // 2, 0, width, height))
        whole.paste(right, (width // 2, 0))
        whole.paste("white", (width // 2 - 1, 0, width // 2 + 1, height))
    return whole
