"""Videos in `cyclegan-hf translate`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cyclegan_hf.images.files import ExistingPolicy
from cyclegan_hf.images.formats import VIDEOS
from cyclegan_hf.regular_files import require_regular_file


def video_input(inputs: Sequence[str]) -> Path | None:
    """Return the video that is to be translated; `None` where the inputs are images or a data set.

    Raises:
        ValueError: A video among other inputs, or one that is missing.
        ImportError: PyAV is not installed.
    """
    videos = [text for text in inputs if Path(text).suffix.lower() in VIDEOS and not Path(text).is_dir()]
    videos = [text for text in videos if not any(letter in text for letter in "*?[") or Path(text).exists()]
    if not videos:
        return None
    if len(inputs) > 1:
        raise ValueError(f"{videos[0]}: a video is translated by itself, got {len(inputs)} inputs")
    source = require_regular_file(videos[0], "a video")
    if find_spec("av") is None:
        raise ImportError(f"{source}: videos need the extra `video`: pip install 'cyclegan_hf[video]'")
    return source


def video_output(source: Path, output: str, existing: ExistingPolicy) -> Path | None:
    """Return the file to write: `output` itself, or in that folder; `None` where it exists and is to be skipped.

    Raises:
        ValueError: The name does not end in .mp4, or the file exists or is the source.
    """
    target = Path(output)
    is_folder = target.is_dir() or output.endswith(("/", os.sep)) or not target.suffix
    target = target / f"{source.stem}.mp4" if is_folder else target
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"{output}: expected a folder, or a file name ending in .mp4, for a video")
    if target.exists():
        if os.path.samefile(source, target):
            raise ValueError(f"{target}: this output would replace an input; choose another `--output`")
        if existing == "skip":
            return None
        if existing == "refuse":
            raise ValueError(
                f"{target} exists already: choose `--existing skip`, `--existing overwrite` or another `--output`"
            )
    return target


def translate_clip(source: Path, target: Path, run: Callable[[list[Any]], Any], batch_size: int) -> str:
    """Translate a video with a progress bar; returns what became of it.

    Args:
        source: The video.
        target: The file to write.
        run: The pipeline with its settings: a list of images to a `CycleGANPipelineOutput`.
        batch_size: Frames at once.

    Raises:
        ValueError: It is no video.
    """
    from tqdm import tqdm

    from cyclegan_hf.images.video import translate_video

    target.parent.mkdir(parents=True, exist_ok=True)
    steps: Any = translate_video(source, target, lambda frames: list(run(frames).images), batch_size=batch_size)
    done = 0
    with contextlib.closing(steps), tqdm(unit="frame", mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
        for step in steps:
            bar.total = step.total
            bar.update(step.done - done)
            done = step.done
    return f"{target}: {done} frames translated"
