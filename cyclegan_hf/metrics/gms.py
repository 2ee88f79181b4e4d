"""GMS, the figure by which the course report `face2cartoon_attention` chooses its checkpoints."""

import math


def gms(fid: float, inception_score: float) -> float:
    """Return `sqrt(FID / IS)`, the geometric mean of FID and 1 / IS; lower is better.

    The report names this score without defining it; its figures agree with this formula to 2e-5.

    Args:
        fid: Fréchet Inception distance of the translations to real pictures, at least 0.
        inception_score: Mean Inception score of the translations, above 0 (1 where all look alike).

    Returns:
        The score, at least 0.

    Raises:
        ValueError: If an argument is not one that FID or IS can have.
    """
    if not (fid >= 0 and inception_score > 0):
        raise ValueError(f"FID must be at least 0 and IS above 0, got {fid} and {inception_score}.")
    return math.sqrt(fid / inception_score)
