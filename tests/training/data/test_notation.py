"""How sources are written, on the command line and in recipes."""

from pathlib import Path

import pytest

from cyclegan_hf.training.command import read_command
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.notation import SourceSpec, read_sources


def read(text: str) -> SourceSpec:
    (spec,) = read_sources(text, "data.a")
    return spec


def test_a_place_with_options() -> None:
    spec = read(
        "user/name,config=large,split=train,column=imageA,revision=v2,token=MINE,label=zebra,weight=2.5,unique=true"
    )
    assert (spec.place, spec.config, spec.split, spec.column, spec.revision) == (
        *("user/name", "large", "train", "imageA", "v2"),
    )
    assert (spec.token, spec.label, spec.weight, spec.unique, spec.is_hub_id) == ("MINE", "zebra", 2.5, True, True)


@pytest.mark.parametrize(
    ("text", "place", "is_hub_id", "is_address"),
    [
        ("photos", "photos", False, False),
        ("user/name", "user/name", True, False),
        ("./user/name", "./user/name", False, False),
        ("/data/user/name", "/data/user/name", False, False),
        ("data/**/*.jpg", "data/**/*.jpg", False, False),
        ("hf://datasets/user/name@v2/a.parquet,split=train", "hf://datasets/user/name@v2/a.parquet", False, True),
        ("https://host/a.tar?key=1,2&b=3", "https://host/a.tar?key=1,2&b=3", False, True),
        ("https://host/a.tar?key=1,split=x", "https://host/a.tar?key=1", False, True),
    ],
)
def test_places(text: str, place: str, is_hub_id: bool, is_address: bool) -> None:
    spec = read(text)
    assert (spec.place, spec.is_hub_id, spec.is_address) == (place, is_hub_id, is_address)


def test_what_is_there_is_a_path_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    assert not read("user/name").is_hub_id
    (tmp_path / "a,split=b").mkdir()
    assert (read("a,split=b").place, read("a,split=b").split) == ("a,split=b", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u/n,spilt=train", r"`data.a` u/n,spilt=train: there is no option `spilt=`. Did you mean `split=`\?"),
        ("u/n,zzz=1", r"there is no option `zzz=`. There are: config, split, column, "),
        ("u/n,unique=yes", "`unique=` must be true or false"),
        ("u/n,weight=0", "`weight=` must be a number above 0"),
        ("u/n,weight=nan", "`weight=` must be a number above 0"),
        ("u/n,weight=much", "`weight=` must be a number above 0"),
        ("", "`data.a` must be a source of pictures, got ''"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


def test_a_token_is_named_and_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="must be the name of an environment variable") as error:
        read("u/n,token=hf_abcdef")
    assert "abcdef" not in str(error.value)
    with pytest.raises(ValueError, match="`token=NOT_SET` names no environment variable that is set"):
        read("u/n,token=NOT_SET").secret()
    monkeypatch.setenv("MINE", "hf_abcdef")
    assert read("u/n,token=MINE").secret() == "hf_abcdef"
    assert read("u/n").secret() is None


def test_one_flag_takes_one_source_or_several(tmp_path: Path) -> None:
    run = ["--output-dir", str(tmp_path / "run")]
    config, _, _ = read_command([*run, "--data.a", "photos", "--data.b", "u/n,column=b", "more,weight=2"])
    assert (config.data.a, config.data.b) == ("photos", ["u/n,column=b", "more,weight=2"])
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml(), encoding="utf-8")
    assert TrainConfig.from_yaml(again).data == config.data
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data:\n  a: photos\n  b: [u/n, more]\n", encoding="utf-8")
    config, _, _ = read_command([*run, "--recipe", str(recipe), "--data.a", "others"])
    assert (config.data.a, config.data.b) == ("others", ["u/n", "more"])


def test_a_source_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data: {a: [1, 2]}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"`data.a` must be str, got 1"):
        TrainConfig.from_yaml(tmp_path / "recipe.yaml")
