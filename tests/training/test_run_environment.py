"""What a resumed run may not have changed without being asked: its pictures."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from cyclegan_hf.training.config import DataConfig, TrainConfig
from cyclegan_hf.training.data.sources import load_sources
from cyclegan_hf.training.trainer import Trainer
from tests.training.data_files import grey
from tests.training.tiny import largest_difference, tiny_config, weights


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """Of a run that has left `checkpoint-2` of four steps."""
    config = tiny_config(tmp_path, run={"checkpointing_steps": 2}, data={"validation_share": 0.4})
    Trainer(config).train()
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    return config


def test_other_pictures_are_refused_unless_they_are_wanted(
    tmp_path: Path, config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "unbroken" / "checkpoint-2"
    picture = min((tmp_path / "domains" / "trainA").iterdir())
    shutil.copy(picture, picture.with_name("z.png"))
    for other in ("a new one", "another name"):
        with pytest.raises(ValueError, match="The run began with other pictures") as error:
            Trainer(config, checkpoint)
        assert "(2 pictures and 2 pictures); `--allow-other-pictures` goes on" in str(error.value), other
        assert "\n" not in str(error.value)
        picture.unlink(missing_ok=True)  # the second time, there are as many as at first
    config.run.allow_other_pictures = True
    trainer = Trainer(config, checkpoint)
    assert "\n  split: " in caplog.text
    trainer.train()
    saved = tmp_path / "run" / "checkpoint-4"
    assert not TrainConfig.from_yaml(saved / "training_state" / "config.yaml").run.allow_other_pictures
    config.run.allow_other_pictures = False
    assert Trainer(config, saved).step == 4  # the pictures are now the run's


def test_another_part_of_the_same_pictures_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    config.data.split_seed = 2
    with pytest.raises(ValueError, match="The run began with other pictures"):
        Trainer(config, tmp_path / "unbroken" / "checkpoint-2")


def test_a_folder_that_was_moved_is_the_same(tmp_path: Path, config: TrainConfig) -> None:
    (tmp_path / "domains").rename(tmp_path / "moved")
    config.data.a, config.data.b = (str(tmp_path / "moved" / name) for name in ("trainA", "trainB"))
    resumed = Trainer(config, tmp_path / "unbroken" / "checkpoint-2")
    resumed.train()
    assert json.loads((tmp_path / "run" / "checkpoint-4" / "training_state" / "run.json").read_text())["step"] == 4
    for file in ("log.jsonl", "epochs.jsonl"):
        assert (tmp_path / "run" / file).read_text() in (tmp_path / "unbroken" / file).read_text()
    again = Trainer(config, tmp_path / "unbroken" / "checkpoint-4")
    assert largest_difference(weights(resumed.raw), weights(again.raw)) == 0


@pytest.mark.parametrize("place", ["animals,label=dog", "animals/dog", "zips", "zips/one.zip", "zips/*.zip"])
def test_sources_that_were_moved_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "here" / "animals" / label).mkdir(parents=True)
        (tmp_path / "here" / "animals" / label / "1.png").write_bytes(grey(1))
    (tmp_path / "here" / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "here" / "zips" / "one.zip", "w") as archive:
        archive.writestr("inside/1.png", grey(1))
    monkeypatch.chdir(tmp_path / "here")
    relative = load_sources(DataConfig(a=place, b="animals/cat"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = load_sources(DataConfig(a=f"{tmp_path}/there/{place}", b="there/animals/cat"))
    assert moved.fingerprint == relative.fingerprint
    assert len(moved.train["a"]) == 1
    (tmp_path / "there" / "animals" / "dog" / "2.png").write_bytes(grey(2))
    with zipfile.ZipFile(tmp_path / "there" / "zips" / "one.zip", "a") as archive:
        archive.writestr("inside/2.png", grey(2))
    changed = load_sources(DataConfig(a=f"{tmp_path}/there/{place}", b="there/animals/cat"))
    assert changed.fingerprint != relative.fingerprint
