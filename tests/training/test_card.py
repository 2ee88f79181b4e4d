"""The card of a trained model: what it says, and what it must not."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.training.tiny import DISCRIMINATOR, GENERATOR
from training.card import model_card
from training.config import TrainConfig


FACTS = {
    "step": 1234,
    "seconds": 1800.0,
    "num_processes": 1,
    "device": "cpu",
    "threads": 2,
    "mixed_precision": "no",
    "cyclegan_hf": "0.0.1",
    "torch": "2.99.0",
}


def card(tmp_path: Path, warm_start: str | None = None, **data: str) -> ModelCard:
    """The card as the Hub reads it: from its file."""
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    config.run.warm_start = warm_start
    for name, value in {"domain_a": "summer", "domain_b": "winter", **data}.items():
        setattr(config.data, name, value)
    path = tmp_path / "README.md"
    path.write_text(model_card(config, FACTS, {"a": 12, "b": 34}), encoding="utf-8")
    return ModelCard.load(path)


def test_the_run_is_described(tmp_path: Path) -> None:
    text = card(tmp_path).text
    for fact in ("12 of summer, 34 of winter", "1234 steps of 1", "0.50 hours on 1 × cpu", "cyclegan_hf 0.0.1"):
        assert fact in text
    assert "https://arxiv.org/abs/1703.10593" in text  # the Hub links the paper


def test_no_licence_is_made_up_and_the_place_for_it_is_shown(tmp_path: Path) -> None:
    found = card(tmp_path)
    assert "license" not in found.data.to_dict()
    metadata = (tmp_path / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "\n# license: " in metadata


def test_sources_on_the_hub_are_named(tmp_path: Path) -> None:
    data = card(tmp_path, warm_start="user/model", a="user/photos", b="user/photos").data
    assert (data.datasets, data.base_model) == (["user/photos"], "user/model")


@pytest.mark.parametrize("form", ["absolute", "relative", "dotted", "deep"])
def test_folders_of_this_machine_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    (tmp_path / "old" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    place = {
        "absolute": str(tmp_path / "old"),
        "relative": "old/run",  # which looks like an id
        "dotted": "./gone",
        "deep": "gone/old/run",
    }[form]
    found = card(tmp_path, warm_start=place, a=place, b="photos")
    assert {"datasets", "base_model"}.isdisjoint(found.data.to_dict())
    assert place not in found.content
