"""Pictures without their background: what is no subject becomes white."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from cyclegan_hf.errors import install_command
from cyclegan_hf.images.depth import InputRange
from cyclegan_hf.images.files import save_picture
from cyclegan_hf.images.io import ImageSource, open_image


logger = logging.getLogger(__name__)

BackgroundMethod = Literal["auto", "rembg", "grabcut"]

_WORK_SIZE = 192  # pixels of the longer side that GrabCut sees: its time grows faster than the number of pixels
_ITERATIONS = 5
_BORDER, _CORE, _BODY, _SHOULDERS = 0.03, 0.3, 0.8, 0.6  # of the picture, see `_prior`
_REACH = 0.1  # a subject below this share of the picture is little more than the core, and above 1 minus it none
_HOLE = 0.01  # of the picture: smaller gaps in the subject are filled
_VERSIONS = {"grabcut": "grabcut-1", "rembg": "rembg-u2net-1"}  # part of the cached files' names: count up on a change


def remove_background(image: ImageSource, method: BackgroundMethod = "auto") -> Image.Image:
    """Put the subject of an image on white.

    Args:
        image: what [`open_image`] takes.
        method: `"rembg"` (U²-Net, Qin et al. 2020), where the package is installed and its weights are there: nothing
            is downloaded; `"grabcut"` (Rother et al. 2004, in OpenCV), which knows no animals and takes the subject to
            be in the middle and to reach the lower border, as in a portrait; `"auto"`, the first of the two that
            works. A subject that GrabCut does not find leaves the picture as it is.

    Returns:
        `PIL.Image.Image`: of the same size, in mode `"RGB"`.

    Raises:
        ValueError: a picture that cannot be read, or a method that is not installed.
    """
    return _on_white(image, resolve_method(method))


def _on_white(image: ImageSource, method: Literal["rembg", "grabcut"], input_range: InputRange = None) -> Image.Image:
    picture = open_image(image, input_range=input_range).convert("RGB")
    alpha = _grabcut_alpha(picture) if method == "grabcut" else _rembg_alpha(picture)
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)


def resolve_method(method: BackgroundMethod) -> Literal["rembg", "grabcut"]:
    """Return what `method` means on this machine.

    Raises:
        ValueError: it needs a package or weights that are not here.
    """
    if method not in ("auto", "rembg", "grabcut"):
        raise ValueError(f'`method` must be "auto", "rembg" or "grabcut", got {method!r}')
    if method != "grabcut" and _rembg_weights():
        return "rembg"
    if method == "rembg":
        raise ValueError(
            f"expected the package rembg ({install_command('rembg')}) and its u2net.onnx in REMBG_HOME or "
            "U2NET_HOME (`rembg d u2net` fetches it), found one of them missing"
        )
    if importlib.util.find_spec("cv2") is None:
        raise ValueError(f"background removal needs the extra `background`: {install_command('background')}")
    return "grabcut"


def remove_backgrounds(
    paths: Sequence[Path],
    method: BackgroundMethod = "auto",
    cache_folder: Path | None = None,
    input_range: InputRange = None,
) -> list[Path]:
    """Put many images on white once; results are cached on disk by content and method.

    Args:
        paths: the pictures.
        method: see [`remove_background`].
        cache_folder: where the results are kept; by default `cyclegan_hf/backgrounds` in the Hub's home (`HF_HOME`).
        input_range: of values of more than 8 bits, what becomes black and white; the results have 8 bits.

    Returns:
        `list[Path]`: a PNG for each picture, in their order; a picture that cannot be read stands for itself.

    Raises:
        ValueError: the method is not installed.
        OSError: a result could not be written.
    """
    resolved = resolve_method(method)
    if resolved == "grabcut":
        import cv2  # noqa: F401  # here, and not in several threads at once: it is not whole until it is imported
    if cache_folder is None:
        from huggingface_hub.constants import HF_HOME

        cache_folder = Path(HF_HOME) / "cyclegan_hf" / "backgrounds"
    folder = cache_folder / _VERSIONS[resolved]

    def cleaned(path: Path) -> Path:
        try:
            content = path.read_bytes()
            reading = b"" if input_range is None else repr(input_range).encode()
            digest = hashlib.sha256(content + reading).hexdigest()
            target = folder / digest[:2] / f"{digest}.png"
            if not target.exists():
                save_picture(_on_white(content, resolved, input_range), target)
        except ValueError as error:
            logger.warning("Kept its background: %s: %s", path, error)
            return path
        return target

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # both methods compute outside of Python's lock
        bar = tqdm(
            pool.map(cleaned, paths),
            total=len(paths),
            desc=f"Backgrounds ({resolved})",
            unit="picture",
            mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds: a log file needs no ten lines a second
        )
        return list(bar)


def _rembg_weights() -> bool:
    """Return whether rembg works without a download. Of its models U²-Net is used (Apache-2.0): not all are free.

    The file is looked for where rembg 2.0 does: to ask rembg would import it, which at first takes minutes (numba).
    """
    if importlib.util.find_spec("rembg") is None or importlib.util.find_spec("onnxruntime") is None:
        return False
    environment, user = os.environ, Path.home()
    if home := environment.get("U2NET_HOME"):
        homes = [Path(home)]
    elif data := environment.get("XDG_DATA_HOME"):
        homes = [Path(environment.get("REMBG_HOME", Path(data, "rembg"))), Path(data, ".u2net")]
    else:
        homes = [Path(environment.get("REMBG_HOME", user / ".rembg")), user / ".u2net"]
    names = ("models/u2net/u2net.onnx", "u2net.onnx")
    return any((home.expanduser() / name).is_file() for home in homes for name in names)


@cache
def _rembg_session() -> Any:
    import rembg

    return rembg.new_session("u2net")


def _rembg_alpha(picture: Image.Image) -> Image.Image:
    (alpha,) = _rembg_session().predict(picture)
    return alpha


def _grabcut_alpha(picture: Image.Image) -> Image.Image:
    """Run GrabCut at a small size from a guess; return its largest piece without holes, softened."""
    import cv2

    scale = min(1.0, _WORK_SIZE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    whole = Image.new("L", picture.size, 255)
    if min(width, height) < 8:
        return whole
    small = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    mask = _prior(height, width)
    cv2.setRNGSeed(0)  # of this thread: its clusters start at random, and the cache would keep the luck of a first run
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, mask, (0, 0, 0, 0), background, foreground, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    subject = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(subject)
    areas = statistics[:, cv2.CC_STAT_AREA]
    if len(areas) > 1:
        subject = (labels == 1 + areas[1:].argmax()).astype(np.uint8)
    number, labels, statistics, _ = cv2.connectedComponentsWithStats(1 - subject, connectivity=4)
    for label in range(1, number):
        if statistics[label, cv2.CC_STAT_AREA] < _HOLE * subject.size:
            subject[labels == label] = 1
    if not _REACH < subject.mean() < 1 - _REACH:
        return whole
    soft = cv2.GaussianBlur(subject.astype(np.float32) * 255, (0, 0), 1.0)
    return Image.fromarray(soft.round().astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)


def _prior(height: int, width: int) -> np.ndarray:
    """Guess for GrabCut: the border of the upper half is background, the core is subject, the rest is unknown.

    Probably subject are an ellipse and, below the middle, what is as wide as shoulders: an animal is seldom cut off
    above, and often below.
    """
    import cv2

    y, x = np.mgrid[:height, :width]
    across, down = np.abs(2 * (x + 0.5) / width - 1), 2 * (y + 0.5) / height - 1
    radius = np.hypot(across, down)
    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    mask[(radius < _BODY) | ((down > 0) & (across < _SHOULDERS))] = cv2.GC_PR_FGD
    border = max(2, round(_BORDER * min(height, width)))
    mask[:border] = cv2.GC_BGD
    mask[: height // 2, :border] = mask[: height // 2, -border:] = cv2.GC_BGD
    mask[radius < _CORE] = cv2.GC_FGD
    return mask
