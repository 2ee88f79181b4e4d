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


QUICK = ["--inception", "none", "--resamples", "5", "--gallery", "0"]


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
