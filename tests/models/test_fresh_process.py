"""What one process saves, another one that starts from nothing loads and computes alike."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import ModelMixin

from cyclegan_hf import AttentionGenerator, DualHeadDiscriminator


ROOT = Path(__file__).resolve().parents[2]
RELOAD = """
import sys
import torch
import cyclegan_hf
torch.set_num_threads(1)
for folder in sys.argv[1:]:
    name = folder.rpartition("/")[2].partition("-")[0]
    model = getattr(cyclegan_hf, name).from_pretrained(folder)
    sample = torch.load(folder + "/sample.pt", weights_only=True)
    with torch.no_grad():
        torch.save(model(sample, return_dict=False), folder + "/theirs.pt")
"""
SMALL = {"block_out_channels": (4, 8, 16), "num_res_blocks": 2, "reduction": 2}


@pytest.fixture
def models() -> dict[str, ModelMixin]:
    torch.manual_seed(0)
    return {
        "AttentionGenerator": AttentionGenerator(**SMALL),
        "AttentionGenerator-with-codes": AttentionGenerator(**SMALL, num_codes=8),
        "DualHeadDiscriminator": DualHeadDiscriminator(block_out_channels=(4, 8)),
    }


def test_outputs_are_equal(models: dict[str, ModelMixin], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order
    expected = {}
    for name, model in models.items():
        sample = torch.rand(2, 3, 32, 32) * 2 - 1
        with torch.no_grad():
            model.train()(sample)  # moves singular vectors and codes
            expected[name] = model.eval()(sample, return_dict=False)
        model.save_pretrained(tmp_path / name)
        torch.save(sample, tmp_path / name / "sample.pt")
    torch.set_num_threads(threads)
    command = [sys.executable, "-c", RELOAD, *(str(tmp_path / name) for name in models)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name, ours in expected.items():
        theirs = torch.load(tmp_path / name / "theirs.pt", weights_only=True)
        assert all(torch.equal(first, second) for first, second in zip(ours, theirs, strict=True)), name
