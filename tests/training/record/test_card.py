"""The card of a trained model: what it says, and what it must not."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.record.card import model_card
from cyclegan_hf.training.record.provenance import Origins
from tests.training.tiny import DISCRIMINATOR, GENERATOR


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
    path.write_text(model_card(config, FACTS, {"a": 12, "b": 34}, None, Origins(config)), encoding="utf-8")
    return ModelCard.load(path)


def test_the_run_is_described(tmp_path: Path) -> None:
    text = card(tmp_path).text
    for fact in ("12 of summer, 34 of winter", "1234 steps of 1", "0.50 hours on 1 × cpu", "cyclegan_hf 0.0.1"):
        assert fact in text
    assert "https://arxiv.org/abs/1703.10593" in text  # the Hub links the paper


def test_licences_parameters_and_hardware(tmp_path: Path) -> None:
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    config.hub.hub_license, config.hub.hub_data_license = "mit", "cc0-1.0"
    facts = FACTS | {"hardware": "Abacus 3", "parameters": {"generator_a2b": 2939, "discriminator_b": 577}}
    found = ModelCard(model_card(config, facts, {"a": 1200, "b": 34}, None, Origins(config)))
    assert found.data.license == "mit"
    for fact in ("licence: cc0-1.0", "on 1 × Abacus 3 (2 threads)", "2,939 parameters each", "577 parameters each"):
        assert fact in found.text
    assert "| pictures | 1,200 of a, 34 of b |" in found.text


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        (None, "is not recorded"),
        ({}, "saw none"),
        ({"inversion_a2b": "light turns dark"}, "saw:\n\n- inversion_a2b: light turns dark."),
    ],
)
def test_known_failures_are_told(signals: dict[str, str] | None, words: str) -> None:
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    text = model_card(config, FACTS, {"a": 1, "b": 1}, signals, Origins(config))
    assert words in text.split("## Limits")[1]


def test_no_licence_is_made_up_and_the_place_for_it_is_shown(tmp_path: Path) -> None:
    found = card(tmp_path)
    assert "license" not in found.data.to_dict()
    metadata = (tmp_path / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "\n# license: " in metadata


def test_sources_on_the_hub_are_named(tmp_path: Path) -> None:
    data = card(tmp_path, warm_start="user/model", a="user/photos", b="user/photos").data
    assert (data.datasets, data.base_model) == (["user/photos"], "user/model")


@pytest.mark.parametrize(
    ("text", "named"),
    [("---\nbase_model: user/first\n---\n", "user/first"), ("My notes", None), ("---\n[\n---\n", None), (None, None)],
)
def test_a_folders_base_model_is_what_its_card_names(tmp_path: Path, text: str | None, named: str | None) -> None:
    start = tmp_path / "start"
    start.mkdir()
    if text is not None:
        (start / "README.md").write_text(text)
    assert card(tmp_path, warm_start=str(start)).data.base_model == named


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


def test_a_folder_that_is_removed_while_the_run_goes_on_is_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old/run", "old/photos"):
        Path(name).mkdir(parents=True)
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    config.run.warm_start, config.data.a, config.data.b = "old/run", "old/photos", ["u/n,column=a", "u/n,column=b"]
    origins = Origins(config)
    shutil.rmtree("old")
    found = ModelCard(model_card(config, FACTS, {"a": 1, "b": 1}, None, origins))
    assert found.data.base_model is None and found.data.datasets == ["u/n"]
    assert "old/" not in found.content and "u/n (licence not stated), folders of the author (licence" in found.text
