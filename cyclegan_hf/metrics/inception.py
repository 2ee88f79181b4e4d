"""FID, KID and Inception score, of whatever network gives the features.

Heusel et al. 2017; Bińkowski et al. 2018; Salimans et al. 2016.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from cyclegan_hf.metrics.inception_network import InceptionV3, Unit
from cyclegan_hf.metrics.inception_resampling import resampled_fid
from cyclegan_hf.metrics.weights import read_weights


FeatureNetwork = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Pictures `(batch_size, 3, height, width)` in [0, 1] to features `(batch_size, n)` and logits `(batch_size, m)`."""


def load_feature_network(path: str | Path) -> FeatureNetwork:
    """Read a feature network: the published weights of FID's Inception, or any network as TorchScript.

    Args:
        path: The file. See `inception_network` for the weights; see `FeatureNetwork` for what a network takes and
            gives. It resizes the pictures itself.

    Raises:
        ValueError: If there is no such file, or it is neither.
    """
    expected = "a TorchScript file, or the published weights of FID's Inception,"
    if not Path(path).is_file():
        raise ValueError(f"Expected {expected} at {path}, found none.")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError:  # no TorchScript
        weights = read_weights(path, expected)
    return inception_with(weights, str(path))


def inception_with(weights: dict[str, torch.Tensor], name: str = "the weights") -> InceptionV3:
    """Build FID's Inception with published weights, folding its batch norms into the convolutions.

    Args:
        weights: Tensors under the published names.
        name: What they are called in messages.

    Raises:
        ValueError: If tensors are missing, left over, or of another shape.
    """
    network = InceptionV3().eval()
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}  # early files lack them
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{name}: other shapes than those of FID's Inception.") from error
    if wrong := sorted(set(missing) - counters) or unexpected:
        raise ValueError(f"{name}: not FID's Inception, {len(wrong)} tensors differ, such as `{wrong[0]}`.")
    for unit in network.modules():
        if isinstance(unit, Unit):
            unit.fold()
    return network.requires_grad_(False)


@torch.no_grad()
def inception_features(batches: Iterable[torch.Tensor], network: FeatureNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute features and logits of images.

    Args:
        batches: Batches of shape `(batch_size, channels, height, width)` in [0, 1]; grey ones are repeated to colour.
        network: What knows them.

    Returns:
        Tensors of shapes `(n, features)` and `(n, classes)`.
    """
    found = [network(batch if batch.shape[1] == 3 else batch.expand(-1, 3, -1, -1)) for batch in batches]
    features, logits = (torch.cat([part.float().cpu() for part in parts]) for parts in zip(*found, strict=True))
    return features, logits


def fid(features: torch.Tensor, target: torch.Tensor) -> float:
    """Return the Fréchet distance of two sets of features in double precision; lower is better. Inception's is FID.

    By torchmetrics, or of fewer images than features by the smaller matrix of `resampled_fid`: the same in a
    hundredth of the time.

    Args:
        features (`torch.Tensor` of shape `(n, features)`): One set, of at least 2 pictures.
        target (`torch.Tensor` of shape `(m, features)`): The other.

    Raises:
        ValueError: If a set has fewer than 2 pictures.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(features), len(target)) < 2:
        raise ValueError(f"FID needs at least 2 pictures in each set, got {len(features)} and {len(target)}.")
    if len(features) * len(target) <= features.shape[1] ** 2:
        return max(0.0, resampled_fid(features, target, torch.ones(1, len(features))).item())
    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]), normalize=True).set_dtype(torch.float64)
    metric.update(target.double(), real=True)
    metric.update(features.double(), real=False)
    return max(0.0, metric.compute().item())  # rounding leaves a set's distance to itself just below 0 at times


def kid(
    features: torch.Tensor, target: torch.Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the kernel Inception distance of two sets of features, with torchmetrics; lower is better.

    The unbiased squared maximum mean discrepancy with the kernel `(x · y / n + 1)³`: unlike FID, its expectation does
    not depend on how many pictures there are. It may fall below 0.

    Args:
        features (`torch.Tensor` of shape `(n, features)`): One set, of at least 2 pictures.
        target (`torch.Tensor` of shape `(m, features)`): The other.
        subsets: Random subsets over which mean and deviation are taken.
        subset_size: Pictures of either set in a subset; see `kid_subset_size`.
        seed: Seed of the subsets.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        ValueError: If a subset has fewer than 2 pictures, or a set fewer than a subset.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    if not 2 <= subset_size <= min(len(features), len(target)):
        raise ValueError(
            f"KID needs subsets of at least 2 pictures and sets of at least those, got {subset_size} of "
            f"{len(features)} and {len(target)}."
        )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features
        torch.manual_seed(seed)  # torchmetrics draws with torch's own random numbers
        metric = KernelInceptionDistance(feature=_Given(features.shape[1]), subsets=subsets, subset_size=subset_size)
        metric.set_dtype(torch.float64)
        metric.update(target.double(), real=True)
        metric.update(features.double(), real=False)
        mean, std = metric.compute()
    return mean.item(), std.item()


def kid_subset_size(n: int, m: int) -> int:
    """Return the size of a subset: the paper's 1000, half of smaller sets, so that subsets differ."""
    fewest = min(n, m)
    return 1000 if fewest >= 1000 else max(2, fewest // 2)


def inception_score_splits(n: int, splits: int = 10) -> int:
    """Return the number of parts for the Inception score of `n` images: `splits`, or fewer, so that a part has two."""
    return max(1, min(splits, n // 2))


def inception_score(logits: torch.Tensor, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Return mean and standard deviation of the Inception score over `splits` shuffled parts; higher is better.

    Args:
        logits (`torch.Tensor` of shape `(n, classes)`): The network's logits for each picture.
        splits: Parts; 10 in the paper. See `inception_score_splits`.
        seed: Seed of the shuffle.

    Returns:
        The mean, in [1, classes], and the standard deviation (0 for a single part).
    """
    from torchmetrics.image.inception import InceptionScore

    splits = inception_score_splits(len(logits), splits)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features; and the deviation of a single part
        torch.manual_seed(seed)  # torchmetrics shuffles with torch's own random numbers
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=splits)
        metric.update(logits)
        mean, std = metric.compute()
    return mean.item(), std.item() if splits > 1 else 0.0


class _Given(nn.Module):
    """Features that are there already, in the place of the network that torchmetrics asks."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features
