"""The validation split: who is held out, and that training and evaluation agree."""

from pathlib import Path

import pytest

from cyclegan_hf.evaluation.validation_split import validation_places
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.sources import load_sources
from tests.testing_utils import write_domains


NAMES = [f"{number:03d}.png" for number in range(50)]


def test_a_fifth_is_held_out_and_others_do_not_change_it() -> None:
    held_out = {NAMES[place] for place in validation_places(NAMES)}
    assert len(held_out) == 10 and held_out != set(NAMES[:10])
    assert held_out == {NAMES[::-1][place] for place in validation_places(NAMES[::-1])}
    assert held_out != {NAMES[place] for place in validation_places(NAMES, seed=1)}
    assert validation_places(["one.png", "two.png"]) in ([0], [1])  # at least one


def test_folds_share_out_all_images(tmp_path: Path) -> None:
    write_domains(tmp_path, count=9, size=16)
    places = {"a": str(tmp_path / "trainA"), "b": str(tmp_path / "trainB"), "validation_share": 0.3333}
    found = [load_sources(DataConfig(**places, validation_fold=fold)) for fold in range(3)]
    held_out = [path.name for sources in found for path in sources.validation["a"]]
    assert sorted(held_out) == [f"{number:03d}.png" for number in range(9)]
    for fold, sources in enumerate(found):
        assert len(sources.train["a"]) == 6 and not set(sources.train["a"]) & set(sources.validation["a"])
        names = [f"{number:03d}.png" for number in range(9)]
        places_of_fold = validation_places(names, 0.3333, fold=fold)
        assert [path.name for path in sources.validation["a"]] == [names[place] for place in places_of_fold]
    with pytest.raises(ValueError, match="validation_fold` must be below"):
        DataConfig(**places, validation_fold=3)


def test_training_holds_out_the_same_images(tmp_path: Path) -> None:
    write_domains(tmp_path, count=10, size=16)
    config = DataConfig(a=str(tmp_path / "trainA"), b=str(tmp_path / "trainB"), validation_share=0.2)
    held_out = [path.name for path in load_sources(config).validation["a"]]
    assert held_out == [f"{place:03d}.png" for place in validation_places([f"{n:03d}.png" for n in range(10)])]
