"""This library, as it is installed here, as a wheel: for where no package index has it."""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cyclegan_hf import __version__


PACKAGE = Path(__file__).parents[1]
_LEFT_OUT = {"__pycache__", "checkpoints"}  # the larger weights of a clone: a Space has its model from the Hub
_LICENSE = "licenses/LICENSE"
_WHEEL = "Wheel-Version: 1.0\nGenerator: cyclegan_hf\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def space_folder() -> Path:
    """Return the page's files: part of the installed package, or beside it in a clone.

    Raises:
        ValueError: There are none.
    """
    for folder in (PACKAGE / "space", PACKAGE.parent / "space"):
        if (folder / "app.py").is_file() and (folder / "requirements.txt").is_file():
            return folder
    raise ValueError(
        f"the page's files (space/app.py) are neither in {PACKAGE} nor beside it: install the library anew"
    )


def package_files(folder: Path) -> dict[str, Path]:
    """Return a folder's files by relative path, without hidden and compiled ones and a page's larger weights."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.suffix != ".pyc" and not any(part[0] == "." or part in _LEFT_OUT for part in parts):
            found[Path(*parts).as_posix()] = path
    return found


def build_wheel(folder: Path) -> Path:
    """Write a wheel of this library, with the page in it; the same library gives the same bytes.

    Args:
        folder: Where to.

    Returns:
        `Path`: The wheel.

    Raises:
        ValueError: The library's metadata are not to be found: it is neither installed nor a clone.
    """
    about = f"cyclegan_hf-{__version__}.dist-info"
    parts = {"cyclegan_hf": PACKAGE, "cyclegan_hf/space": space_folder()}
    contents = {
        f"{part}/{name}": path.read_bytes()
        for part, home in parts.items()
        for name, path in package_files(home).items()
    }
    contents |= {f"{about}/{name}": text.encode() for name, text in _metadata().items()}
    contents[f"{about}/WHEEL"] = _WHEEL.encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    wheel = folder / f"cyclegan_hf-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)  # of the oldest date that a zip file knows
            entry.external_attr = 0o644 << 16
            dense = name.endswith((".safetensors", ".jpg"))
            archive.writestr(entry, content, zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED)
    return wheel


def _metadata() -> dict[str, str]:
    """Return `METADATA`, `entry_points.txt` and the licence: a clone's own, which an installation may lag behind.

    Raises:
        ValueError: There is neither a project file nor an installation.
    """
    project_file = PACKAGE.parent / "pyproject.toml"
    if not project_file.is_file():
        try:
            installed = distribution("cyclegan_hf")
        except PackageNotFoundError as error:
            raise ValueError(f"{PACKAGE} is neither installed nor in a clone: install the library") from error
        found = {name: installed.read_text(name) for name in ("METADATA", "entry_points.txt", _LICENSE)}
        return {name: text for name, text in found.items() if text}
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {__version__}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    return {
        "METADATA": "\n".join([*lines, ""]),
        "entry_points.txt": "\n".join(["[console_scripts]", *scripts, ""]),
        _LICENSE: (PACKAGE.parent / "LICENSE").read_text(encoding="utf-8"),
    }


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
