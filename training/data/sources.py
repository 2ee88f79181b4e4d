"""Where a domain's pictures come from, and which of them are trained with."""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cyclegan_hf.background import remove_backgrounds
from cyclegan_hf.picture_files import READABLE, visible_files
from training.data.config import DataConfig


Pictures = dict[str, list[Path]]
"""The pictures of domains `"a"` and `"b"`."""


@dataclass(kw_only=True, frozen=True)
class Sources:
    """The pictures of a run; a list is empty where nothing is held out.

    Attributes:
        train: What is trained with; where paired, the lists are of one length and picture i of B is A's partner.
        validation: Held out by `data.validation_share`.
        test: Of the test folders, or held out by `data.test_share`.
        paired: Whether B's order is to follow A's.
        fingerprint: A hash of which pictures (by name, below their folders) are where: what tells two splits apart.
    """

    train: Pictures
    validation: Pictures
    test: Pictures
    paired: bool
    fingerprint: str


def load_sources(config: DataConfig) -> Sources:
    """List both domains' pictures and split them. No picture is opened.

    What is held out depends on a hash of `split_seed` and the picture's name below its folder: neither a moved folder
    nor the order of the files changes it, and `limit` 100 is a part of `limit` 1000.

    Raises:
        ValueError: If a folder is missing or holds no pictures, if a split leaves nothing to train with, or if the
            cap of the pairs is too low for the pictures.
    """
    train: Pictures = {}
    validation: Pictures = {}
    test: Pictures = {}
    for key in ("a", "b"):
        folder, test_folder = Path(getattr(config, key)), getattr(config, f"test_{key}")
        files = list_pictures(folder, f"data.{key}")
        drawn = _drawn(files, folder, config.split_seed)
        num_test = 0 if test_folder is not None else _count(config.test_share, len(files))
        held_out = num_test + _count(config.validation_share, len(files))
        if held_out >= len(files):
            raise ValueError(
                f"`data.test_share` {config.test_share:g} and `data.validation_share` {config.validation_share:g} "
                f"leave none of {len(files)} pictures in `data.{key}` to train with."
            )
        test[key] = sorted(drawn[:num_test])
        if test_folder is not None:
            test[key] = list_pictures(test_folder, f"data.test_{key}")
        validation[key] = sorted(drawn[num_test:held_out])
        train[key] = sorted(drawn[held_out:][: config.limit])
    if config.pairing == "random_capped":
        train["b"] = pair_randomly(train["a"], train["b"], Path(config.b or ""), config.pairing_cap, config.split_seed)
    return Sources(
        train=train,
        validation=validation,
        test=test,
        paired=config.pairing != "none",
        fingerprint=_fingerprint(config, train, validation),
    )


def without_backgrounds(sources: Sources, config: DataConfig) -> Sources:
    """The same pictures on white, of the domains for which the configuration asks it; made once, kept on disk.

    Raises:
        ValueError: If no method for it is installed.
    """
    splits = {name: dict(getattr(sources, name)) for name in ("train", "validation", "test")}
    for key in ("a", "b"):
        if getattr(config, f"remove_background_{key}"):
            files = list(dict.fromkeys(path for split in splits.values() for path in split[key]))
            clean = dict(zip(files, remove_backgrounds(files, config.background_method), strict=True))
            for split in splits.values():
                split[key] = [clean[path] for path in split[key]]
    return replace(sources, train=splits["train"], validation=splits["validation"], test=splits["test"])


def list_pictures(folder: str | Path, key: str) -> list[Path]:
    """The picture files of a folder and its sub-folders, hidden ones left out, sorted by path.

    Args:
        folder: The folder.
        key: The flag that named it, for messages.

    Raises:
        ValueError: If the folder is missing, a file, or holds no pictures.
    """
    root = Path(folder)
    if not root.exists():
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} does not exist.")
    if not root.is_dir():
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} is a file.")
    files = list(visible_files(root))
    pictures = sorted(path for path in files if path.suffix.lower() in READABLE)
    if not pictures:
        raise ValueError(f"`{key}` must be a folder of pictures; {folder} holds none (other files: {len(files)}).")
    return pictures


def pair_randomly(pictures_a: list[Path], pictures_b: list[Path], folder_b: Path, cap: int, seed: int) -> list[Path]:
    """A partner in B for each picture of A; no species of B is taken more than `cap` times.

    Every species is in an urn `cap` times, and a draw takes it out; which picture stands for it is drawn for each.

    Args:
        pictures_a: Domain A's pictures.
        pictures_b: Domain B's pictures.
        folder_b: Domain B's folder: a picture in a sub-folder is of that sub-folder's species.
        cap: How often a species may be taken.
        seed: Of the draws.

    Returns:
        One picture of B for each of `pictures_a`, in their order.

    Raises:
        ValueError: If there are too few species.
    """
    members = defaultdict(list)
    for path in pictures_b:
        members[species(path, folder_b)].append(path)
    if cap * len(members) < len(pictures_a):
        needed = -(-len(pictures_a) // len(members))
        raise ValueError(
            f"`data.pairing_cap` must be at least {needed} for {len(pictures_a)} pictures of A and {len(members)} "
            f"species of B, got {cap}."
        )
    rng = np.random.default_rng([seed, len(pictures_a), len(pictures_b)])
    names = list(members)
    urn = rng.permutation(np.repeat(np.arange(len(names)), cap))[: len(pictures_a)]
    return [members[names[number]][rng.integers(len(members[names[number]]))] for number in urn]


def species(path: Path, folder: Path) -> str:
    """A picture's class: its sub-folder, or its name up to the first `-`, `_` or space (`25-female.png` is a 25)."""
    if path.parent != folder:
        return path.parent.as_posix()
    return re.split(r"[-_ ]", path.stem, maxsplit=1)[0]


def _drawn(files: list[Path], root: Path, seed: int) -> list[Path]:
    """The files in the order in which they are drawn."""
    names = {path: f"{seed}:{path.relative_to(root).as_posix()}" for path in files}
    return sorted(files, key=lambda path: hashlib.sha256(names[path].encode()).digest())


def _count(share: float, total: int) -> int:
    """How many pictures a share is: at least one where there is a share at all."""
    return max(1, round(share * total)) if share > 0 else 0


def _fingerprint(config: DataConfig, *splits: Pictures) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for key, files in split.items():
            root = Path(getattr(config, key))
            digest.update("".join(f"{key}/{path.relative_to(root).as_posix()}\n" for path in files).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:12]
