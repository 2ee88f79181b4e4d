"""Pictures and helpers that the tests make for themselves."""

import multiprocessing
import socket
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from PIL import Image


FOLDERS = ("trainA", "trainB", "testA", "testB")
# RGB of the sky above and of the ground below: a green summer and a white winter, told apart by their mean alone.
_COLOURS = {
    "A": (np.array([110, 160, 215]), np.array([70, 130, 50])),
    "B": (np.array([190, 200, 215]), np.array([230, 233, 240])),
}


def make_picture(domain: str, seed: int, size: int | tuple[int, int] = 48) -> Image.Image:
    """Make a small landscape: a wavy horizon, smooth noise for hills and clouds.

    Args:
        domain (`str`): `"A"` for green ground, `"B"` for white ground.
        seed (`int`): the same seed gives the same picture.
        size (`int` or `tuple[int, int]`): side, or (width, height), in pixels.
    """
    width, height = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng([ord(domain), seed])
    x = np.linspace(0, 2 * np.pi, width)
    horizon = height * (0.4 + 0.1 * np.sin(x * rng.uniform(0.5, 2) + rng.uniform(0, 6)))
    ground = np.arange(height)[:, None] > horizon[None, :]  # (H, W)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    noise = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)[..., None]
    sky_colour, ground_colour = _COLOURS[domain]
    pixels = np.where(ground[..., None], ground_colour, sky_colour) + (noise - 128) * 0.2  # (H, W, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_domains(root: Path, count: int = 6, size: int | tuple[int, int] = 48) -> Path:
    """Write `trainA`, `trainB`, `testA` and `testB` under `root`: `count` different PNGs in each.

    Returns:
        `Path`: `root`.
    """
    for number, folder in enumerate(FOLDERS):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            picture = make_picture(folder[-1], seed=1000 * number + index, size=size)
            picture.save(root / folder / f"{index:03d}.png")
    return root


def noise(height: int = 9, width: int = 7, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 pixels of shape `(height, width, channels)`, or `(height, width)` for one channel."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return values if channels > 1 else values[..., 0]


def forked_processes() -> list[BaseProcess]:
    """What this process has forked, as loaders do; a pool that another test keeps is spawned, and shares nothing."""
    return [child for child in multiprocessing.active_children() if not isinstance(child, SpawnProcess)]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
