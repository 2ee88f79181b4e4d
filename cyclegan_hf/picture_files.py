"""Picture files on their way in and out: finding the inputs, naming the outputs, writing each of them whole."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal


if TYPE_CHECKING:
    from PIL import Image

    from cyclegan_hf.processes import Processes


OutputFormat = Literal["keep", "png", "jpg", "webp"]
ExistingPolicy = Literal["refuse", "skip", "overwrite"]

# What counts as a picture in a folder; a file that is named one by one may have any name.
READABLE = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_WRITABLE = {".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
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
    """Decides what will be read and written, before any work begins. No picture is opened.

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
    found = list(_find(inputs, Path(output)))
    if not found:
        raise ValueError("expected pictures, folders or patterns to translate, got none")
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

    present = [file for file in files if file.output.exists() or (file.cycle_output and file.cycle_output.exists())]
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
            complete = {file for file in present if all(target.exists() for target in _written(file))}
            return [file for file in files if file not in complete], len(complete)
    return files, 0


def encode_picture(image: Image.Image, form: str) -> bytes:
    """A picture's file, in memory.

    Args:
        image: the picture.
        form: `"PNG"`, `"JPEG"` or `"WEBP"`.

    Raises:
        ValueError: the format cannot hold this picture.
    """
    encoded = io.BytesIO()
    try:
        image.save(encoded, format=form, **({} if form == "PNG" else {"quality": _QUALITY}))
    except (OSError, ValueError) as error:
        raise ValueError(f"a picture of {image.width}x{image.height} cannot be saved as {form} ({error})") from error
    return encoded.getvalue()


def save_picture(image: Image.Image, path: Path) -> None:
    """Writes a picture whole or not at all; folders are made as needed.

    Args:
        image: the picture.
        path: its file; the extension (.jpg, .jpeg, .png or .webp) names the format.

    Raises:
        ValueError: the format cannot hold this picture.
        OSError: the file could not be written, for want of space for one.
    """
    try:  # first in memory: what fails here is the picture's fault, what fails later is the disk's
        encoded = encode_picture(image, _WRITABLE[path.suffix.lower()])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(encoded)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"could not save {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            temporary.unlink()


def visible_files(folder: Path, leave_out: Path | None = None) -> Iterator[Path]:
    """Yields the files of a folder by name, and then those of its sub-folders; hidden ones are left out.

    Symbolic links are followed, but no folder is looked into twice: a link may lead back to where it is.

    Args:
        folder: the folder.
        leave_out: a sub-folder that is not looked into.

    Raises:
        OSError: a folder cannot be read.
    """
    entered = {os.path.realpath(folder)}
    if leave_out is not None:
        entered.add(os.path.realpath(leave_out))
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        unseen = []
        for sub in sorted(sub for sub in folders if sub[0] != "."):
            place = os.path.realpath(os.path.join(parent, sub))
            if place not in entered:
                entered.add(place)
                unseen.append(sub)
        folders[:] = unseen
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")


def _find(inputs: Sequence[str], output: Path) -> Iterator[tuple[Path, Path]]:
    """Yields each picture once, with its name relative to the output folder."""
    seen: set[str] = set()
    for name in inputs:
        matches = _expand(name, output)
        if not matches:
            raise ValueError(f"{name}: expected pictures ({', '.join(sorted(READABLE))}), found none")
        for source, relative in matches:
            absolute = os.path.abspath(source)
            if absolute not in seen:
                seen.add(absolute)
                yield source, relative


def _expand(name: str, output: Path) -> list[tuple[Path, Path]]:
    """One argument to (picture, relative name) pairs."""
    path = Path(name)
    if path.is_dir():
        return _walk(path, path, output)
    if path.exists():
        return [(path, Path(path.name))]
    if glob.escape(name) == name:
        raise ValueError(f"{name}: expected a picture, a folder or a pattern, but there is no such file")
    parts = path.parts
    fixed = next(index for index, part in enumerate(parts) if glob.escape(part) != part)
    root = Path(*parts[:fixed])  # sub-folders below this one are kept
    pairs: list[tuple[Path, Path]] = []
    for match in sorted(map(Path, glob.glob(name, recursive=True))):
        if match.is_dir():
            pairs += _walk(match, root, output)
        elif match.suffix.lower() in READABLE:
            pairs.append((match, match.relative_to(root)))
    return pairs


def _walk(folder: Path, root: Path, output: Path) -> list[tuple[Path, Path]]:
    """The pictures of a folder and its sub-folders, but for hidden ones and the output folder."""
    files = visible_files(folder, leave_out=output)
    return [(path, path.relative_to(root)) for path in files if path.suffix.lower() in READABLE]


def _raise(error: OSError) -> None:
    raise error


def _targets(found: list[tuple[Path, Path]], output: str, output_format: OutputFormat) -> Iterator[tuple[Path, Path]]:
    """Yields (source, output file)."""
    folder = Path(output)
    suffix = folder.suffix.lower()
    if suffix in READABLE and not folder.is_dir() and not output.endswith(("/", os.sep)):
        if suffix not in _WRITABLE:
            raise ValueError(f"{output}: expected {', '.join(_WRITABLE)} to write, got {suffix}")
        if len(found) > 1:
            raise ValueError(f"{output}: expected a folder for {len(found)} pictures, got the name of one file")
        if output_format != "keep" and _WRITABLE[suffix] != _WRITABLE[f".{output_format}"]:
            raise ValueError(f"{output}: its extension and `--format {output_format}` contradict each other")
        yield found[0][0], folder
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{output}: expected a folder, or a new picture's name with its extension, got a file")
    for source, relative in found:
        suffix = relative.suffix.lower()
        if output_format == "keep" and suffix in _WRITABLE:
            yield source, folder / relative
        else:
            stem = relative.stem if suffix in READABLE else relative.name
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
