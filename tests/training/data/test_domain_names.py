"""What the two domains are called, and images that they share."""

import logging
from pathlib import Path

import pytest

from cyclegan_hf.training.command import read_command
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.domain_names import source_names
from cyclegan_hf.training.data.sources import load_sources
from tests.testing_utils import make_picture


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("monet/trainA", "photo/trainB", ("monet", "photo")),
        ("d/monet2photo/trainA", "d/monet2photo/trainB", ("monet", "photo")),
        ("summer2winter_yosemite/trainA", "summer2winter_yosemite/trainB", ("summer", "winter")),
        ("home/alice/trainA", "home/alice/trainB", ("a", "b")),
        ("home/alice/trainA", "photo", ("a", "photo")),
        ("summer", "winter", ("summer", "winter")),
        ("one/photos", "two/photos", ("one", "two")),
        ("data/trainA", "data/trainB", ("a", "b")),
        ("monet/trainA", "trainB", ("monet", "b")),
        ("my cats!", "x", ("my_cats", "x")),
    ],
)
def test_names_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a: str, b: str, names: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (a, b):
        Path(place).mkdir(parents=True, exist_ok=True)
    assert source_names(DataConfig(a=a, b=b)) == names


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("user/horse2zebra,column=imageA", "user/horse2zebra,column=imageB", ("horse", "zebra")),
        ("user/pets,label=cat", "user/pets,label=dog", ("cat", "dog")),
        ("user/monet", "user/photo,split=train", ("monet", "photo")),
        ("user/seasons,config=trainA", "user/seasons,config=trainB", ("a", "b")),
        ("hf://datasets/u/n/cats/*.parquet", "https://host.example/dogs.tar", ("cats", "dogs")),
        ("cats/**/*.jpg", "dogs/*.png", ("cats", "dogs")),
        ("./monet.parquet", "./train-00000-of-00002.parquet", ("monet", "b")),
    ],
)
def test_names_of_data_sets(a: str, b: str, names: tuple[str, str]) -> None:
    assert source_names(DataConfig(a=a, b=b)) == names


def test_a_recipes_names_go_with_its_own_sources(tmp_path: Path) -> None:
    for name in ("monet", "photo", "cats"):
        (tmp_path / name).mkdir()
    words = ["--recipe", "summer2winter_light", "--output-dir", str(tmp_path / "run")]
    places = [f"--data.a={tmp_path}/monet", "--data.b", f"{tmp_path}/photo"]

    def names(*given: str) -> tuple[str, str]:
        data = read_command(list(given))[0].data
        return data.domain_a, data.domain_b

    assert names(*words, *places) == ("monet", "photo")
    assert names(*words, *places, "--data.domain-a", "summer") == ("summer", "photo")
    assert names(*words, *places, "--data.domain_a=photo") == ("photo", "b")
    own = tmp_path / "own.yaml"
    own.write_text(
        f"data:\n  a: {tmp_path}/monet\n  b: {tmp_path}/photo\n  domain_a: paintings\n  domain_b: shots\n",
        encoding="utf-8",
    )
    words[1] = str(own)
    assert names(*words) == ("paintings", "shots")
    assert names(*words, "--data.a", f"{tmp_path}/cats") == ("cats", "shots")


@pytest.mark.parametrize("form", ["train{}", "train/{}", "{}"])
def test_a_folder_of_both_domains_is_refused(tmp_path: Path, form: str) -> None:
    for seed, letter in enumerate("AB"):
        folder = tmp_path / form.format(letter)
        folder.mkdir(parents=True)
        make_picture(letter, seed, 16).save(folder / "1.png")
    with pytest.raises(ValueError, match=rf"`data.a`.*Did you mean {tmp_path}/{form.format('A')}\?"):
        load_sources(DataConfig(a=str(tmp_path), b=str(tmp_path)))
    with pytest.raises(ValueError, match=rf"`data.b`.*Did you mean {tmp_path}/{form.format('B')}\?"):
        load_sources(DataConfig(a=str(tmp_path / form.format("A")), b=str(tmp_path)))


def test_shared_images_are_told(two_domains: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, b = str(two_domains / "trainA"), str(two_domains / "trainB")

    def told(**places: str | list[str]) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load_sources(DataConfig(**{"a": a, "b": b} | places))
        return [record.getMessage() for record in caplog.records]

    assert told() == []
    assert told(test_a=str(two_domains / "testA")) == []
    assert told(b=a) == ["`data.a` and `data.b` share 6 files."]
    assert told(test_a=f"{two_domains}/trainA/*") == ["`data.a` and `data.test_a` share 6 files."]
    assert told(a=[a, b]) == ["`data.a` and `data.b` share 6 files."]
    (two_domains / "again").symlink_to(two_domains / "trainA")
    assert told(b=str(two_domains / "again")) == ["`data.a` and `data.b` share 6 files."]


def test_shared_rows_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.training.data_files import write_parquet

    write_parquet(tmp_path / "set", (3,))
    for column, number in (("imageA", 1), ("imageB", 0)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load_sources(DataConfig(a=f"{tmp_path}/set,column=imageA", b=f"{tmp_path}/set,column={column}"))
        assert len([record for record in caplog.records if "same rows" in record.getMessage()]) == number
