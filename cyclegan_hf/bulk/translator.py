"""Many pictures through a pipeline: a handful in memory at a time, and none that stops the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from cyclegan_hf.errors import one_line
from cyclegan_hf.images.files import PictureFile, save_picture


if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from cyclegan_hf.images.io import ImageSource, OpenedImage
    from cyclegan_hf.processes import Processes


Key = TypeVar("Key", bound=Hashable)
OnEach = Callable[[ValueError | None], None]


class Translated(NamedTuple):
    """A picture's translation, the translation translated back where asked for, and whether it was resized.

    A picture of 16 bits is uint16 of shape `(H, W, C)`.
    """

    image: Image.Image | np.ndarray
    cycle: Image.Image | np.ndarray | None
    resized: bool


@dataclass(kw_only=True)
class Tally:
    """Counts of translated, skipped and failed images, and of a dataset's shards."""

    done: int = 0
    failed: int = 0
    resized: int = 0
    skipped: int = 0
    shards: int = 0
    skipped_shards: int = 0

    def count(self, outcome: Translated | ValueError) -> None:
        """Take in a picture."""
        if isinstance(outcome, ValueError):
            self.failed += 1
        else:
            self.done, self.resized = self.done + 1, self.resized + outcome.resized

    def over(self, processes: Processes) -> Tally:
        """Return the sum over all processes."""
        return Tally(**dict(zip(vars(self), processes.sum(list(vars(self).values())), strict=True)))

    def __str__(self) -> str:
        nothing = not (self.done or self.failed)
        facts = [
            "nothing to do" if nothing else f"{counted(self.done, 'picture')} translated",
            f"{self.resized} of them at another size and resized back" if self.resized else "",
            f"{counted(self.shards, 'shard')} written" if self.shards else "",
            f"{counted(self.skipped, 'picture') if nothing else self.skipped} already there" if self.skipped else "",
            f"{counted(self.skipped_shards, 'shard')} already there" if self.skipped_shards else "",
            f"{self.failed} failed" if self.failed else "",
        ]
        return ", ".join(filter(None, facts))


class Translator:
    """Translate images in groups that batch equal sizes, while the next group is read.

    Args:
        run: The pipeline with its settings: a list of pictures to a `CycleGANPipelineOutput`.
        batch_size: The most pictures that the pipeline translates at once.
        **reading: How pictures are read: `read_image`'s `input_range`, `keep_alpha` and `keep_depth`.
    """

    def __init__(self, run: Callable[..., Any], batch_size: int, **reading: Any) -> None:
        self.run, self.reading = run, reading
        self.handful = batch_size if batch_size == 1 else 4 * batch_size
        self._proven = False  # a first picture has gone through: from then on what fails is the picture's fault

    def __call__(self, sources: Iterable[tuple[Key, ImageSource]]) -> Iterator[tuple[Key, Translated | ValueError]]:
        """Translate pictures.

        Args:
            sources: Pictures, each with a key; anything that `open_image` takes.

        Yields:
            Each key, in any order, with its translation or with what is wrong with its picture.

        Raises:
            ValueError: The settings are wrong: the first picture was refused by the pipeline.
        """
        for handful in _ahead(_opened(iter(sources), self.handful, self.reading)):
            yield from ((key, image) for key, _, image in handful if isinstance(image, ValueError))
            pictures = [picture for picture in handful if not isinstance(picture[2], ValueError)]
            deep = [picture for picture in pictures if _is_deep(picture[2])]
            plain = [picture for picture in pictures if not _is_deep(picture[2])]
            groups = [group for group in (deep, plain) if group]
            while groups:
                group = groups.pop()
                try:
                    form = "np" if _is_deep(group[0][2]) else "pil"
                    output = self.run([image.pixels for _, _, image in group], output_type=form)
                except (MemoryError, RuntimeError, ValueError) as error:  # RuntimeError: torch is out of memory
                    if len(group) > 1:
                        groups = [[picture] for picture in reversed(group)]  # which one is it?
                    elif self._proven or not isinstance(error, ValueError):
                        key, name, _ = group[0]
                        yield key, ValueError(f"{name}: {one_line(error)}")
                    else:
                        raise
                    continue
                self._proven = True
                cycles = output.cycles or [None] * len(group)
                results = zip(output.images, cycles, output.sizes, strict=True)
                for (key, _, image), (picture, back, size) in zip(group, results, strict=True):
                    back = None if back is None else _finished(back, image.alpha)
                    yield key, Translated(_finished(picture, image.alpha), back, size != image.size)


class PictureFiles:
    """Picture files, and what becomes of them.

    Args:
        files: What is read and written.
        skipped: How many are there already.
    """

    def __init__(self, files: Sequence[PictureFile], skipped: int) -> None:
        self.files, self.skipped = files, skipped

    @property
    def num_pictures(self) -> int:
        """Return the number of this process's images, `None` if only reading tells."""
        return len(self.files)

    def begin(self) -> None:
        """Prepare nothing."""

    def translate(self, translator: Translator, tally: Tally, on_each: OnEach) -> None:
        """Translate and save this process's part; see `Work.translate`."""
        tally.skipped += self.skipped
        for file, outcome in translator((file, file.source) for file in self.files):
            if not isinstance(outcome, ValueError):
                try:
                    save_picture(outcome.image, file.output)
                    if file.cycle_output and outcome.cycle is not None:
                        save_picture(outcome.cycle, file.cycle_output)
                except ValueError as error:  # the format cannot hold this picture
                    outcome = error
            tally.count(outcome)
            on_each(outcome if isinstance(outcome, ValueError) else None)


class Work(Protocol):
    """Pictures to translate: files, or a data set."""

    @property
    def num_pictures(self) -> int | None:
        """Return the number of this process's images, `None` if only reading tells."""

    def begin(self) -> None:
        """Prepare the output; on one process, before any of them writes."""

    def translate(self, translator: Translator, tally: Tally, on_each: OnEach) -> None:
        """Translate and save this process's part.

        Args:
            translator: Translates.
            tally: Counts what becomes of it.
            on_each: Is told of each picture, with what is wrong with it.

        Raises:
            ValueError: The settings are wrong.
            OSError: Something could not be read or saved.
        """


def translate_all(work: Work, translator: Translator, processes: Processes) -> Tally:
    """Translate all processes' parts, with a progress bar and a warning for each picture that cannot be.

    Returns:
        `Tally`: over all processes, where they can meet.

    Raises:
        ValueError: The settings are wrong, or a single picture.
        OSError: Something could not be read or saved, or another process has ended too early.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    tally = Tally()
    bar = tqdm(
        total=work.num_pictures,
        unit="picture",
        disable=work.num_pictures in (0, 1) or not processes.is_main,
        mininterval=0.1 if sys.stderr.isatty() else 10,  # seconds; a log file needs no ten lines a second
    )

    def on_each(error: ValueError | None) -> None:
        if error is not None and work.num_pictures == 1 and processes.count == 1:
            raise error
        if error is not None:
            tqdm.write(f"warning {tally.failed}: {one_line(error)}", file=sys.stderr)
        bar.update()

    with bar, logging_redirect_tqdm():
        work.translate(translator, tally, on_each)
    return tally.over(processes)


class PieceBar:
    """A progress bar of its own for each picture that goes through in pieces; give it to a pipeline's `on_piece`."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that so many pieces of so many are done."""
        from tqdm import tqdm

        if self._bar is not None and done < self._bar.n:  # the last picture was given up
            self._bar.close()
            self._bar = None
        if self._bar is None:
            interval = 0.1 if sys.stderr.isatty() else 10
            self._bar = tqdm(total=total, desc="Pieces", unit="piece", leave=False, mininterval=interval)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
            self._bar = None


def counted(number: int, noun: str) -> str:
    """Format a count with its noun: `"1 picture"`, `"2 pictures"`."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _is_deep(image: OpenedImage) -> bool:
    """Return whether an image has more than 8 bits."""
    return not hasattr(image.pixels, "mode")


def _finished(translation: Any, alpha: Image.Image | None) -> Any:
    """Return a translation as it is saved: 16-bit values for arrays, with the image's opacity if it has any."""
    import numpy as np

    from cyclegan_hf.images.depth import to_16_bits

    is_array = isinstance(translation, np.ndarray)
    if is_array:
        translation = to_16_bits(translation)
    if alpha is None:
        return translation
    size = translation.shape[1::-1] if is_array else translation.size
    alpha = alpha if alpha.size == size else alpha.resize(size)
    if is_array:
        return np.concatenate([translation, np.asarray(alpha, np.uint16)[..., None] * 257], axis=2)
    translation.putalpha(alpha)
    return translation


def _opened(
    sources: Iterator[tuple[Key, Any]], count: int, reading: dict[str, Any]
) -> Iterator[list[tuple[Key, str, Any]]]:
    """Yield groups of images, each with its key, a name for messages, and the image or what is wrong with it."""
    from cyclegan_hf.images.io import read_image

    while handful := list(islice(sources, count)):
        opened: list[tuple[Key, str, Any]] = []
        for key, source in handful:
            name = str(source) if isinstance(source, str | os.PathLike) else "picture"
            try:
                opened.append((key, name, read_image(source, **reading)))
            except ValueError as error:
                opened.append((key, name, error))
        yield opened


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of an iterator while another thread fetches the next one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
