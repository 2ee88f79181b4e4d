"""Pre-training on aligned pairs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.data.pairs import Pairs, draw_pair, find_pairs
from cyclegan_hf.training.objectives import term_weights
from cyclegan_hf.training.pretrain import pretrain
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import tiny_config


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Noise, and the same noise brighter."""
    rng = np.random.default_rng(0)
    for domain in "ab":
        (tmp_path / "pairs" / domain).mkdir(parents=True)
    for index in range(4):
        values = rng.integers(0, 120, (48, 64, 3), dtype=np.uint8)
        for domain, picture in (("a", values), ("b", values + 120)):
            Image.fromarray(picture).save(tmp_path / "pairs" / domain / f"{index}.png")
    return tmp_path / "pairs"


def test_both_pictures_of_a_pair_are_changed_alike(pairs: Path) -> None:
    files = find_pairs(pairs)
    assert [(a.name, b.parent.name) for a, b in files] == [(f"{index}.png", "b") for index in range(4)]
    same = (files[0][0], files[0][0])
    rng = np.random.default_rng(1)
    drawn = [draw_pair(same, 32, rng) for _ in range(3)]
    for a, b in drawn:
        assert a.shape == (1, 3, 32, 32) and a.dtype == torch.float32 and a.abs().max() <= 1
        assert torch.equal(a, b)
    assert not torch.equal(drawn[0][0], drawn[1][0])


def test_a_picture_without_partner_is_named(pairs: Path, tmp_path: Path) -> None:
    (pairs / "b" / "2.png").unlink()
    with pytest.raises(ValueError, match="lack a partner, such as 2"):
        find_pairs(pairs)
    with pytest.raises(ValueError, match="must hold the folders"):
        find_pairs(tmp_path)


def test_the_generators_learn_the_pairs_and_are_where_training_starts(pairs: Path, tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path,
        run={"max_train_steps": 60},
        data={"pairs": str(pairs)},
        generator={"_class_name": "AffineResidualGenerator", "block_out_channels": [8, 16], "num_res_blocks": 1},
        init={"type": "torch"},
    )
    pretrain(config)
    output = Path(config.run.output_dir)
    losses = json.loads((output / "pretraining.json").read_text())["loss"]
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:15])
    pipeline = CycleGANPipeline.from_pretrained(output)
    before = Image.open(pairs / "a" / "0.png")
    brighter, darker = (np.asarray(pipeline(before, direction=way).images[0]).mean() for way in ("a2b", "b2a"))
    assert darker < np.asarray(before).mean() + 5 and brighter > np.asarray(before).mean() + 30
    with pytest.raises(ValueError, match="already"):
        pretrain(config)


def test_pairs_beside_unpaired_training_take_turns_in_both_directions(pairs: Path, tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path,
        run={"max_train_steps": 2, "logging_steps": 1},
        data={"pairs": str(pairs)},
        losses={"lambda_pairs": 2.0},
    )
    Trainer(config).train()
    lines = [json.loads(line) for line in (Path(config.run.output_dir) / "log.jsonl").read_text().splitlines()]
    assert [("pairs_a2b" in line, "pairs_b2a" in line) for line in lines] == [(True, False), (False, True)]
    first = lines[0]
    rest = sum(
        first[name] * weight
        for name, weight in term_weights(config.losses, 1).items()
        if name in first and not name.startswith("pairs")
    )
    assert first["generator"] == pytest.approx(rest + 2 * first["pairs_a2b"], rel=1e-4)


def test_a_pair_follows_from_the_position(pairs: Path) -> None:
    files = find_pairs(pairs)
    first, again, other = (
        Pairs(files, 32, 0, 0).draw(5),
        Pairs(files, 32, 0, 0).draw(5),
        Pairs(files, 32, 0, 1).draw(5),
    )
    assert torch.equal(first["pair_a"], again["pair_a"]) and torch.equal(first["pair_b"], again["pair_b"])
    assert not torch.equal(first["pair_a"], other["pair_a"])


@pytest.mark.parametrize("groups", [{"data": {"pairs": "x"}}, {"losses": {"lambda_pairs": 1.0}}])
def test_pairs_and_their_weight_need_one_another(tmp_path: Path, groups: dict) -> None:
    with pytest.raises(ValueError, match="need one another"):
        Trainer(tiny_config(tmp_path, **groups))
