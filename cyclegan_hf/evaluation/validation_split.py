"""The validation split: a share of the training images, drawn by a hash of their names."""

import hashlib
from collections.abc import Sequence


VALIDATION_SHARE = 0.2
"""Share of the training images of each domain that choose weights, recipes and settings."""


def drawn_order(names: Sequence[str], seed: int = 0) -> list[int]:
    """Return the places of the names in the order in which they are held out.

    It depends on each name and the seed alone: neither a moved folder nor other files change which of two images comes
    first.

    Args:
        names: Of the images, below their folder.
        seed: Another seed draws another order.
    """
    return sorted(range(len(names)), key=lambda place: hashlib.sha256(f"{seed}:{names[place]}".encode()).digest())


def held_out_count(share: float, total: int) -> int:
    """Return how many images a share is: at least one where there is a share at all."""
    return max(1, round(share * total)) if share > 0 else 0


def validation_places(
    names: Sequence[str], share: float = VALIDATION_SHARE, seed: int = 0, fold: int = 0
) -> list[int]:
    """Return the sorted places of the validation images: those that training holds out with the same settings.

    Args:
        names: Of the images, below their folder.
        share: `data.validation_share`.
        seed: `data.split_seed`.
        fold: `data.validation_fold`: with a share of 1/3, folds 0, 1 and 2 share out all images.
    """
    count = held_out_count(share, len(names))
    return sorted(drawn_order(names, seed)[fold * count : (fold + 1) * count])
