"""Picture files on their way in and out: finding the inputs, naming the outputs, writing each of them whole."""

from __future__ import annotations

import errno
import glob
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.images.formats import has_image_extension, left_out_text
from cyclegan_hf.regular_files import require_regular_file


if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from cyclegan_hf.processes import Processes


logger = logging.getLogger(__name__)

OutputFormat = Literal["keep", "png", "jpg", "webp", "tiff"]
ExistingPolicy = Literal["refuse", "skip", "overwrite"]

FORMS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF"}
"""Pillow's name of each format that can be asked for."""
KEPT_FORMS = ("PNG", "JPEG", "WEBP")
"""Formats that `"keep"` leaves as they are."""
_KEPT = {".jfif": "JPEG", ".jpe": "JPEG", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_WRITABLE = _KEPT | {".tif": "TIFF", ".tiff": "TIFF"}
_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}
_SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}
_QUALITY = 95  # of JPEG and WebP: no visible loss


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFile:
    """One picture to translate.

    Attributes:
        source: the file to read.
        output: the file to write.
        cycle_output: the file for the translation translated back, `None` where it is not wanted.
    """

    source: Path
    output: Path
    cycle_output: Path | None = None


def plan_pictures(
    inputs: Sequence[str],
    output: str,
    *,
    output_format: OutputFormat = "keep",
    cycle: bool = False,
    existing: ExistingPolicy = "refuse",
    processes: Processes | None = None,
) -> tuple[list[PictureFile], int]:
    """Decide what will be read and written before any work begins. No image is opened.

    Args:
        inputs: files, folders (with their sub-folders, which the output keeps) and patterns such as `"pics/*.png"`.
        output: a folder, or for a single picture a file name with a picture's extension.
        output_format: `"keep"` leaves JPEG, PNG and WebP what they are and makes any other format PNG.
        cycle: whether translations translated back are saved too, as `name_cycle` beside `name`.
        existing: what to do about outputs that exist already: refuse, leave them out, or write over them.
        processes: those that share the work out. Each looks for the outputs of its own part alone: the others may be
            writing already.

    Returns:
        `tuple`: the pictures to translate, in order, and the number of those left out because their output exists;
        of this process's part.

    Raises:
        ValueError: an input that does not exist or holds no pictures, two pictures for one output, an output that
            would replace an input, or one that exists already, if such are to be refused.
    """
    others: list[Path] = []
    found = list(_find(inputs, Path(output), others))
    if not found:
        raise ValueError("expected pictures, folders or patterns to translate, got none")
    if others and (processes is None or processes.is_main):
        logger.warning("%s", left_out_text(dict.fromkeys(others)))
    files = [PictureFile(source=source, output=target) for source, target in _targets(found, output, output_format)]
    if cycle:
        files = [
            PictureFile(source=f.source, output=f.output, cycle_output=f.output.with_stem(f"{f.output.stem}_cycle"))
            for f in files
        ]
    _refuse_collisions(files)
    everything = files
    if processes is not None:
        files = list(processes.share(files))

    # `os.path` and not `Path.exists`, which in Python 3.11 raises on a name that is too long
    present = [file for file in files if any(map(os.path.exists, _written(file)))]
    if not present:
        return files, 0
    sources = {os.path.realpath(file.source) for file in everything}
    for file in present:
        for target in _written(file):
            if os.path.realpath(target) in sources:
                raise ValueError(f"{target}: this output would replace an input; choose another `--output`")
    match existing:
        case "refuse":
            raise ValueError(
                f"{len(present)} of {len(files)} outputs exist already, the first is {present[0].output}: "
                "choose `--existing skip`, `--existing overwrite` or another `--output`"
            )
        case "skip":
            complete = {file for file in present if all(map(os.path.exists, _written(file)))}
            return [file for file in files if file not in complete], len(complete)
    return files, 0


def encode_picture(image: Image.Image | np.ndarray, form: str) -> bytes:
    """Encode an image file in memory.

    Args:
        image: the picture; or 16-bit values, uint16 of shape `(H, W, C)`, for PNG and TIFF.
        form: `"PNG"`, `"JPEG"`, `"WEBP"` or `"TIFF"`.

    Raises:
        ValueError: the format cannot hold this picture.
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        return encode_16_bits(image, form)
    encoded = io.BytesIO()
    options = {"PNG": {}, "TIFF": {"compression": "tiff_adobe_deflate"}}.get(form, {"quality": _QUALITY})
    try:
        image.save(encoded, format=form, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"a picture of {image.width}x{image.height} cannot be saved as {form} ({error})") from error
    return encoded.getvalue()


def encode_16_bits(values: np.ndarray, form: str) -> bytes:
    """Encode a 16-bit image file in memory; see [`encode_picture`]."""
    from cyclegan_hf.images.depth import encode_png_16, encode_tiff_16

    encoders = {"PNG": encode_png_16, "TIFF": encode_tiff_16}
    if form not in encoders:
        raise ValueError(f"{form} holds 8 bits a channel, got 16: expected PNG or TIFF")
    return encoders[form](values)


def save_picture(image: Image.Image | np.ndarray, path: Path) -> None:
    """Write an image whole or not at all; create folders as needed.

    Args:
        image: the picture, or its 16-bit values; see [`encode_picture`].
        path: its file; the extension (.jpg, .jpeg, .png, .webp or .tiff) names the format.

    Raises:
        ValueError: the format cannot hold this picture, or the file system cannot hold its name.
        OSError: the file could not be written, for want of space for one.
    """
    try:  # first in memory: what fails here is the picture's fault, what fails later is the disk's
        encoded = encode_picture(image, _WRITABLE[path.suffix.lower()])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(encoded)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{path}: this name is too long for its file system") from error
        raise OSError(f"could not save {path}: {error.strerror or error}") from error


def visible_files(folder: Path, leave_out: Path | None = None) -> Iterator[Path]:
    """Yield the regular files of a folder by name, and then those of its sub-folders.

    Hidden files and what operating systems add (`__MACOSX`, the thumbnails in `@eaDir`) are left out. So are FIFOs,
    sockets and devices, with a log line: opening one would wait for ever. Symbolic links are followed, but no folder
    is looked into twice: a link may lead back to where it is. A broken link is a file that cannot be opened.

    Args:
        folder: The folder.
        leave_out: A sub-folder that is not looked into.

    Raises:
        OSError: A folder cannot be read.
    """
    entered = {os.path.realpath(folder)}
    if leave_out is not None:
        entered.add(os.path.realpath(leave_out))
    yield from _visible_files(folder, entered)


def _visible_files(folder: Path, entered: set[str]) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    folders = []
    for entry in visible:
        if entry.is_dir():
            folders.append(entry.name)
        elif entry.name in _SYSTEM_FILES:
            continue
        elif entry.is_file() or not os.path.exists(entry.path):
            yield folder / entry.name
        else:
            logger.warning("%s: left out, it is no regular file", entry.path)
    for name in folders:
        place = os.path.realpath(folder / name)
        if name not in _SYSTEM_FOLDERS and place not in entered:
            entered.add(place)
            yield from _visible_files(folder / name, entered)


def split_by_extension(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Split files into images and others, by their names.

    Returns:
        `tuple`: The images and the other files, both in the given order.
    """
    images: list[Path] = []
    others: list[Path] = []
    for file in files:
        (images if has_image_extension(file) else others).append(file)
    return images, others


def images_in(folder: Path, *, log_level: int = logging.WARNING) -> list[Path]:
    """Return the images of a folder and its sub-folders; a log line says how many other files there are.

    Args:
        folder: The folder.
        log_level: Of the log line.

    Raises:
        ValueError: It is no folder, or holds no images.
        OSError: It cannot be read.
    """
    if not folder.is_dir():
        what = "got a file" if folder.exists() else "there is no such folder"
        raise ValueError(f"{folder}: expected a folder of pictures, {what}")
    images, others = split_by_extension(visible_files(folder))
    text = left_out_text(others)
    if not images:
        raise ValueError(f"{folder}: expected a folder of pictures, found none{f' ({text})' if text else ''}")
    if text:
        logger.log(log_level, "%s: %s", folder, text)
    return images


def _find(inputs: Sequence[str], output: Path, others: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each picture once, with its name relative to the output folder; `others` takes what is left out."""
    seen: set[str] = set()
    for name in inputs:
        left_out: list[Path] = []
        matches = _expand(name, output, left_out)
        others += left_out
        if not matches:
            text = left_out_text(left_out)
            raise ValueError(f"{name}: expected pictures, found none{f' ({text})' if text else ''}")
        for source, relative in matches:
            absolute = os.path.abspath(source)
            if absolute not in seen:
                seen.add(absolute)
                yield source, relative


def _expand(name: str, output: Path, others: list[Path]) -> list[tuple[Path, Path]]:
    """Expand one argument to (image, relative name) pairs."""
    path = Path(name)
    if path.is_dir():
        return _below(path, path, output, others)
    if path.exists():
        return [(require_regular_file(path, "a picture"), Path(path.name))]
    if glob.escape(name) == name:
        raise ValueError(f"{name}: expected a picture, a folder or a pattern, but there is no such file")
    parts = path.parts
    fixed = next(index for index, part in enumerate(parts) if glob.escape(part) != part)
    root = Path(*parts[:fixed])  # sub-folders below this one are kept
    pairs: list[tuple[Path, Path]] = []
    for match in sorted(map(Path, glob.glob(name, recursive=True))):
        if match.is_dir():
            pairs += [] if match.name in _SYSTEM_FOLDERS else _below(match, root, output, others)
        elif has_image_extension(match):
            pairs += [(match, match.relative_to(root))] if match.is_file() else []
        else:
            others.append(match)
    return pairs


def _below(folder: Path, root: Path, output: Path, others: list[Path]) -> list[tuple[Path, Path]]:
    """Return the images of a folder and its subfolders, without hidden ones and the output folder."""
    images, rest = split_by_extension(visible_files(folder, leave_out=output))
    others += rest
    return [(path, path.relative_to(root)) for path in images]


def _targets(found: list[tuple[Path, Path]], output: str, output_format: OutputFormat) -> Iterator[tuple[Path, Path]]:
    """Yield (source, output file)."""
    folder = Path(output)
    suffix = folder.suffix.lower()
    if has_image_extension(folder) and not folder.is_dir() and not output.endswith(("/", os.sep)):
        if suffix not in _WRITABLE:
            raise ValueError(f"{output}: expected {', '.join(_WRITABLE)} to write, got {suffix}")
        if len(found) > 1:
            raise ValueError(f"{output}: expected a folder for {len(found)} pictures, got the name of one file")
        if output_format != "keep" and _WRITABLE[suffix] != FORMS[output_format]:
            raise ValueError(f"{output}: its extension and `--format {output_format}` contradict each other")
        yield found[0][0], folder
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{output}: expected a folder, or a new picture's name with its extension, got a file")
    for source, relative in found:
        suffix = relative.suffix.lower()
        if output_format == "keep" and suffix in _KEPT:
            yield source, folder / relative
        else:
            stem = relative.stem if has_image_extension(relative) else relative.name
            yield source, folder / relative.with_name(f"{stem}.{'png' if output_format == 'keep' else output_format}")


def _written(file: PictureFile) -> list[Path]:
    return [file.output, *filter(None, [file.cycle_output])]


def _refuse_collisions(files: list[PictureFile]) -> None:
    owners: dict[Path, Path] = {}
    for file in files:
        for target in _written(file):
            other = owners.setdefault(target, file.source)
            if other != file.source:
                raise ValueError(
                    f"{other} and {file.source} would both become {target}: "
                    "translate them into two folders, or rename one"
                )
