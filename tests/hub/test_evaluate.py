"""What `cyclegan-hf evaluate` knows of a model on the Hub."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client, make_pipeline
from tests.hub.test_pull import WEIGHTS, files_of
from tests.hub_server import HubServer
from tests.testing_utils import write_domains


QUICK = ["--feature-network", "none", "--resamples", "5", "--gallery", "0"]


@pytest.mark.parametrize("subfolder", [None, "best"])
def test_commit_step_and_hashes_are_in_the_protocol(
    server: HubServer, cli: Any, model: Path, tmp_path: Path, subfolder: str | None
) -> None:
    (model / "metrics.json").write_text('{"step": 1200, "epoch": 4}')
    (model / "training.json").write_text('{"step": 1, "epoch": 9, "hardware": "abacus"}')
    files = files_of(model, f"{subfolder}/" if subfolder else "")
    repo = server.add("model", f"tester/measured-{subfolder}", files)
    write_domains(tmp_path / "data", count=2, size=32)
    place = ["--subfolder", subfolder] if subfolder else []
    code, _, errors = cli("evaluate", "--model", repo.id, *place, "--data", "data", "--output", "report", *QUICK)
    assert (code, "not known" in errors) == (0, False)
    told = json.loads((tmp_path / "report" / "metrics.json").read_text())["protocol"]["model"]
    assert told["name"] == repo.id
    assert told["commit"] == repo.at("main").oid
    assert (told["step"], told["epoch"]) == (1200, 4)
    assert told["sha256"]["generator_a2b"] == hashlib.sha256((model / WEIGHTS).read_bytes()).hexdigest()[:16]


def test_owners_tell_models_apart(server: HubServer, cli: Any, client: Client, tmp_path: Path) -> None:
    for seed, owner in enumerate(("tester", "other")):
        saved = Path(client(make_pipeline, str(tmp_path / owner), seed=seed))
        server.add("model", f"{owner}/namesake", files_of(saved))
    write_domains(tmp_path / "data", count=2, size=32)
    models = ["--model", "tester/namesake", "--model", "other/namesake"]
    code, text, _ = cli("evaluate", *models, "--data", "data", "--output", "report", *QUICK)
    assert code == 0
    assert "| tester/namesake |" in text and "| other/namesake − tester/namesake |" in text
    assert (tmp_path / "report" / "other--namesake" / "metrics.json").is_file()
    told = json.loads((tmp_path / "report" / "tester--namesake" / "metrics.json").read_text())["protocol"]["model"]
    assert "step" not in told and told["commit"]


def tiny_checkpoint(folder: str) -> str:
    from cyclegan_hf.training.trainer import Trainer
    from tests.training.tiny import tiny_config

    run = {"max_train_steps": 2, "checkpointing_steps": 2}
    Trainer(tiny_config(Path(folder), run=run, ema={"decay": 0.5})).train()
    return str(Path(folder) / "run" / "checkpoint-2")


def test_raw_weights_and_discriminators_of_a_pushed_checkpoint(
    server: HubServer, cli: Any, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "training").mkdir()
    checkpoint = Path(client(tiny_checkpoint, str(tmp_path / "training")))
    repo = server.add("model", "tester/checkpoint", files_of(checkpoint))
    write_domains(tmp_path / "data", count=2, size=32)
    told = {}
    for weights, place in (("saved", repo.id), ("raw", repo.id), ("raw", str(checkpoint))):
        output = f"{weights}-{len(told)}"
        code, _, errors = cli(
            "evaluate", "--model", place, "--weights", weights, "--data", "data", "--output", output, *QUICK
        )
        assert (code, "cannot judge" in errors) == (0, False)
        told[output] = json.loads((tmp_path / output / "metrics.json").read_text())
    of_hub, local = told["raw-1"], told["raw-2"]
    assert told["saved-0"]["protocol"]["model"]["weights"] == "averaged"
    assert of_hub["protocol"]["model"]["weights"] == "raw"
    assert of_hub["protocol"]["model"]["sha256"] == local["protocol"]["model"]["sha256"]
    for way in ("a2b", "b2a"):
        assert of_hub[way] == local[way] and "accuracy" in of_hub[way]
    assert not [path for path in server.requests if "optimizer" in str(path)]


def test_a_pushed_pipeline_has_no_raw_weights(server: HubServer, cli: Any, model: Path, tmp_path: Path) -> None:
    repo = server.add("model", "tester/averaged-only", files_of(model))
    write_domains(tmp_path / "data", count=2, size=32)
    command = ["evaluate", "--model", repo.id, "--weights", "raw", "--data", "data", "--output", "report", *QUICK]
    code, _, errors = cli(*command)
    assert code != 0
    assert "expected a checkpoint with raw weights in training_state/, found none" in errors
    assert not (tmp_path / "report").exists()
