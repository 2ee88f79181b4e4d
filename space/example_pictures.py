"""The pictures that come with the page."""

import functools
import hashlib
from pathlib import Path

from PIL import Image
from settings import HERE

from cyclegan_hf.image_formats import open_header


def example_files(domain: str) -> list[Path]:
    """The pictures of a domain that come with the page."""
    return [path for path in _all_examples() if path.parent.name == domain]


@functools.cache
def _all_examples() -> tuple[Path, ...]:
    return tuple(sorted((HERE / "examples").glob("*/*.jpg")))


def example_digest(picture: Image.Image) -> str:
    """Names a picture that comes with the page by its pixels; a visitor's own has no name, and no result is kept."""
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return digest if digest in _example_digests() else ""


@functools.cache
def _example_digests() -> frozenset[str]:
    digests = set()
    for path in _all_examples():
        with open_header(path) as picture:
            digests.add(hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest())
    return frozenset(digests)
