"""The pictures that come with the page, and their translations by the bundled weights.

`examples/<domain>/*.jpg` are the pictures. `examples/results/` has their translations, which
`examples/make_results.py` writes. All of this is data: other pictures need no other code.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cyclegan_hf.images.formats import open_header


EXAMPLES = Path(__file__).resolve().parent / "examples"
MANIFEST = "results.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
THUMBNAIL = (240, 180)


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


def examples_of(sources: dict[str, str], folder: Path = EXAMPLES) -> list[Example]:
    """Return the pictures of a model's domains; the first one opens the page.

    Args:
        sources: the domain that each direction starts from, such as `{"a2b": "summer"}`.
        folder: where the pictures are.
    """
    found = [
        Example(path, direction)
        for direction, source in sources.items()
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


def save_result(translation: Image.Image, path: Path) -> None:
    """Write an example's translation as the page shows it."""
    translation.convert("RGB").save(path, quality=90, subsampling=0)


def small(before: Path, after: Path | None) -> Image.Image:
    """Return a thumbnail, split down the middle where there are two pictures."""
    with open_header(before) as picture:
        whole = picture.convert("RGB").resize(THUMBNAIL)
    if after is not None:
        width, height = THUMBNAIL
        with open_header(after) as picture:
            right = picture.convert("RGB").resize(THUMBNAIL).crop((width // 2, 0, width, height))
        whole.paste(right, (width // 2, 0))
        whole.paste("white", (width // 2 - 1, 0, width // 2 + 1, height))
    return whole
