"""The pictures of an evaluation: where they lie, and how each is brought to the size that is measured."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from cyclegan_hf.evaluation.validation_split import validation_places
from cyclegan_hf.images.files import images_in
from cyclegan_hf.images.formats import open_header
from cyclegan_hf.images.io import open_image


logger = logging.getLogger(__name__)

DOMAINS = ("a", "b")
Reader = Callable[[Any, str], Image.Image]
"""A file and its domain to a picture as it is measured. A domain has pictures of one size."""
T = TypeVar("T")


@dataclass
class PictureSet:
    """Pictures of one kind. What cannot be read is left out when it is first met.

    Attributes:
        files: Those that can be read, as far as is known; paths, or whatever the reader opens.
        name: What they are called in messages.
        left_out: Files that could not be read.
    """

    files: list[Any]
    name: str
    left_out: list[Any] = field(default_factory=list)

    def batches(self, read: Callable[[Any], Image.Image], size: int) -> Iterator[list[tuple[Any, Image.Image]]]:
        """Yield opened images in order, at most `size` at a time.

        Raises:
            ValueError: If none can be read.
        """
        batch: list[tuple[Any, Image.Image]] = []
        for path in list(self.files):
            try:
                batch.append((path, read(path)))
            except ValueError as error:
                logger.warning("Left out of the evaluation: %s", error)
                self.files.remove(path)
                self.left_out.append(path)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
        if not self.files:
            raise ValueError(f"none of the {len(self.left_out)} {self.name} can be read")


@dataclass
class Pictures:
    """All pictures of an evaluation.

    Attributes:
        inputs: By domain, the pictures that are translated; those of the target domain also show how close real
            pictures are.
        references: By domain, the real pictures that translations into it are compared with.
        read: Opens a file as a picture of a domain.
        resize: In words, what `read` does to a picture's size.
        independent: By domain, whether the references are others than the inputs.
    """

    inputs: dict[str, PictureSet]
    references: dict[str, PictureSet]
    read: Reader
    resize: str = ""
    independent: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(DOMAINS, True))


def find_pictures(
    data: str | Path,
    domain_names: dict[str, str],
    reference: str | Path | None = None,
    limit: int | None = None,
    split: str = "test",
) -> tuple[dict[str, list[Path]], dict[str, list[Path]], dict[str, bool]]:
    """Find the files to translate and those to compare with.

    A folder holds `testA` and `testB` (or `test/A`, or `A`, or the domains' names in the place of the letters), and
    for comparison `trainA` and `trainB` likewise. Sub-folders of these are looked into.

    Args:
        data: The folder.
        domain_names: The domains' names by letter.
        reference: Another folder to compare with, laid out likewise; by default the training pictures in `data`, and
            where there are none, the very pictures of the target domain.
        limit: Most pictures of each set, evenly spread by name.
        split: `"test"`, or `"validation"`: a fifth of the training images of `data`, drawn by a hash of their names
            as training holds them out, are translated and compared with the rest.

    Returns:
        By domain: the inputs, the references, and whether these are other pictures than the inputs of that domain. A
        domain without pictures is left out.

    Raises:
        ValueError: If there are no such folders.
    """
    if split == "validation":
        return _validation_pictures(Path(data), domain_names, limit)
    inputs = pictures_by_domain(Path(data), ("test", ""), domain_names)
    if not inputs:
        raise ValueError(f"{data}: expected a folder with testA and testB (or A and B), found {_listing(Path(data))}")
    if reference is None:
        references = pictures_by_domain(Path(data), ("train",), domain_names)
    else:
        references = pictures_by_domain(Path(reference), ("train", "", "test"), domain_names)
        if not references:
            raise ValueError(
                f"{reference}: expected a folder with trainA and trainB (or A and B), found "
                f"{_listing(Path(reference))}"
            )
    independent = {}
    for domain, files in inputs.items():
        references.setdefault(domain, files)
        independent[domain] = references[domain] != files
    if limit is not None:
        inputs, references = (
            {key: spread(files, limit) for key, files in sets.items()} for sets in (inputs, references)
        )
    return inputs, references, independent


def _validation_pictures(
    data: Path, domain_names: dict[str, str], limit: int | None
) -> tuple[dict[str, list[Path]], dict[str, list[Path]], dict[str, bool]]:
    folders = _domain_folders(data, ("train",), domain_names)
    if not folders:
        raise ValueError(f"{data}: expected a folder with trainA and trainB for a validation split, found none")
    inputs, references = {}, {}
    for domain, root in folders.items():
        files = images_in(root)
        held_out = set(validation_places([file.relative_to(root).as_posix() for file in files]))
        if len(held_out) == len(files):
            raise ValueError(f"{root}: expected at least 2 images for a validation split, got {len(files)}")
        inputs[domain] = [file for place, file in enumerate(files) if place in held_out]
        references[domain] = [file for place, file in enumerate(files) if place not in held_out]
    if limit is not None:
        inputs, references = (
            {key: spread(files, limit) for key, files in sets.items()} for sets in (inputs, references)
        )
    return inputs, references, dict.fromkeys(inputs, True)


def check_folders(data: str | Path, reference: str | Path | None = None) -> None:
    """Check that the folders of an evaluation are there, before anything is loaded or fetched.

    Raises:
        ValueError: One is missing, or is a file.
    """
    for folder in (data, *(() if reference is None else (reference,))):
        if not Path(folder).is_dir():
            found = _listing(Path(folder))
            raise ValueError(f"{folder}: expected a folder with testA and testB (or A and B), found {found}")


def spread(files: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the files, evenly spaced."""
    if len(files) <= count:
        return list(files)
    return [files[int(place)] for place in np.linspace(0, len(files) - 1, count)]


def fitted_reader(files: dict[str, list[Path]], size: int | None, common: bool) -> tuple[Reader, str]:
    """Return a reader that brings every image of a domain to one size.

    Args:
        files: All files by domain.
        size: Height and width; by default a domain's own size where all its pictures have one, and else a square of
            the shortest side that there is.
        common: Whether both domains must have the same size.

    Returns:
        The reader, and in words what it does.
    """
    if size is not None:
        return _fitting(dict.fromkeys(files, (size, size))), f"short side to {size}, {_RESIZED}"
    found = {domain: _sizes(paths) for domain, paths in files.items()}
    if common:
        found = dict.fromkeys(found, set().union(*found.values()))
    sizes, words = {}, []
    for domain, there in found.items():
        if len(there) == 1:
            sizes[domain] = next(iter(there))
            words.append("own size")
        else:
            side = min(map(min, there), default=1)
            sizes[domain] = (side, side)
            words.append(f"short side to {side}, {_RESIZED}")
            logger.warning("Pictures of different sizes: all are brought to %d×%d, the shortest side.", side, side)
    return _fitting(sizes), words[0] if len(set(words)) == 1 else "; ".join(
        f"{domain}: {word}" for domain, word in zip(found, words, strict=True)
    )


_RESIZED = "bicubic with antialiasing (Pillow) to 8 bits, middle square"


def content_hashes(files: Sequence[Any]) -> list[str]:
    """Return a short hash of each file's content; the arguments of `fingerprint`."""
    return [_digest(file).hex()[:12] for file in files]


def overlap(files: Sequence[Any], hashes: Sequence[str]) -> int:
    """Return how many of the files are among those with these hashes: of each file, or of a whole set."""
    if fingerprint(files) in hashes:
        return len(files)
    return len(set(content_hashes(files)) & set(hashes))


def fingerprint(files: Sequence[Any]) -> str:
    """Hash the files' content in order: the same images in another folder have the same hash.

    Args:
        files: Paths, or pictures of tables and archives, whose `content()` gives a file's bytes.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(_digest(file))
    return digest.hexdigest()[:16]


def _digest(file: Any) -> bytes:
    return hashlib.sha256(file.read_bytes() if isinstance(file, Path) else file.content()).digest()


def _fitting(sizes: dict[str, tuple[int, int]]) -> Reader:
    """Return the crop and size that fit; sizes are (width, height)."""

    def read(path: Path, domain: str) -> Image.Image:
        image = open_image(path)
        wanted = sizes[domain]
        if image.size == wanted:
            return image
        scale = max(wanted[0] / image.width, wanted[1] / image.height)
        width, height = (max(goal, round(side * scale)) for goal, side in zip(wanted, image.size, strict=True))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - wanted[0]) // 2, (height - wanted[1]) // 2
        return image.crop((left, top, left + wanted[0], top + wanted[1]))

    return read


def _sizes(paths: list[Path]) -> set[tuple[int, int]]:
    """Return the (width, height) of images as opened, upright; unreadable ones are met later."""
    found = set()
    for path in paths:
        try:
            with open_header(path) as image:
                turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientation: lying on its side
                found.add((image.height, image.width) if turned else image.size)
        except Exception:  # the format plugins raise anything on damaged headers
            continue
    return found


def pictures_by_domain(root: Path, splits: tuple[str, ...], domain_names: dict[str, str]) -> dict[str, list[Path]]:
    """Return the images of both domains in the first layout found; empty without one.

    Args:
        root: The folder.
        splits: What stands before the letter or name of a domain: `("train", "test")`; `""` is nothing.
        domain_names: The domains' names by letter.

    Raises:
        ValueError: If the folder of a domain holds no pictures.
    """
    folders = _domain_folders(root, splits, domain_names)
    return {domain: images_in(folder) for domain, folder in folders.items()}


def _domain_folders(root: Path, splits: tuple[str, ...], domain_names: dict[str, str]) -> dict[str, Path]:
    for split in splits:
        for letters in ({domain: domain.upper() for domain in DOMAINS}, domain_names):
            forms = ("{split}{letter}", "{split}/{letter}") if split else ("{letter}",)
            for form in forms:
                folders = {domain: root / form.format(split=split, letter=name) for domain, name in letters.items()}
                there = {domain: folder for domain, folder in folders.items() if folder.is_dir()}
                if there:
                    return there
    return {}


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder" if not folder.exists() else "a file"
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "nothing in it"
