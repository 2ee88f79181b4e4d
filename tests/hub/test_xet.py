"""Pushes and pulls by Xet, as users do whose installation has hf_xet: the default."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import HubServer


ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xet]

MAKE = """
import sys, torch
from cyclegan_hf import CycleGANPipeline, ResnetGenerator
torch.manual_seed(0)
generators = [ResnetGenerator(block_out_channels=(16, 32), num_res_blocks=2) for _ in range(2)]
CycleGANPipeline(*generators, "summer", "winter").save_pretrained(sys.argv[1])
"""
COMPARE = """
import sys, torch
from cyclegan_hf import CycleGANPipeline
ours, theirs = map(CycleGANPipeline.from_pretrained, sys.argv[1:])
for part in ("generator_a2b", "generator_b2a"):
    pairs = zip(getattr(ours, part).state_dict().values(), getattr(theirs, part).state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
CycleGANPipeline.from_pretrained(sys.argv[2], variant="fp16")
"""


def run(words: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_pipeline_goes_up_and_comes_down(tmp_path: Path) -> None:
    pytest.importorskip("hf_xet", reason="hf_xet is not installed")
    with HubServer() as server:
        ours = server.environment(tmp_path / "home", xet=True) | {"PYTHONPATH": str(ROOT)}
        assert run(["-c", MAKE, "model"], ours, tmp_path).returncode == 0
        push = ["-m", "cyclegan_hf.cli", "push", "model", "tester/xet"]
        done = run(push, ours, tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{server.endpoint}/tester/xet\n"), done.stderr
        weights = (tmp_path / "model/generator_a2b/diffusion_pytorch_model.safetensors").read_bytes()
        assert server.files("model", "tester/xet")["generator_a2b/diffusion_pytorch_model.safetensors"] == weights
        assert server.seen("POST", "/v1/xorbs/") and not server.seen("PUT", "/lfs/")
        theirs = server.environment(tmp_path / "theirs", role="read", xet=True) | {"PYTHONPATH": str(ROOT)}
        done = run(["-c", COMPARE, "model", "tester/xet"], theirs, tmp_path)
        assert done.returncode == 0, done.stderr
        assert server.seen("GET", "/v1/reconstructions/") and not server.seen("GET", "/lfs/")
        assert server.leaks == []

        done = run(
            push, server.environment(tmp_path / "home", role="read", xet=True) | {"PYTHONPATH": str(ROOT)}, tmp_path
        )
        assert done.returncode == 2 and "this token may not write to tester/xet" in done.stderr.splitlines()[-1]
