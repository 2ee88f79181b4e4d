"""The translations of the pictures that come with the page, by whatever models the page has.

Those by the bundled weights are files beside the pictures. Others are computed when the page starts.
"""

import hashlib
import tempfile
import threading
from pathlib import Path
from typing import Any

from checkpoints import Checkpoint
from settings import FILES
from shipped_examples import Example, examples_of, save_result, shipped_result, small

from cyclegan_hf.images.formats import open_header


COMPUTED = Path(tempfile.mkdtemp(prefix="examples-", dir=FILES.name))  # goes with the page


def examples_for(checkpoint: Checkpoint) -> list[Example]:
    """Return the pictures of a model's domains; the first one opens the page."""
    return examples_of({direction: source for direction, (source, _) in checkpoint.domains.items()})


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
                with open_header(example.path) as picture:
                    ((translation,),) = self._shelf.translate(checkpoint, [picture.copy()], example.direction)
                save_result(translation, result)
                self._results[checkpoint.name, example.key] = result
            return result

    def compute_all(self, checkpoint: Checkpoint) -> None:
        """Compute what is missing, while the first visitors still look at the page."""
        for example in examples_for(checkpoint):
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
