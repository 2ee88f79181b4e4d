"""Which pictures a run trains with: folders, splits, limits, pairs, backgrounds."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_hf.images.io import open_image
from cyclegan_hf.training.config import DataConfig
from cyclegan_hf.training.data.sources import Sources, load_sources, pair_randomly, species, without_backgrounds


def touch(folder: Path, names: list[str]) -> list[Path]:
    """Empty files: sources open no picture."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [folder / name for name in names]


def two_folders(root: Path, count_a: int, count_b: int) -> dict[str, str]:
    touch(root / "a", [f"{number:04d}.jpg" for number in range(count_a)])
    touch(root / "b", [f"{number:04d}.png" for number in range(count_b)])
    return {"a": str(root / "a"), "b": str(root / "b")}


def load(places: dict[str, str], **data: Any) -> Sources:
    return load_sources(DataConfig(**places, **data))


def counts(sources: Sources) -> list[tuple[int, int]]:
    return [(len(split["a"]), len(split["b"])) for split in (sources.train, sources.validation, sources.test)]


def test_without_shares_everything_is_trained_with(tmp_path: Path) -> None:
    sources = load(two_folders(tmp_path, 5, 3))
    assert counts(sources) == [(5, 3), (0, 0), (0, 0)]
    assert [path.name for path in sources.train["a"]] == [f"{number:04d}.jpg" for number in range(5)]


@pytest.mark.parametrize(
    ("total", "shares", "expected"),
    [
        (5400, {"test_share": 0.1, "validation_share": 0.009}, (4811, 49, 540)),  # 003's task 2: 90/10, then 99/1
        (600, {"test_share": 0.05, "validation_share": 0.05}, (540, 30, 30)),  # 000: 90/5/5
        (400, {"validation_share": 0.01}, (396, 4, 0)),  # 003's task 1: 99/1
        (20, {"validation_share": 0.001}, (19, 1, 0)),  # a share is at least one picture
    ],
)
def test_the_reports_splits(tmp_path: Path, total: int, shares: dict[str, float], expected: tuple[int, ...]) -> None:
    sources = load(two_folders(tmp_path, total, total), **shares)
    assert counts(sources) == [(number, number) for number in expected]
    for key in ("a", "b"):
        together = sources.train[key] + sources.validation[key] + sources.test[key]
        assert len(set(together)) == total


def test_a_split_follows_its_seed_and_the_names_alone(tmp_path: Path) -> None:
    shares = {"test_share": 0.2, "validation_share": 0.2}
    first, second = (load(two_folders(tmp_path / place, 50, 50), **shares) for place in ("here", "there"))
    assert [path.name for path in first.test["a"]] == [path.name for path in second.test["a"]]
    assert first.fingerprint == second.fingerprint
    other = load(two_folders(tmp_path / "here", 50, 50), split_seed=1, **shares)
    assert first.test["a"] != other.test["a"]
    assert first.fingerprint != other.fingerprint


def test_a_test_folder_takes_the_place_of_its_share(tmp_path: Path) -> None:
    places = two_folders(tmp_path, 10, 10)
    (test,) = touch(tmp_path / "testA", ["one.png"])
    sources = load(places, test_a=str(test.parent), test_share=0.2)
    assert sources.test["a"] == [test]
    assert counts(sources) == [(10, 8), (0, 0), (1, 2)]


def test_a_limit_draws_from_all_class_folders_and_smaller_ones_are_parts_of_larger_ones(tmp_path: Path) -> None:
    names = [f"class{number // 10}/{number}.png" for number in range(100)]
    touch(tmp_path / "a", names)
    touch(tmp_path / "b", names)
    places = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    small, large = (load(places, limit=limit).train["a"] for limit in (20, 50))
    assert (len(small), len(large)) == (20, 50)
    assert set(small) < set(large)
    assert small == sorted(small)
    assert len({path.parent for path in small}) > 5
    assert len(load(places, limit=1000).train["a"]) == 100


def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"leave none of 2 pictures in `data.b` to train with") as error:
        load(two_folders(tmp_path, 10, 2), test_share=0.1, validation_share=0.1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bulbasaur/3.png", "bulbasaur"), ("25.png", "25"), ("25-female.png", "25"), ("mew_2.png", "mew")],
)
def test_a_species_is_a_folder_or_the_beginning_of_a_name(tmp_path: Path, name: str, expected: str) -> None:
    assert species(tmp_path / name, tmp_path).split("/")[-1] == expected


def test_no_species_is_paired_more_often_than_the_cap(tmp_path: Path) -> None:
    animals = touch(tmp_path / "a", [f"{number}.jpg" for number in range(55)])
    sprites = touch(tmp_path / "b", [f"{number}{form}.png" for number in range(10) for form in ("", "-f", "-x")])
    partners = pair_randomly(animals, sprites, tmp_path / "b", cap=6, seed=0)
    uses = Counter(species(path, tmp_path / "b") for path in partners)
    assert len(partners) == 55
    assert len(uses) == 10
    assert max(uses.values()) == 6
    assert len(set(partners)) > 20  # different pictures stand for a species
    assert partners == pair_randomly(animals, sprites, tmp_path / "b", cap=6, seed=0)
    assert partners != pair_randomly(animals, sprites, tmp_path / "b", cap=6, seed=1)


def test_too_few_species_are_refused_with_the_cap_that_would_do(tmp_path: Path) -> None:
    places = two_folders(tmp_path, 13, 3)
    with pytest.raises(ValueError, match=r"`data.pairing_cap` must be at least 5 for 13 .* 3 species of B, got 4"):
        load(places, pairing="random_capped", pairing_cap=4)
    sources = load(places, pairing="random_capped", pairing_cap=5)
    assert sources.paired
    assert len(sources.train["a"]) == len(sources.train["b"]) == 13


def test_backgrounds_go_from_the_domains_that_ask_for_it_in_every_split(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV, the extra `background`")
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "testB/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = Image.new("RGB", (64, 64), (20, 90, 40 + 10 * len(name)))
        picture.paste((230, 60, 30), (18, 14, 46, 64))
        picture.save(tmp_path / name)
    config = DataConfig(
        **{key: str(tmp_path / key) for key in ("a", "b")},
        test_b=str(tmp_path / "testB"),
        validation_share=0.1,
        remove_background_a=True,
        background_method="grabcut",
        max_bad_share=0,
    )
    (tmp_path / "b" / "2.png").touch()
    before = load_sources(config)
    after = without_backgrounds(before, config)
    for split in (after.train, after.validation):
        assert all(open_image(path).getpixel((2, 2)) == (255, 255, 255) for path in split["a"])
    assert [len(after.train["a"]), len(after.validation["a"])] == [2, 1]
    assert (after.train["b"], after.test["b"]) == (before.train["b"], before.test["b"])
    assert after.fingerprint == before.fingerprint
