"""What a model of the page is, from its small files."""

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from official import converted
from settings import MAX_TRANSLATED_PIXELS, PICTURE_BYTES

import cyclegan_hf
from cyclegan_hf.hub.download import RepoFiles
from cyclegan_hf.hub.info import describe
from cyclegan_hf.hub.locate import find_folder, is_model_on_hub
from cyclegan_hf.saved_format import GENERATORS as COMPONENTS
from cyclegan_hf.saved_format import PRETRAINED_FOLDER


GENERATORS = [name for name in cyclegan_hf.__all__ if name.endswith("Generator")]
BYTES_A_VALUE = 4
MAX_CARD = 30_000  # characters
MAX_GRID = 5_000_000  # bytes
MAX_VALUES = 200  # in the settings of a model's generators: a list may name a layer each
MAPS_AT_ONCE = 6  # of the first layer's channels, in float32: what a network needs for a pixel (measured: 750 bytes)

SEASONS = {"spring", "summer", "autumn", "winter"}

_importing = threading.Lock()


def import_library() -> None:
    """Import what networks need: two threads that do so at once stop each other in diffusers' circular imports."""
    with _importing:
        for name in ("CycleGANPipeline", *GENERATORS):
            getattr(cyclegan_hf, name)


@dataclass(frozen=True)
class Checkpoint:
    """A model, before it is loaded.

    Attributes:
        name: what visitors call it.
        source: folder, Hub id, or `None` for the bundled weights.
        facts: `describe`'s.
        domains: (source, target) of each direction that it has.
        revision: the commit that a visitor's model was looked at.
        folder: the converted pipeline of an official checkpoint.
    """

    name: str
    source: str | None
    facts: dict[str, Any]
    domains: dict[str, tuple[str, str]]
    revision: str | None = None
    folder: Path | None = None

    @classmethod
    def look_up(
        cls, name: str, source: str | None, revision: str | None = None, *, official: bool = False
    ) -> "Checkpoint":
        """Read a model's small files.

        Args:
            name: what visitors will call it.
            source: a folder, a Hub id, or `None` for the bundled weights.
            revision: on the Hub.
            official: it may be one of the official code, and is converted then.

        Raises:
            ValueError: there is no such model.
        """
        is_model_on_hub(source)  # or else it says what it should be
        converted_folder = None
        try:
            facts = describe(source, revision=revision)
        except ValueError:
            if (folder := downloaded(source, revision)) is not None:
                facts = describe(folder) | {"model": source, "commit": folder.name}
            elif official and source is not None and (found := converted(source)) is not None:
                converted_folder, conversion = found
                facts = describe(converted_folder) | {"commit": conversion["commit"], "conversion": conversion}
            else:
                raise
        for network in facts["generators"].values():
            if network["class"] not in GENERATORS:
                raise ValueError(f"{name}: expected a generator of this library, got {network['class']!r}")
        a, b = facts["domains"]["a"], facts["domains"]["b"]
        every = {"a2b": (a, b), "b2a": (b, a)}
        domains = {key: pair for key, pair in every.items() if f"generator_{key}" in facts["generators"]}
        return cls(name, source, facts, domains, revision, converted_folder)

    @property
    def labels(self) -> dict[str, str]:
        """What each direction is called on the page."""
        return {key: " → ".join(map(title_case, pair)) for key, pair in self.domains.items()}

    @property
    def headline(self) -> str:
        """What the model does, in a visitor's words."""
        source, target = (name.replace("_", " ") for name in next(iter(self.domains.values())))
        if {source, target} <= SEASONS:
            return f"See your {source} photo in {target}"
        return f"Turn your photo from {source} to {target}"

    @property
    def weights_folder(self) -> Path | None:
        """Where the weights lie on this machine; `None` for those of the Hub and converted ones."""
        if self.source is None:
            return PRETRAINED_FOLDER
        return Path(self.source) if self.folder is None and Path(self.source).is_dir() else None

    @property
    def title(self) -> str:
        return next(iter(self.labels.values())).replace("→", "↔" if len(self.domains) == 2 else "→")

    @property
    def size(self) -> int:
        """Bytes of the loaded weights."""
        return BYTES_A_VALUE * sum(network["values"] for network in self.facts["generators"].values())

    @property
    def has_graphs(self) -> bool:
        return all(f"{name}/model.onnx" in self.facts["files"] for name in self.facts["generators"])

    @functools.cached_property
    def reach(self) -> tuple[int | None, int]:
        """How far a result's pixel sees (`None`: over the whole picture), and what sides must be a multiple of."""
        networks = self.skeletons()
        radii = [getattr(network, "receptive_radius", None) for network in networks]
        multiple = math.lcm(*(network.size_multiple for network in networks))
        return None if None in radii else max(radii), multiple

    @functools.cached_property
    def card(self) -> str:
        """The README beside the weights, of strangers too; empty where there is none."""
        return self._text("README.md")

    @functools.cached_property
    def report(self) -> str:
        """The report of the model's evaluation; empty where there is none."""
        return self._text("report.md")

    @functools.cached_property
    def grid(self) -> Path | None:
        """A picture of examples and their translations; only of models that the page's owner listed."""
        path = self._file("grid.jpg") if self.revision is None else None
        return path if path is not None and path.stat().st_size <= MAX_GRID else None

    def _file(self, name: str) -> Path | None:
        """Return a file beside the weights, if it is there."""
        with contextlib.suppress(ValueError, OSError):
            if self.source is not None and is_model_on_hub(self.source):
                path = RepoFiles(self.source, revision=self.facts["commit"]).get(name)
            else:
                path = (PRETRAINED_FOLDER if self.source is None else Path(self.source)) / name
            return path if path.is_file() else None
        return None

    def _text(self, name: str) -> str:
        with contextlib.suppress(ValueError, OSError):
            if (path := self._file(name)) is not None:
                return path.read_text(encoding="utf-8")[:MAX_CARD]
        return ""

    def skeletons(self) -> list[Any]:
        """Return the generators without their weights."""
        import_library()
        import torch

        with torch.device("meta"):
            return [
                getattr(cyclegan_hf, network["class"])(**network["config"])
                for network in self.facts["generators"].values()
            ]

    def check_sizes(self) -> None:
        """Check that a stranger's settings match the weights, before anything of their size is built.

        Raises:
            ValueError: they are not.
        """
        values = [value for network in self.facts["generators"].values() for value in leaves(network["config"])]
        if len(values) > MAX_VALUES or any(isinstance(value, int | float) and not value <= 4096 for value in values):
            raise ValueError("settings out of range")
        for network, facts in zip(self.skeletons(), self.facts["generators"].values(), strict=True):
            if sum(value.numel() for value in network.state_dict().values()) > facts["values"]:
                raise ValueError("settings of a larger network than the weights are of")

    @property
    def bytes_per_pixel(self) -> int:
        configs = [network["config"] for network in self.facts["generators"].values()]
        return BYTES_A_VALUE * MAPS_AT_ONCE * max(config.get("block_out_channels", [64])[0] for config in configs)

    def most_pixels(self, pixels: int) -> int:
        """Return the largest photo that may be translated, where one of so many pixels is asked for."""
        whole = PICTURE_BYTES // self.bytes_per_pixel
        return whole if pixels <= whole or self.reach[0] is None else MAX_TRANSLATED_PIXELS


def downloaded(source: str | None, revision: str | None) -> Path | None:
    """Where a model of the Hub lies that was loaded before: without a connection it will do."""
    if source is None or Path(source).exists():
        return None
    for graphs in (True, False):  # those are fetched only where they are used
        with contextlib.suppress(ValueError, OSError):
            return find_folder(source, list(COMPONENTS), revision=revision, graphs=graphs, local_files_only=True)
    return None


def leaves(value: Any) -> Iterator[Any]:
    """Return the plain values inside JSON."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


def title_case(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
