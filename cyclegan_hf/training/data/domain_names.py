"""Names of the two domains, taken from where their images are."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.notation import SourceSpec, read_sources


_SAYS_NOTHING = re.compile(
    r"((train|test|val|valid|validation|image|img|picture|data|dataset|domain|default|sample|full)s?)?[-_ ]?[ab]?\d*|"
    r"home|root|tmp|mnt|media|workspace|content|downloads|.*-of-\d+",
    re.IGNORECASE,
)
_BOTH = re.compile(r"([A-Za-z]+)(?:2|_to_|-to-)([A-Za-z]+)(?:[-_ ].*)?")
"""A folder or data set that is named after its two domains: `monet2photo`, `summer2winter_yosemite`."""
_MAX_LENGTH = 40


def name_domains(config: DataConfig, recipe: DataConfig, given: Sequence[str]) -> None:
    """Name the domains of a new run after their sources, where neither a flag nor the sources' own recipe names them.

    Args:
        config: The run's settings, which are changed.
        recipe: The recipe's settings. Its names go with its own sources only.
        given: The words of the command line.
    """
    flags = {word.partition("=")[0].replace("_", "-") for word in given}
    free = [
        key
        for key in ("a", "b")
        if f"--data.domain-{key}" not in flags and (getattr(recipe, key) is None or f"--data.{key}" in flags)
    ]
    names = dict(zip(("a", "b"), source_names(config), strict=True))
    taken = {getattr(config, f"domain_{key}") for key in ("a", "b") if key not in free}
    for key in free:
        choices = (names[key], key, f"{key}_domain")  # the last one where a flag names B "a"
        setattr(config, f"domain_{key}", next(name for name in choices if name not in taken))


def source_names(config: DataConfig) -> tuple[str, str]:
    """Return what the sources of both domains are called; `"a"` or `"b"` where a source has no telling name."""
    sources = [read_sources(getattr(config, key), f"data.{key}") for key in ("a", "b")]
    first, second = ([name for spec in specs[:1] for name in _candidates(spec)] for specs in sources)
    if first and second and first[0] == second[0] and (match := _BOTH.fullmatch(first[0])):
        return match[1], match[2]
    for name_a, name_b in zip(first, second, strict=False):
        if name_a != name_b:
            return name_a, name_b
    if first and not second:
        return first[0], "b"
    if second and not first:
        return "a", second[0]
    return "a", "b"


def _candidates(spec: SourceSpec) -> Iterator[str]:
    """Yield the names of a source that say something, the most special one first."""
    place = urlsplit(spec.place).path if spec.is_address else spec.place
    path = PurePosixPath(Path(place).as_posix())
    parts = [part for part in path.parts if not re.search(r"[*?\[\]]", part)]
    if spec.is_hub_id:
        parts = parts[-1:]  # not whose it is
    elif not Path(spec.place).is_dir():
        parts = [*parts[:-1], re.sub(r"(\.[A-Za-z]+)+$", "", parts[-1])] if parts else []
    for number, part in enumerate(parts[:-1]):
        if part in ("home", "Users"):
            parts[number + 1] = ""  # a user's name is not for a card
    for name in (spec.label, spec.column, spec.config, *reversed(parts[-2:])):
        clean = re.sub(r"[^\w.-]+", "_", name or "").strip("_.")[:_MAX_LENGTH]
        if clean and not _SAYS_NOTHING.fullmatch(clean):
            yield clean
