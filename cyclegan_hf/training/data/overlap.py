"""Images that two domains, or training and test images, have in common."""

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclegan_hf.training.data.domain import Source


logger = logging.getLogger(__name__)


def warn_of_shared_images(opened: Mapping[str, Sequence[Source]]) -> None:
    """Log a warning for each two flags whose sources share files or rows. No image is read.

    Args:
        opened: The opened sources by the flag that names them: `"data.a"`, `"data.test_b"`.
    """
    for (name, sources), (other, others) in itertools.combinations(opened.items(), 2):
        shared = 0
        for source, second in itertools.product(sources, others):
            if source.root is not None and second.root is not None:
                shared += len(_common_files(source, second))
            elif _rows_of(source) == _rows_of(second):
                logger.warning("`%s` and `%s` are the same rows of %s.", name, other, source.spec.place)
        if shared:
            logger.warning("`%s` and `%s` share %d files.", name, other, shared)


def _common_files(source: Source, other: Source) -> set[str]:
    roots = [os.path.realpath(one.root) for one in (source, other) if one.root is not None]
    if not any(f"{second}{os.sep}".startswith(f"{first}{os.sep}") for first, second in itertools.permutations(roots)):
        return set()
    files = [
        {os.path.normpath(os.path.join(root, one.name(place))) for place in range(len(one.pictures))}
        for one, root in zip((source, other), roots, strict=True)
    ]
    return files[0] & files[1]


def _rows_of(source: Source) -> tuple[object, ...]:
    """Return what identifies a source's rows."""
    spec = source.spec
    place = os.path.realpath(spec.place) if Path(spec.place).exists() else spec.place
    return place, spec.config, source.split, spec.column, spec.revision, spec.label, spec.label_column
