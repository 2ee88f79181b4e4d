"""16-bit files of 12-bit data in training: `data.input_range` maps them, and the model keeps it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_hf.training.builders import image_processors
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.data.rows import Encoded, open_picture
from cyclegan_hf.training.data.streams import DomainDataset, Key


def test_training_examples_are_mapped_from_files_and_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (16, 16), dtype=np.uint16)
    values[0, :2] = 0, 4095
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    config = DataConfig(a="a", b="b", input_range=[0, 4095], image_size=16, load_size=(16, 16))
    for picture in (path, Encoded("row", path.read_bytes())):
        opened = np.asarray(open_picture(picture, config.values))
        np.testing.assert_array_equal(opened, np.floor(values / 4095 * 255 + 0.5))
        assert np.asarray(open_picture(picture)).max() <= 16
    processor, _ = image_processors(TrainConfig(data=config, generator={"in_channels": 1, "out_channels": 1}))
    example, bad = DomainDataset([path], processor, config, 0, 0)[Key(0, 0)]
    assert not bad and (float(example.min()), float(example.max())) == (-1, 1)


def test_the_model_keeps_the_range() -> None:
    config = TrainConfig(data=DataConfig(a="a", b="b", input_range="auto"))
    assert [processor.input_range for processor in image_processors(config)] == ["auto", "auto"]
    assert DataConfig(a="a", b="b").values is None
    assert DataConfig(a="a", b="b", input_range=[0, 4095]).values == (0, 4095)


@pytest.mark.parametrize("wrong", ["4095", [4095, 0], [1], "automatic"])
def test_a_wrong_range_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"data\.input_range"):
        DataConfig(a="a", b="b", input_range=wrong)
