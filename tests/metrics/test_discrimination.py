"""When a discriminator is right."""

import pytest
import torch

from cyclegan_hf.metrics.discrimination import score_accuracy


@pytest.mark.parametrize(
    ("adversarial", "real", "fake", "expected"),
    [
        ("lsgan", [0.9, 0.4], [0.1, 0.2, 0.3, 0.6], (0.5 + 0.75) / 2),
        ("vanilla", [3.0, -1.0], [-2.0], 0.75),
        ("hinge", [0.1], [0.0], 1.0),  # on the threshold is taken for fake
        ("wgan", [10.0, 12.0], [8.0, 9.0], 1.0),
        ("relativistic", [1.0, 3.0], [1.0, 3.0], 0.5),
    ],
)
def test_by_hand(adversarial: str, real: list[float], fake: list[float], expected: float) -> None:
    assert score_accuracy(torch.tensor(real), torch.tensor(fake), adversarial).item() == pytest.approx(expected)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'ebgan'"):
        score_accuracy(torch.ones(1), torch.ones(1), "ebgan")
