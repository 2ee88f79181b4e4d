"""Test the GPU scripts' results, on a machine without one: shards, figures, tables."""

import json
from pathlib import Path

import pytest
import torch

from cyclegan_hf import CycleGANPipeline, ResnetGenerator
from tests.gpu import support
from tests.gpu.shards import pack, unpack
from tests.gpu.table import tables


def pipeline(folder: Path, width: int = 4) -> Path:
    generators = [ResnetGenerator(block_out_channels=(width, 2 * width), num_res_blocks=1) for _ in range(2)]
    CycleGANPipeline(*generators, domain_a="summer", domain_b="winter").save_pretrained(folder)
    return folder


def test_generators_come_back_from_small_shards_as_fp16(tmp_path: Path) -> None:
    pipelines = {"one": pipeline(tmp_path / "one"), "two": pipeline(tmp_path / "two")}
    assert pack(pipelines, tmp_path / "out", shard_mib=0.01) == []
    shards = list((tmp_path / "out").glob("weights-*.safetensors"))
    assert len(shards) > 2
    assert max(file.stat().st_size for file in shards) < 0.02 * 2**20
    folders = unpack(tmp_path / "out", tmp_path / "back")
    for folder, name in zip(folders, pipelines, strict=True):
        ours, theirs = CycleGANPipeline.from_pretrained(folder), CycleGANPipeline.from_pretrained(pipelines[name])
        assert ours.config["domain_a"] == "summer"
        for direction in ("generator_a2b", "generator_b2a"):
            wanted = getattr(theirs, direction).state_dict()
            for key, tensor in getattr(ours, direction).state_dict().items():
                assert torch.equal(tensor.float(), wanted[key].half().float())


def test_what_no_longer_fits_is_named_and_what_is_missing_too(tmp_path: Path) -> None:
    pipelines = {"small": pipeline(tmp_path / "small"), "large": pipeline(tmp_path / "large", width=64)}
    assert pack(pipelines, tmp_path / "out", shard_mib=0.1, total_mib=0.5) == ["large"]
    for shard in (tmp_path / "out").glob("weights-*.safetensors"):
        shard.unlink()
    with pytest.raises(ValueError, match="shard is missing"):
        unpack(tmp_path / "out", tmp_path / "back")


def test_parts_share_a_file_and_become_tables(tmp_path: Path) -> None:
    row = {"seconds": 0.5, "images_per_second": 4.0, "ratio": [2.0, 1.9, 2.1], "share_of_bf16_peak": 0.25}
    machine = {"gpu": "a GPU", "date": "2026-12-01", "versions": {"torch": "2.11"}}
    support.keep(tmp_path, "tests", [{"test": "t", "outcome": "passed", "seconds": 1.0, "relative_error": 0.01}])
    training = {"16": {"eager bf16": row, "eager float32": {"error": "out of memory"}}}
    support.keep(tmp_path, "benchmark", {"machine": machine, "side": 256, "training": training})
    figures = json.loads((tmp_path / support.FIGURES_NAME).read_text())
    text = tables(figures)
    assert set(figures) == {"tests", "benchmark"}
    for part in ("| 16 | eager bf16 | 500.0 | 4.0 | 2.00× (1.90 to 2.10) | 25.0% |", "out of memory", "1 passed"):
        assert part in text
