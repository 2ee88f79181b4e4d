"""What a checkpoint is: of a folder, of the Hub, of the bundled weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub.test_pull import files_of
from tests.hub_server import HubServer


@pytest.fixture
def known(model: Path) -> Path:
    """A pipeline with a recipe, figures and facts beside it."""
    recipe = "run: {recipe: summer2winter, train_batch_size: 1}\nlosses: {lambda_a: 10.0}\nema: {decay: 0.999}\n"
    (model / "recipe.yaml").write_text(recipe)
    (model / "training.json").write_text('{"step": 1234, "hardware": "abacus"}')
    figures = {"protocol": {"seed": 7, "pictures": {"a": 3}}, "a2b": {"swd": 77.44}, "b2a": {"swd": 76, "note": "x"}}
    (model / "metrics.json").write_text(json.dumps(figures))
    (model / "generator_a2b" / "model.onnx").write_bytes(b"graph")
    (model / "generator_a2b" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    return model


WORDS = [
    "summer (a), winter (b)",
    "generator_a2b: ResnetGenerator, 2,939 values, F32",
    "num_res_blocks=1",
    "pictures of winter: 3 channels",
    "variants: fp16",
    "ONNX graphs: generator_a2b/model.onnx",
    "recipe: summer2winter",
    "cycle: 10",
    "EMA: 0.999",
    "step: 1234",
    "hardware: abacus",
    "summer → winter: swd 77.4",
    "winter → summer: swd 76",
    "measured: seed 7, pictures a 3",
]


def test_a_folder_and_the_hub_tell_the_same(server: HubServer, cli: Any, known: Path) -> None:
    code, here, errors = cli("info", known)
    assert (code, errors) == (0, "")
    for words in WORDS:
        assert words in here, words
    repo = server.add("model", "tester/told", files_of(known))
    code, there, _ = cli("info", "tester/told")
    assert code == 0
    assert there.splitlines()[0] == f"tester/told at {repo.at('main').oid[:12]}: summer (a), winter (b)"
    assert there.splitlines()[1:] == here.splitlines()[1:]
    fetched = [len(request.headers.get("range", "")) > 0 for request in server.seen("GET", "/lfs/")]
    assert fetched and all(fetched)  # of the weights their headers alone


def test_json_branches_and_subfolders(server: HubServer, cli: Any, known: Path) -> None:
    repo = server.add("model", "tester/inner", files_of(known, "best/"))
    repo.add_ref("refs/tags/v1", "main")
    code, output, _ = cli("info", "tester/inner", "--subfolder", "best", "--revision", "v1", "--json")
    facts = json.loads(output)
    assert code == 0 and facts["domains"] == {"a": "summer", "b": "winter"}
    assert facts["generators"]["generator_b2a"]["config"]["block_out_channels"] == [4, 8]
    assert facts["metrics"]["a2b"] == {"swd": 77.44} and facts["commit"] == repo.at("v1").oid


def test_the_bundled_weights(cli: Any) -> None:
    code, output, _ = cli("info")
    assert code == 0 and output.startswith("the bundled weights: summer (a), winter (b)\n")
    assert "1,286,451 values, F16" in output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["tester/nowhere"],
            "tester/nowhere: there is no such folder here; as a Hub id, tester/nowhere: there is no such",
        ),
        (["tester/told-not"], "tester/told-not: expected a saved pipeline, there is no model_index.json"),
        (["tester/told-not", "--revision", "v9"], "tester/told-not has no revision 'v9'"),
        (["./nothing"], "found no such folder"),
        (["."], "expected a saved pipeline, there is no model_index.json"),
    ],
)
def test_what_is_none_is_told_in_one_line(server: HubServer, cli: Any, words: list[str], complaint: str) -> None:
    server.add("model", "tester/told-not", {"model.bin": b"theirs"})
    code, output, errors = cli("info", *words)
    assert (code, output) == (2, "") and errors.count("\n") == 1 and complaint in errors
