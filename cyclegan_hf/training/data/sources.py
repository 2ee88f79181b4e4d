"""Where a domain's pictures come from, and which of them are trained with."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cyclegan_hf.evaluation.validation_split import drawn_order, held_out_count
from cyclegan_hf.images.background import remove_backgrounds
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.domain import Domain
from cyclegan_hf.training.data.overlap import warn_of_shared_images
from cyclegan_hf.training.data.rows import Picture
from cyclegan_hf.training.data.shards import Group


Pictures = dict[str, Sequence[Picture]]
"""The pictures of domains `"a"` and `"b"`."""


@dataclass(kw_only=True, frozen=True)
class Sources:
    """The pictures of a run; a list is empty where nothing is held out.

    Attributes:
        train: What is trained with; where paired, the lists are of one length and picture i of B is A's partner. Of a
            domain that is streamed, `data.stream_samples` of its pictures, for samples and scores.
        validation: Held out by `data.validation_share`.
        test: Of the test sources, or held out by `data.test_share`.
        paired: Whether B's order is to follow A's.
        fingerprint: A hash of which pictures (by name, below their folders) are where: what tells two splits apart.
        groups: What a domain is dealt out of, if it is streamed, mixed by weights or shuffled in a buffer.
        revisions: The commit that each data set on the Hub is read at.
    """

    train: Pictures
    validation: Pictures
    test: Pictures
    paired: bool
    fingerprint: str
    groups: dict[str, list[Group]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)

    def length(self, key: str) -> int | None:
        """Pictures in a pass over a domain's training pictures; none where only reading them tells."""
        if not self.groups.get(key):
            return len(self.train[key])
        lengths = [group.shards.length for group in self.groups[key]]
        return None if None in lengths else sum(filter(None, lengths))


def load_sources(config: DataConfig) -> Sources:
    """Find both domains' pictures and split them. Few pictures are read: of streams, and where repeats are left out.

    What is held out depends on a hash of `split_seed` and the picture's name below its folder (of a data set, its
    row): neither a moved folder nor the order of the files changes it, and `limit` 100 is a part of `limit` 1000.

    Raises:
        ValueError: If a source is missing or holds no pictures, if an option does not go with it, if a split leaves
            nothing to train with, or if the cap of the pairs is too low for the pictures.
    """
    domains = {key: Domain(key, config) for key in ("a", "b")}
    warn_of_shared_images({name: part for domain in domains.values() for name, part in domain.opened().items()})
    splits = {key: _split(domain, config) for key, domain in domains.items()}
    train = {key: domain.training_pictures(splits[key][0]) for key, domain in domains.items()}
    names = {key: domain.names(splits[key][0]) + domain.streams for key, domain in domains.items()}
    if config.pairing == "random_capped":
        root = domains["b"].folder()
        partners = pair_randomly(train["a"], train["b"], root, config.pairing_cap, config.split_seed)
        names["b"] = [path.relative_to(root).as_posix() for path in partners]
        train["b"] = partners
    digest = hashlib.sha256()
    for found in (names, {key: domain.names(splits[key][1]) for key, domain in domains.items()}):
        for key, lines in found.items():
            digest.update("".join(f"{key}/{name}\n" for name in lines).encode())
        digest.update(b"\n")
    return Sources(
        train=train,
        validation={key: domain.pictures(splits[key][1]) for key, domain in domains.items()},
        test={key: domain.test_pictures(splits[key][2]) for key, domain in domains.items()},
        paired=config.pairing != "none",
        fingerprint=digest.hexdigest()[:12],
        groups={key: domain.groups(splits[key][0]) for key, domain in domains.items()},
        revisions={name: commit for domain in domains.values() for name, commit in domain.revisions().items()},
    )


def without_backgrounds(sources: Sources, config: DataConfig) -> Sources:
    """Put the images on white in the domains for which the configuration asks it; cached on disk.

    Raises:
        ValueError: If no method for it is installed.
    """
    splits = {name: dict(getattr(sources, name)) for name in ("train", "validation", "test")}
    for key in ("a", "b"):
        if getattr(config, f"remove_background_{key}"):
            if not all(isinstance(path, Path) for split in splits.values() for path in split[key]):
                raise ValueError(
                    f"`data.remove_background_{key}` needs files of pictures, and `data.{key}` is a data set."
                )
            files = list(dict.fromkeys(path for split in splits.values() for path in split[key]))
            clean = dict(
                zip(files, remove_backgrounds(files, config.background_method, input_range=config.values), strict=True)
            )
            for split in splits.values():
                split[key] = [clean[path] for path in split[key]]
    return replace(sources, train=splits["train"], validation=splits["validation"], test=splits["test"])


def pair_randomly(
    pictures_a: Sequence[Picture], pictures_b: Sequence[Path], folder_b: Path, cap: int, seed: int
) -> list[Path]:
    """Return a partner in B for each image of A; no species of B is taken more than `cap` times.

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
    """Return an image's class: its subfolder, or its name up to `-`, `_` or space (`25-female.png` is a 25)."""
    if path.parent != folder:
        return path.parent.as_posix()
    return re.split(r"[-_ ]", path.stem, maxsplit=1)[0]


def _split(domain: Domain, config: DataConfig) -> tuple[list[int], list[int], list[int]]:
    """Which of a domain's pictures are trained with, held out for validation, and held out as test pictures."""
    total = len(domain)
    num_test = 0 if domain.has_test_source else held_out_count(config.test_share, total)
    share = config.validation_share or 0.0
    count = held_out_count(share, total)
    held_out = num_test + count
    if held_out >= total and not domain.is_streamed:
        raise ValueError(
            f"`data.test_share` {config.test_share:g} and `data.validation_share` {share:g} "
            f"leave none of {total} pictures in `data.{domain.key}` to train with."
        )
    if held_out == 0 and config.limit is None:
        return list(range(total)), [], []
    names = domain.names(range(total))
    drawn = drawn_order(names, config.split_seed)
    first = num_test + config.validation_fold * count
    train = [*drawn[num_test:first], *drawn[first + count :]][: config.limit]
    return sorted(train), sorted(drawn[first : first + count]), sorted(drawn[:num_test])
