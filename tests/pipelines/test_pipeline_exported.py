"""Exported graphs behind the same call: the same pictures, without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline, ResnetGenerator, UnetGenerator
from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline, NoGraphError
from tests.testing_utils import make_picture


pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `export`")
pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra `export`")

from cyclegan_hf.export.onnx import export_onnx


# Of 255. ONNX Runtime computes in float32, and rounds a pixel here and there to the other side; OpenVINO computes in
# bfloat16, with 8 bits of mantissa, where the processor does.
LEVELS = {"onnx": 1, "openvino": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both directions, instance norm, exported."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generators = [ResnetGenerator(block_out_channels=(8, 16), num_res_blocks=1) for _ in range(2)]
    folder = tmp_path_factory.mktemp("exported")
    CycleGANPipeline(*generators, domain_a="summer", domain_b="winter").save_pretrained(folder)
    export_onnx(folder)
    return folder


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_pictures_are_as_torch_translates_them(folder: Path, backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend), reason="needs the extra `export`")
    pictures = [make_picture("A", seed, size) for seed, size in enumerate([(40, 30), (41, 29), (40, 30)])]
    expected = CycleGANPipeline.from_pretrained(folder)(pictures, "summer2winter", return_cycle=True, batch_size=2)
    pipeline = CycleGANPipeline.from_pretrained(folder, backend=backend)
    assert isinstance(pipeline, ExportedPipeline)
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(pictures, "summer2winter", return_cycle=True, batch_size=2)
    assert found.sizes == expected.sizes == [(30, 40), (29, 41), (30, 40)]
    for theirs, ours in zip([*expected.images, *expected.cycles], [*found.images, *found.cycles], strict=True):
        difference = np.asarray(theirs).astype(int) - np.asarray(ours).astype(int)
        assert np.abs(difference).max() <= LEVELS[backend]


def test_the_tuple_and_the_other_forms_of_output(folder: Path) -> None:
    pipeline = ExportedPipeline.from_pretrained(folder, num_threads=1)
    images, cycles = pipeline(make_picture("B", 0, 32), "b2a", output_type="np", return_dict=False)
    assert images[0].shape == (32, 32, 3) and images[0].dtype == np.float32
    assert cycles is None


def test_a_model_that_is_bound_to_its_size_sees_pictures_at_it(tmp_path: Path) -> None:
    sizes = {"num_channels": 3, "size": [32, 32]}
    generator = UnetGenerator(block_out_channels=(4, 4, 4, 4, 4))
    CycleGANPipeline(generator, image_processor_a=sizes, image_processor_b=sizes).save_pretrained(tmp_path)
    export_onnx(tmp_path)
    found = CycleGANPipeline.from_pretrained(tmp_path, backend="onnx")(make_picture("A", 0, (64, 48)))
    assert found.sizes == [(24, 32)]
    assert found.images[0].size == (64, 48)


def test_the_bundled_weights_have_graphs() -> None:
    picture = make_picture("A", 1, 64)
    expected = np.asarray(CycleGANPipeline.from_pretrained()(picture).images[0]).astype(int)
    found = np.asarray(CycleGANPipeline.from_pretrained(backend="onnx")(picture).images[0]).astype(int)
    assert np.abs(found - expected).max() <= LEVELS["onnx"]


def test_neither_torch_nor_diffusers_is_loaded(folder: Path, tmp_path: Path) -> None:
    make_picture("A", 0, 32).save(tmp_path / "photo.png")
    words = ["translate", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out.png"), "--model", str(folder)]
    script = f"""
import sys
from cyclegan_hf.cli import main

code = main({[*words, "--backend", "onnx"]!r})
print(code, sorted({{"torch", "diffusers", "huggingface_hub"}} & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True)
    assert ended.stdout.splitlines()[-1] == "0 []"
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (32, 32)


def test_a_signal_after_openvinos_models_are_gone_ends_nothing() -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra `export`")
    script = """
import os
import signal
from cyclegan_hf import CycleGANPipeline
from PIL import Image

heard = []
signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
pipes = [CycleGANPipeline.from_pretrained(backend="openvino") for _ in range(2)]
for pipe in pipes:
    pipe(Image.new("RGB", (64, 64)))
del pipe
while pipes:
    del pipes[0]  # the first one ends first: where each has its own signal stack, the wrong one is put back
os.kill(os.getpid(), signal.SIGUSR1)
print(heard == [signal.SIGUSR1])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_what_is_missing_or_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`backend` must be one of torch, onnx, openvino; got 'tpu'"):
        CycleGANPipeline.from_pretrained(folder, backend="tpu")
    with pytest.raises(ValueError, match="takes a graph as it is: no `official`, `variant`, `dtype`"):
        CycleGANPipeline.from_pretrained(folder, backend="onnx", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="`direction` must be one of a2b, b2a, summer2winter, winter2summer"):
        CycleGANPipeline.from_pretrained(folder, backend="onnx")(make_picture("A", 0, 32), "a2a")
    one_way = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    CycleGANPipeline(one_way).save_pretrained(tmp_path)
    with pytest.raises(NoGraphError, match="expected an exported graph; make one with `cyclegan-hf export`"):
        CycleGANPipeline.from_pretrained(tmp_path, backend="onnx")
    export_onnx(tmp_path)
    with pytest.raises(ValueError, match="it only translates a2b"):
        CycleGANPipeline.from_pretrained(tmp_path, backend="onnx")(make_picture("A", 0, 32), "b2a")
    path = tmp_path / "generator_a2b" / "model.onnx"
    graph = onnx.load(path, load_external_data=False)
    del graph.metadata_props[:]
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ValueError, match="does not say what sizes it takes; export it again"):
        CycleGANPipeline.from_pretrained(tmp_path, backend="onnx")
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="onnx cannot open this graph") as error:
        CycleGANPipeline.from_pretrained(tmp_path, backend="onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("norm_type", ["none", "instance"])
def test_large_pictures_go_through_in_pieces_or_are_refused(
    tmp_path: Path, norm_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    generator = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1, norm_type=norm_type)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # large: small ones would hide a seam
    CycleGANPipeline(generator).save_pretrained(tmp_path)
    export_onnx(tmp_path)
    picture = make_picture("A", 0, (150, 130))
    expected = np.asarray(CycleGANPipeline.from_pretrained(tmp_path)(picture).images[0]).astype(int)
    monkeypatch.setattr("cyclegan_hf.pipelines.pipeline_exported.MAX_PIXELS", 1000)
    monkeypatch.setattr("cyclegan_hf.pipelines.pipeline_exported._CORE", 64)
    pipeline = ExportedPipeline.from_pretrained(tmp_path)
    assert pipeline.any_size == (norm_type == "none")
    if norm_type == "instance":
        with pytest.raises(ValueError, match="150x130 pixels are too many for this graph"):
            pipeline(picture)
    else:
        found = np.asarray(pipeline(picture).images[0]).astype(int)
        assert np.abs(found - expected).max() <= LEVELS["onnx"]
