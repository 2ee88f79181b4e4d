"""Mean/std space: the training pictures' own statistics, and runs that stand on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.training.config import DataConfig, TrainConfig
from cyclegan_hf.training.data.normalization import dataset_statistics
from cyclegan_hf.training.trainer import Trainer
from tests.training.tiny import largest_difference, tiny_config, weights


SIZES = DataConfig(image_size=4, load_size=(4, 4))


def write(folder: Path, *pictures: np.ndarray) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


def test_mean_and_deviation_of_each_channel_over_all_pixels(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3))
    grey = np.array([[[0, 255], [255, 0]]]).repeat(2, axis=1).repeat(2, axis=2)  # half black, half white, 4 × 4
    files = {"a": write(tmp_path / "a", *pictures), "b": write(tmp_path / "b", grey[0])}
    statistics = dataset_statistics(files, SIZES, (3, 1))
    assert statistics["a"]["mean"] == pytest.approx((pictures / 255).mean((0, 1, 2)), abs=1e-7)
    assert statistics["a"]["std"] == pytest.approx((pictures / 255).std((0, 1, 2)), abs=1e-7)
    assert statistics["b"] == {"mean": pytest.approx([0.5]), "std": pytest.approx([0.5])}
    assert dataset_statistics(files, SIZES, (3, 1)) == statistics  # to the last bit


def test_every_picture_counts_the_same_and_bad_ones_not_at_all(tmp_path: Path) -> None:
    small, large = np.zeros((4, 4, 3)), np.full((40, 40, 3), 255)
    files = write(tmp_path / "a", small, large)
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    statistics = dataset_statistics({"a": [*files, tmp_path / "a" / "bad.png"]}, SIZES, (3, 3))
    assert statistics["a"]["mean"] == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([np.full((4, 4, 3), 51)], r"needs pictures that differ: a channel of `data.a` is 0.200 everywhere"),
        ([], r"`data.a` holds no picture that can be read \(1 files\)"),
    ],
)
def test_pictures_without_a_deviation_are_refused(tmp_path: Path, pixels: list[np.ndarray], message: str) -> None:
    files = write(tmp_path / "a", *pixels) or [tmp_path / "missing.png"]
    with pytest.raises(ValueError, match=message) as error:
        dataset_statistics({"a": files}, SIZES, (3, 3))
    assert "\n" not in str(error.value)


UNET = {
    "_class_name": "MaxPoolUnetGenerator",
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
}


def unet_config(folder: Path, **groups: Any) -> TrainConfig:
    """000 in small: mean/std space, augmentation, splits, a U-Net with a linear output."""
    data = {"normalization": "dataset", "rotation": 15.0, "resize_jitter": 0.1, "crop_fraction": 0.25}
    data |= {"validation_share": 0.3, "load_size": [32, 32]} | groups.pop("data", {})
    config = tiny_config(folder, data=data, **groups)
    config.generator = dict(UNET)
    return config


def test_a_run_keeps_its_statistics(tmp_path: Path) -> None:
    config = unet_config(tmp_path, run={"checkpointing_steps": 2, "max_train_steps": 4})
    unbroken = Trainer(config)
    unbroken.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    facts = json.loads((checkpoint / "training_state" / "run.json").read_text())
    processor = CycleGANPipeline.from_pretrained(checkpoint).image_processor_b
    assert list(processor.mean) == facts["statistics"]["b"]["mean"]
    assert list(processor.std) == facts["statistics"]["b"]["std"]

    held_out = unbroken.sources.validation["a"][0]
    assert held_out not in unbroken.pictures["a"]
    assert unbroken.sample_pictures["a2b"] == [held_out]
    Image.new("RGB", (40, 40), "red").save(unbroken.pictures["a"][0])  # would change the statistics
    resumed = Trainer(config, checkpoint)
    assert resumed.statistics == unbroken.statistics == facts["statistics"]


def test_a_run_with_every_data_step_resumes_bit_for_bit(tmp_path: Path) -> None:
    data = {"pairing": "random_capped", "limit": 2, "test_share": 0.3, "validation_share": 0.0, "color_jitter": 0.1}
    config = unet_config(tmp_path, run={"checkpointing_steps": 3, "max_train_steps": 6}, data=data)
    unbroken = Trainer(config)
    unbroken.train()
    config.run.output_dir = str(tmp_path / "second")
    resumed = Trainer(config, tmp_path / "run" / "checkpoint-3")
    resumed.train()
    assert resumed.step == 6
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0


@pytest.mark.parametrize(("began", "goes_on"), [("half", "dataset"), ("dataset", "half")])
def test_the_space_cannot_change_in_the_middle(tmp_path: Path, began: str, goes_on: str) -> None:
    run = {"checkpointing_steps": 1, "max_train_steps": 1}
    Trainer(unet_config(tmp_path, run=run, data={"normalization": began})).train()
    config = unet_config(tmp_path, run=run, data={"normalization": goes_on})
    with pytest.raises(ValueError, match=rf"`data.normalization` cannot be {goes_on}: .* began with {began}"):
        Trainer(config, tmp_path / "run" / "checkpoint-1")


def test_an_identity_stays_the_picture_after_mean_std_space() -> None:
    processor = ImageProcessor(mean=(0.3, 0.4, 0.6), std=(0.2, 0.25, 0.1))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    (restored,) = processor.postprocess(processor.to_array(image)[None])
    assert restored.tobytes() == image.tobytes()
