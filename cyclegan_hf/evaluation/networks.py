"""Feature networks for KID, FD and FID: installed with pip, from a file, from this machine's cache, or fetched."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.request
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.errors import one_line
from cyclegan_hf.feature_networks import VARIANTS, MissingPackageError
from cyclegan_hf.metrics.image_features import ImageFeatures, load_image_features
from cyclegan_hf.metrics.inception import FeatureNetwork, load_feature_network
from cyclegan_hf.metrics.weights import file_hash


logger = logging.getLogger(__name__)

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
"""Where the published weights are."""
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_CACHED_AS = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
_SECONDS = 20  # without a byte
DEFAULT_NETWORK = "efficientnet-lite2"
"""Discriminators train against EfficientNet-Lite0, so the figures use another network."""
_WITHOUT = "SWD, SSIM, edges, colours and cycles are reported"
_WAYS_OUT = "give their file with `--inception FILE`, or go without with `--inception none`"


def find_network(
    name: str = DEFAULT_NETWORK, inception: str | None = None
) -> tuple[FeatureNetwork | None, dict[str, str] | None]:
    """Return the feature network that `--feature-network` and `--inception` mean.

    Args:
        name: A name in `cyclegan_hf.feature_networks.VARIANTS`; a file (see `load_feature_network`); or `"none"`.
        inception: FID's Inception instead: a file with its published weights, or `"auto"`, the same from torch's
            cache, or else fetched into it. `None` and `"none"` leave it to `name`.

    Returns:
        The network, and its name and hash for the protocol; twice `None` without one. A warning says so where a
        package or the published weights can't be had.

    Raises:
        ValueError: If the file can't be used, or is not the one that its package published.
    """
    if inception not in (None, "none"):
        return _inception_weights() if inception == "auto" else _of_file(str(inception))
    if name == "none":
        return None, None
    if name not in VARIANTS:
        return _of_file(name)
    try:
        return load_image_features(name), {"name": name, "sha256": VARIANTS[name].sha256}
    except MissingPackageError as error:
        logger.warning("No KID, FD, GMS, domain probe and content distance: %s %s.", error, _WITHOUT)
        return None, None


def _of_file(path: str) -> tuple[FeatureNetwork, dict[str, str]]:
    if not Path(path).is_file():
        raise ValueError(f"A feature network must be {', '.join(VARIANTS)}, none or a file, got {path}: found none.")
    return load_feature_network(path), {"name": Path(path).name, "sha256": file_hash(path)}


def _inception_weights() -> tuple[FeatureNetwork | None, dict[str, str] | None]:
    try:
        path = published_weights()
    except OSError as error:
        logger.warning("No FID, KID, IS and GMS: %s.", one_line(error, 400))
        return None, None
    return load_feature_network(path), {"name": "FID's Inception v3 of 2015-12-05", "sha256": SHA256}


def published_weights(url: str = URL, sha256: str = SHA256) -> Path:
    """Return the file of the published weights from the cache of torch or torch-fidelity, or download it.

    Args:
        url: Where to fetch it.
        sha256: What it must hash to.

    Raises:
        OSError: If it cannot be had; the message tells the ways out.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in _CACHED_AS:
        if (folder / name).is_file() and file_hash(folder / name) == sha256:
            return folder / name
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise OSError(f"the weights of FID's Inception are not on this machine, which is offline: {_WAYS_OUT}")
    try:
        with whole_file(folder / _CACHED_AS[0]) as temporary:
            if (got := _fetch(url, temporary)) != sha256:
                raise OSError(f"what came has another hash, {got[:8]} and not {sha256[:8]}: a page of a proxy?")
    except (OSError, http.client.HTTPException) as error:  # the latter of what is no HTTP, or breaks off
        message = f"the weights of FID's Inception cannot be fetched from {url} ({one_line(error, 150)}): {_WAYS_OUT}"
        raise OSError(message) from error
    return folder / _CACHED_AS[0]


def on_device(measured: Any, device: torch.device | str) -> Any:
    """Wrap a network, or a measure of pairs, to take and return CPU tensors and compute on a device."""
    if isinstance(measured, torch.nn.Module):
        measured = measured.to(device)
    if isinstance(measured, ImageFeatures):
        return measured

    def there(*images: torch.Tensor) -> Any:
        found = measured(*(image.to(device) for image in images))
        return tuple(part.cpu() for part in found) if isinstance(found, tuple) else found.cpu()

    return there


def _fetch(url: str, path: Path) -> str:
    """Write what is at an address to a file; returns its SHA-256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer, path.open("wb") as file:
        length = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=length or None, unit="B", unit_scale=True, desc="FID's Inception") as bar:
            while chunk := answer.read(2**16):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    return digest.hexdigest()
