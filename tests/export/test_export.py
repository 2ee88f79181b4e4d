import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cyclegan_hf.cli import main
from cyclegan_hf.models.generator_affine import LocalAffineGenerator
from cyclegan_hf.models.generator_affine_residual import AffineResidualGenerator
from cyclegan_hf.models.generator_encoder_decoder import EncoderDecoderGenerator
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.generator_unet_maxpool import MaxPoolUnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.pipeline_exported import openvino_core
from tests.testing_utils import make_picture


onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra `export`")
pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra `export`")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `export`")

from cyclegan_hf.export.onnx import GRAPH_NAME, WEIGHTS_NAME, _refer, _traced, export_onnx  # noqa: E402


def randomized(generator: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a value: the initial zeros would hide most of the network."""
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return generator


GENERATORS = {
    "resize_conv": lambda: ResnetGenerator(
        block_out_channels=(8, 12, 16), num_res_blocks=2, upsample_type="resize_conv", dropout_prob=0.5
    ),
    "conv_transpose": lambda: ResnetGenerator(block_out_channels=(8, 16), num_res_blocks=1, padding_mode="zero"),
    "instance_affine": lambda: ResnetGenerator(
        block_out_channels=(8, 16), num_res_blocks=1, norm_type="instance_affine"
    ),
    "batch": lambda: ResnetGenerator(block_out_channels=(8, 16), num_res_blocks=1, norm_type="batch"),
    "channels": lambda: ResnetGenerator(in_channels=1, out_channels=4, block_out_channels=(8, 16), num_res_blocks=1),
    "residual": lambda: ResnetGenerator(
        block_out_channels=(8, 16), num_res_blocks=1, learn_residual=True, activation_after_add=True
    ),
    "encoder_decoder": lambda: EncoderDecoderGenerator(block_out_channels=(8, 16), num_res_blocks=1),
    "affine": lambda: LocalAffineGenerator(block_out_channels=(8, 12, 16), num_res_blocks=1),
    "affine_residual": lambda: randomized(AffineResidualGenerator(block_out_channels=(8, 12), num_res_blocks=1)),
    "unet_maxpool": lambda: MaxPoolUnetGenerator(block_out_channels=(8, 16), layers_per_block=2),
    "unet": lambda: UnetGenerator(block_out_channels=(8, 16, 16)),
    "unet_batch": lambda: UnetGenerator(block_out_channels=(8, 16, 16), norm_type="batch"),
}
# float32 on both sides, but the sums run in another order: a hundredth of one of 255 steps.
TOLERANCE = 1e-4


def save_pipeline(folder: Path, kind: str = "resize_conv", dtype: torch.dtype = torch.float16) -> Path:
    """A one-way pipeline; batch norms get statistics that are not the initial ones."""
    generator = GENERATORS[kind]()
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
    torch.nn.Module.to(generator, dtype)
    CycleGANPipeline(generator).save_pretrained(folder)
    return folder / "generator_a2b"


def random_input(folder: Path, batch: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in [-1, 1], and what torch makes of it in float32."""
    generator = CycleGANPipeline.from_pretrained(folder.parent).generator_a2b
    sample = torch.rand(batch, generator.config["in_channels"], height, width) * 2 - 1
    with torch.inference_mode():
        return sample.numpy(), generator(sample).sample.numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 generator's folder with its graph."""
    folder = save_pipeline(tmp_path_factory.mktemp("exported"))
    export_onnx(folder.parent)
    return folder


SHAPES = [(1, 256, 256), (1, 64, 96), (2, 64, 96), (1, 61, 98)]


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_runtime_gives_what_torch_gives(exported: Path, shape: tuple[int, int, int]) -> None:
    session = ort.InferenceSession(exported / GRAPH_NAME, providers=["CPUExecutionProvider"])
    sample, expected = random_input(exported, *shape)
    (found,) = session.run(["translation"], {"sample": sample})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_openvino_gives_what_torch_gives(exported: Path, shape: tuple[int, int, int]) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra `export`")
    # By default OpenVINO computes in bfloat16 where the processor does.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino_core().compile_model(exported / GRAPH_NAME, "CPU", exact)
    sample, expected = random_input(exported, *shape)
    np.testing.assert_allclose(model(sample)[0], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("kind", "dtype"), [*((kind, torch.float16) for kind in GENERATORS), ("conv_transpose", torch.float32)]
)
def test_each_generator_exports(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    folder = save_pipeline(tmp_path / "pipeline", kind, dtype)
    generator = CycleGANPipeline.from_pretrained(folder.parent).generator_a2b
    (report,) = export_onnx(folder.parent)
    assert report.path == folder / GRAPH_NAME
    assert report.num_tensors == sum("num_batches_tracked" not in name for name in generator.state_dict())
    assert report.max_difference <= TOLERANCE
    onnx.checker.check_model(report.path, full_check=True)


def test_the_graph_holds_no_weights(exported: Path) -> None:
    graph = onnx.load(exported / GRAPH_NAME, load_external_data=False).graph
    weights = (exported / WEIGHTS_NAME).read_bytes()
    start = 8 + int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8:start])
    named = {name: entry for name, entry in header.items() if name != "__metadata__"}
    outside = [tensor for tensor in graph.initializer if tensor.external_data]
    assert {tensor.name for tensor in outside} == set(named)
    for tensor in outside:
        place = {entry.key: entry.value for entry in tensor.external_data}
        begin, end = named[tensor.name]["data_offsets"]
        assert place == {"location": WEIGHTS_NAME, "offset": str(start + begin), "length": str(end - begin)}
        assert tensor.data_type == onnx.TensorProto.FLOAT16
    inside = sum(tensor.ByteSize() for tensor in graph.initializer if not tensor.external_data)
    assert inside < 2000
    assert sorted(path.name for path in exported.iterdir()) == sorted(["config.json", WEIGHTS_NAME, GRAPH_NAME])


def test_the_graph_is_plain_onnx_and_names_no_path(exported: Path) -> None:
    content = (exported / GRAPH_NAME).read_bytes()
    assert len(content) < 50_000
    assert b".py" not in content and os.fsencode(Path.home()) not in content
    model = onnx.load_from_string(content)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert {node.op_type for node in model.graph.node} <= {
        *("Cast", "Constant", "Pad", "Conv", "InstanceNormalization", "Relu", "Add", "Resize", "Tanh")
    }
    (sample,), (translation,) = model.graph.input, model.graph.output
    assert (sample.name, translation.name) == ("sample", "translation")
    axes = [dim.dim_param or dim.dim_value for dim in sample.type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]


def test_exporting_again_gives_the_same_bytes(exported: Path) -> None:
    before = (exported / GRAPH_NAME).read_bytes()
    export_onnx(exported.parent)
    assert (exported / GRAPH_NAME).read_bytes() == before


def test_new_weights_may_take_the_old_ones_place(exported: Path) -> None:
    graph = (exported / GRAPH_NAME).read_bytes()
    torch.manual_seed(1)
    save_pipeline(exported.parent)  # another random network
    assert (exported / GRAPH_NAME).read_bytes() == graph
    sample, expected = random_input(exported, 1, 64, 64)
    (found,) = ort.InferenceSession(exported / GRAPH_NAME).run(None, {"sample": sample})
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_both_directions_are_exported(tmp_path: Path) -> None:
    make = GENERATORS["conv_transpose"]
    CycleGANPipeline(make(), make()).save_pretrained(tmp_path)
    paths = [report.path for report in export_onnx(tmp_path)]
    assert paths == [tmp_path / "generator_a2b" / GRAPH_NAME, tmp_path / "generator_b2a" / GRAPH_NAME]


def test_bfloat16_weights_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "pipeline", "conv_transpose", torch.bfloat16)
    with pytest.raises(ValueError, match="expected float16 or float32 weights, got BF16"):
        export_onnx(folder.parent)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["config.json", WEIGHTS_NAME])


def test_weights_that_are_not_the_files_are_refused(exported: Path) -> None:
    other = GENERATORS["resize_conv"]().eval()
    with pytest.raises(ValueError, match=r"`conv_in\.1\.weight` was changed"):
        _refer(_traced(other, torch.zeros(2, 3, 64, 96)), exported / WEIGHTS_NAME)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        export_onnx(tmp_path / "nothing")


def test_the_command_writes_a_pipeline_with_graphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_pipeline(tmp_path / "model", "conv_transpose", torch.float32).parent
    assert main(["export", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out" / "generator_a2b" / GRAPH_NAME) in capsys.readouterr().out
    exported = CycleGANPipeline.from_pretrained(tmp_path / "out", backend="onnx")
    picture = make_picture("A", 0, 32)
    expected = np.asarray(CycleGANPipeline.from_pretrained(folder)(picture).images[0]).astype(int)
    assert np.abs(np.asarray(exported(picture).images[0]).astype(int) - expected).max() <= 1
    assert not (folder / "generator_a2b" / GRAPH_NAME).exists()
    assert main(["export", str(folder), "--output", str(folder)]) == 0  # beside its own weights, which stay
    assert (folder / "generator_a2b" / GRAPH_NAME).exists()


def test_openvinos_own_files(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra `export`")
    folder = save_pipeline(tmp_path / "model").parent
    assert main(["export", str(folder), "--output", str(tmp_path / "out"), "--format", "openvino"]) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "generator_a2b").iterdir())
    assert names == ["config.json", WEIGHTS_NAME, "model.bin", "model.xml"]
    picture = make_picture("A", 0, 48)
    expected = np.asarray(CycleGANPipeline.from_pretrained(folder)(picture).images[0]).astype(int)
    found = CycleGANPipeline.from_pretrained(tmp_path / "out", backend="openvino")(picture).images[0]
    assert np.abs(np.asarray(found).astype(int) - expected).mean() < 2


@pytest.fixture(params=["by_domain", "flat"])
def calibration(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Options for 8 bits, with pictures of several sizes."""
    for index in range(4):
        folder = tmp_path / "pictures" / (f"train{'AB'[index % 2]}" if request.param == "by_domain" else ".")
        folder.mkdir(parents=True, exist_ok=True)
        make_picture("A", index, 48 + 16 * index).save(folder / f"{index}.png")
    return ["--format", "openvino", "--int8", "--calibration", str(tmp_path / "pictures")]


def test_eight_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str], calibration: list[str]) -> None:
    pytest.importorskip("nncf", reason="needs nncf, of the extra `int8`")
    folder = save_pipeline(tmp_path / "model", "encoder_decoder").parent
    assert main(["export", str(folder), "--output", str(tmp_path / "out"), *calibration]) == 0
    assert "of 255 levels" in capsys.readouterr().out
    graph = (tmp_path / "out" / "generator_a2b" / "model.xml").read_text()
    assert 'element_type="i8"' in graph or 'element_type="u8"' in graph
    found = CycleGANPipeline.from_pretrained(tmp_path / "out", backend="openvino")
    picture = make_picture("A", 7, 64)
    expected = np.asarray(CycleGANPipeline.from_pretrained(folder)(picture).images[0]).astype(int)
    assert np.abs(np.asarray(found(picture).images[0]).astype(int) - expected).mean() < 4


def test_eight_bits_that_change_the_pictures_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], calibration: list[str]
) -> None:
    pytest.importorskip("nncf", reason="needs nncf, of the extra `int8`")
    torch.manual_seed(0)
    folder = save_pipeline(tmp_path / "model", "affine").parent  # of random weights: they multiply rounding errors
    assert main(["export", str(folder), "--output", str(tmp_path / "out"), *calibration]) == 2
    assert "on average (expected at most 0.05)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8", "--calibration", "."], "expected the format openvino, got onnx"),
        (["--format", "openvino", "--int8"], "belong together, got one of them"),
        (["--format", "openvino", "--calibration", "."], "belong together, got one of them"),
        (["--format", "openvino", "--int8", "--calibration", "none"], "none: expected a folder of pictures"),
        (["--format", "openvino", "--int8", "--calibration", "empty"], "found none"),
        (["--format", "openvino", "--int8", "--calibration", "half"], "expected pictures of domain A too"),
    ],
)
def test_eight_bits_need_pictures(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pipeline(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "trainB").mkdir(parents=True)
    make_picture("A", 0, 48).save(tmp_path / "half" / "trainB" / "0.png")
    assert main(["export", "model", "--output", "out", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_pipeline(tmp_path / "model", dtype=torch.float32)
    weights = load_file(folder / WEIGHTS_NAME)
    weights["conv_out.1.bias"].fill_(1e6)
    save_file(weights, folder / WEIGHTS_NAME)
    assert main(["export", str(folder.parent), "--output", str(tmp_path / "out")]) == 2
    assert "is too large for half precision" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["export", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 2


def test_embedded_weights_make_one_file(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--output", str(tmp_path / "exported")]
    assert main([*arguments, "--embed-weights"]) == 0
    graph = tmp_path / "alone.onnx"
    graph.write_bytes((tmp_path / "exported/generator_a2b" / GRAPH_NAME).read_bytes())
    assert graph.stat().st_size > (folder / WEIGHTS_NAME).stat().st_size * 0.9  # half precision, as in the file
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    generator = CycleGANPipeline.from_pretrained(tmp_path / "model").generator_a2b
    sample = torch.rand(1, 3, 64, 96) * 2 - 1
    (found,) = session.run(None, {"sample": sample.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, generator(sample).sample.numpy(), atol=TOLERANCE)


def test_embedded_weights_are_of_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pipeline(tmp_path / "model")
    words = ["export", str(tmp_path / "model"), "--output", str(tmp_path / "exported"), "--format", "openvino"]
    assert main([*words, "--embed-weights"]) == 2
    assert "embedded weights are of ONNX graphs" in capsys.readouterr().err
