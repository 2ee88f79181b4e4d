"""FID, KID and Inception score of resampled pictures, for their spread: from matrices that are computed once."""

import torch


def resampled_fid(features: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the FID of resamples to a fixed target.

    With covariances `A Aᵀ` and `B Bᵀ` of few pictures, the trace of the root of their product is the sum of the
    singular values of `Aᵀ B`, which has a row and a column a picture instead of one a feature.

    Args:
        features (`torch.Tensor` of shape `(n, features)`): The set that is resampled.
        target (`torch.Tensor` of shape `(m, features)`): The target.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample.

    Returns:
        Tensor of shape `(resamples,)`, in double precision.
    """
    ours, theirs = features.double(), target.double()
    its_mean = theirs.mean(0)
    ours, theirs = ours - its_mean, theirs - its_mean  # so that numbers are small
    products = ours @ theirs.T / (len(theirs) - 1) ** 0.5
    its_trace, squares = theirs.square().sum() / (len(theirs) - 1), ours.square().sum(1)
    distances = []
    for count in counts.double():
        weights = count / count.sum()
        freedom = count.sum() - 1
        mean = weights @ ours
        trace = (count @ squares - count.sum() * mean.square().sum()) / freedom
        there = count > 0
        rows = (products[there] - weights @ products) * (count[there] / freedom).sqrt()[:, None]
        if rows.shape[0] > rows.shape[1]:
            rows = rows.T
        root = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0).sqrt().sum()
        distances.append(mean.square().sum() + trace + its_trace - 2 * root)
    return torch.stack(distances)


def resampled_kid(features: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the KID of whole resamples to a fixed target. Copies of one image don't count as a pair.

    Args:
        features (`torch.Tensor` of shape `(n, features)`): The set that is resampled.
        target (`torch.Tensor` of shape `(m, features)`): The target, of at least 2 pictures.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample.

    Returns:
        Tensor of shape `(resamples,)`, in double precision; NaN for a resample of a single picture.
    """
    ours, theirs, counts = features.double(), target.double(), counts.double()
    own, across, its = _kernel(ours, ours), _kernel(ours, theirs), _kernel(theirs, theirs)
    pairs = counts.sum(1).square() - counts.square().sum(1)
    within = ((counts @ own * counts).sum(1) - counts.square() @ own.diag()) / pairs
    between = counts @ across.mean(1) / counts.sum(1)
    m = len(theirs)
    return within + (its.sum() - its.trace()) / (m * (m - 1)) - 2 * between


def resampled_inception_score(logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the Inception score of resamples, each in one part.

    Args:
        logits (`torch.Tensor` of shape `(n, classes)`): The network's logits for each picture.
        counts (`torch.Tensor` of shape `(resamples, n)`): How often each picture is in each resample.

    Returns:
        Tensor of shape `(resamples,)`, in double precision.
    """
    weights = counts.double() / counts.sum(1, keepdim=True)
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    mean = weights @ p
    return (weights @ (p * log_p).sum(1) - torch.xlogy(mean, mean).sum(1)).exp()


def _kernel(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return (ours @ theirs.T / ours.shape[1] + 1) ** 3
