"""Checkpoints of the official code: converted when the page starts, and from then on like any other.

Such files are pickled. They are read as tensors and nothing else, and only where the page's owner lists them.
"""

import functools
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any


OFFICIAL_FILE = re.compile(r"[^/]*_net_G(_[AB])?\.pth")


def converted(source: str) -> tuple[Path, dict[str, Any]] | None:
    """Convert official files to a pipeline's folder, which lasts as long as the page.

    Args:
        source: a folder, or a Hub id.

    Returns:
        The folder and what is known of the conversion (`commit`, `networks`, `notes`), or `None`: there are no such
        files.

    Raises:
        ValueError: it cannot be had, or a file is not what it should be.
    """
    from cyclegan_hf import convert_official_checkpoint
    from cyclegan_hf.pipelines.official import find_official

    generators, commit = find_official(source)
    if not generators:
        return None
    domain_a, domain_b = domains_of(source)
    folder = Path(tempfile.mkdtemp(dir=_home().name)) / "model"
    report = convert_official_checkpoint(generators, folder, domain_a=domain_a, domain_b=domain_b)
    return folder, {"commit": commit, **asdict(report)}


def domains_of(source: str) -> tuple[str, str]:
    """Return the domains' names, from the name of the folder or repository, such as `horse2zebra`."""
    found = re.search(r"([a-z]+)2([a-z]+)", Path(source).name.lower())
    return (found[1], found[2]) if found else ("a", "b")


@functools.cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cyclegan-hf-models-")
