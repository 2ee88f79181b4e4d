"""The control: a discriminator between the two real domains."""

from pathlib import Path

import pytest
import torch

from cyclegan_hf.training.domain_control import tell_domains_apart
from tests.training.tiny import tiny_config


def test_green_and_white_ground_are_told_apart_and_nothing_is_written(tmp_path: Path) -> None:
    domains = tmp_path / "domains"
    places = {"test_a": str(domains / "testA"), "test_b": str(domains / "testB")}
    config = tiny_config(
        tmp_path,
        run={"max_train_steps": 60},
        data=places,
        optimizer={"learning_rate": 5e-3},
        discriminator={"norm_type": "none"},
    )
    found = tell_domains_apart(config)
    assert found["train"] > 0.9
    assert found["test"] > 0.9
    assert set(found) == {"train", "test"}
    assert not (tmp_path / "run").exists()


def test_the_same_pictures_in_both_domains_are_not(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, run={"max_train_steps": 20})
    config.data.b = config.data.a
    assert tell_domains_apart(config)["train"] == pytest.approx(0.5, abs=0.3)
    assert torch.is_grad_enabled()


def test_domains_of_other_sizes_have_no_common_discriminator(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, generator={"in_channels": 1}, losses={"lambda_identity": 0})
    with pytest.raises(ValueError, match=r"where their pictures are alike, got 1 × 32² and 3 × 32²"):
        tell_domains_apart(config)
