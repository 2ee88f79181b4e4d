"""Total variation."""

import pytest
import torch

from cyclegan_hf.losses.total_variation import total_variation_loss


def test_by_hand() -> None:
    # Rows (0, 2, 3) and (1, 1, -1). Along them: (2 + 1 + 0 + 2) / 4 = 1.25; along the columns: (1 + 1 + 4) / 3 = 2.
    image = torch.tensor([[0.0, 2.0, 3.0], [1.0, 1.0, -1.0]]).view(1, 1, 2, 3)
    assert total_variation_loss(image).item() == pytest.approx(3.25)


def test_the_extremes() -> None:
    assert total_variation_loss(torch.full((2, 3, 4, 4), 0.3)).item() == 0
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2).expand(1, 3, 4, 4)
    assert total_variation_loss(board).item() == 4
    assert total_variation_loss(board.bfloat16()).dtype == torch.float32


def test_a_single_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 pixels high and wide, got \(1, 4\)"):
        total_variation_loss(torch.zeros(1, 1, 1, 4))
