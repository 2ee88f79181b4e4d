"""A run that pushes: when, what, and that nothing of it reaches the training."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client, ClientError, make_pipeline, token
from tests.hub.test_push import added
from tests.hub_server import HubServer
from tests.training.tiny import tiny_config


class Log(logging.Handler):
    """What `cyclegan_hf.training.record.hub_push` says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


def publish(folder: str, settings: dict[str, Any], steps: list[int], wait: bool = True) -> tuple[list[str], str]:
    """A publisher's life: checkpoints that are removed at once, and the end. What it said, and how it failed."""
    import shutil

    from cyclegan_hf.hub.card import CardFacts, pipeline_card
    from cyclegan_hf.training.hub_config import HubConfig
    from cyclegan_hf.training.record.hub_push import Publisher

    log = Log()
    logger = logging.getLogger("cyclegan_hf.training.record.hub_push")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    failure = ""
    run = Path(folder)
    try:
        publisher = Publisher(HubConfig(push_to_hub=True, **settings), run, is_main=True)
        publisher.open()
        for step in steps:
            place = run / f"checkpoint-{step}"
            make_pipeline(str(place), seed=step)
            (place / "README.md").write_text(pipeline_card(CardFacts(domain_a="summer", domain_b="winter")))
            (place / "training_state").mkdir()
            (place / "training_state" / "run.json").write_text("{}")
            publisher.checkpoint(place)
            shutil.rmtree(place)  # as `checkpoints_total_limit` does
            if wait:
                publisher.wait()
        make_pipeline(str(run), seed=99)
        publisher.finish()
    except ValueError as error:
        failure = str(error)
    finally:
        logger.removeHandler(log)
    return log.lines, failure


def titles(server: HubServer, repo_id: str) -> list[str]:
    return [commit.title for commit in server.repos["models", repo_id].commits.values()][1:]


def folders(server: HubServer, repo_id: str) -> set[str]:
    return {path.split("/")[0] for path in added(server, repo_id) if "checkpoint" in path}


@pytest.mark.parametrize(
    ("strategy", "commits", "kept"),
    [
        ("end", ["End of training"], set()),
        ("checkpoint", ["checkpoint-1", "checkpoint-2", "End of training"], {"last-checkpoint"}),
        ("all", ["checkpoint-1", "checkpoint-2", "End of training"], {"checkpoint-1", "checkpoint-2"}),
    ],
)
def test_strategies(
    server: HubServer, client: Client, tmp_path: Path, strategy: str, commits: list[str], kept: set[str]
) -> None:
    repo_id = f"tester/strategy-{strategy}"
    log, failure = client(publish, str(tmp_path / "run"), {"hub_model_id": repo_id, "hub_strategy": strategy}, [1, 2])
    assert failure == "" and not any(line.startswith("WARNING") for line in log)
    assert titles(server, repo_id) == commits
    assert folders(server, repo_id) == kept
    repo = server.repos["models", repo_id]
    weights = "generator_a2b/diffusion_pytorch_model.safetensors"
    if kept:
        first = next(commit for commit in repo.commits.values() if commit.title == "checkpoint-1")
        inner = "last-checkpoint" if strategy == "checkpoint" else "checkpoint-1"
        assert first.files[weights].content == first.files[f"{inner}/{weights}"].content  # the root is the newest
        assert f"{inner}/training_state/run.json" in first.files
        card = first.files[f"{inner}/README.md"].content.decode()
        assert f'CycleGANPipeline.from_pretrained("{repo_id}", subfolder="{inner}")' in card
    assert b"path/or/hub-id" not in b"".join(added(server, repo_id).values())
    assert added(server, repo_id)[weights] == (tmp_path / "run" / weights).read_bytes()
    assert list((tmp_path / "run").glob(".push-*")) == []


def test_a_name_of_its_own_and_private(server: HubServer, client: Client, tmp_path: Path) -> None:
    settings = {"hub_private_repo": True, "hub_license": "mit"}
    assert client(publish, str(tmp_path / "season-run"), settings, [])[1] == ""
    assert server.repos["models", "tester/season-run"].private
    assert b"license: mit" in added(server, "tester/season-run")["README.md"]


@pytest.mark.parametrize(("strategy", "later"), [("checkpoint", []), ("all", ["checkpoint-1"])])
def test_a_push_that_fails_is_tried_again_later(
    server: HubServer, client: Client, tmp_path: Path, strategy: str, later: list[str]
) -> None:
    repo_id = f"tester/again-{strategy}"
    refused = server.fault("status", f"/{repo_id}/commit/", status=403)
    settings = {"hub_model_id": repo_id, "hub_strategy": strategy}
    log, failure = client(publish, str(tmp_path / "run"), settings, [1, 2])
    assert refused.fired == 1 and failure == ""
    (warning,) = [line for line in log if line.startswith("WARNING")]
    assert "checkpoint-1 was not pushed: this token may not write" in warning and "\n" not in warning
    assert titles(server, repo_id) == [*later, "checkpoint-2", "End of training"]
    assert list((tmp_path / "run").glob(".push-*")) == []


def test_a_full_disk_costs_a_push_and_not_the_run(server: HubServer, client: Client, tmp_path: Path) -> None:
    """A file where the snapshot's folder is to be stands in for it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".push-checkpoint-1.tmp").write_text("")
    settings = {"hub_model_id": "tester/full-disk", "hub_strategy": "all"}
    log, failure = client(publish, str(tmp_path / "run"), settings, [1, 2])
    assert failure == "" and "WARNING: checkpoint-1 is not pushed: " in log[0]
    assert titles(server, "tester/full-disk") == ["checkpoint-2", "End of training"]


def test_an_end_that_cannot_be_pushed_leaves_the_run_and_says_how(
    server: HubServer, client: Client, tmp_path: Path
) -> None:
    server.fault("status", "/tester/end-fails/commit/", status=403)
    log, failure = client(publish, str(tmp_path / "run"), {"hub_model_id": "tester/end-fails"}, [])
    assert failure.startswith(
        f"The run is complete in {tmp_path / 'run'}, but could not be pushed: this token may not"
    )
    assert failure.endswith(f"cyclegan-hf push {tmp_path / 'run'} tester/end-fails") and "\n" not in failure
    assert (tmp_path / "run" / "model_index.json").exists() and log == []


@pytest.mark.slow  # the client's patience
def test_a_hub_that_is_gone_costs_the_run_warnings(server: HubServer, client: Client, tmp_path: Path) -> None:
    gone = server.fault("status", "/repos/create", status=503, times=1000)
    settings = {"hub_model_id": "tester/gone", "hub_strategy": "all"}
    log, failure = client(publish, str(tmp_path / "run"), settings, [1], wait=False)
    gone.times = 0
    assert "The run begins; its pushes will be tried." in log[0]
    assert "but could not be pushed: tester/gone: the Hub is out of order for now" in failure
    assert (tmp_path / "run" / "model_index.json").exists()


def catch_up(folder: str, repo_id: str, strategy: str) -> list[str]:
    """A publisher of a resumed run that finds checkpoints; what it said."""
    from cyclegan_hf.training.checkpointing import checkpoint_folders
    from cyclegan_hf.training.hub_config import HubConfig
    from cyclegan_hf.training.record.hub_push import Publisher

    log = Log()
    logging.getLogger("cyclegan_hf.training.record.hub_push").addHandler(log)
    logging.getLogger("cyclegan_hf.training.record.hub_push").setLevel(logging.INFO)
    for step in (1, 2, 10):
        place = Path(folder, f"checkpoint-{step}")
        make_pipeline(str(place), seed=step)
        (place / "training_state").mkdir(exist_ok=True)
        (place / "training_state" / "run.json").write_text("{}")
    settings = {"push_to_hub": True, "hub_model_id": repo_id, "hub_strategy": strategy}
    publisher = Publisher(HubConfig(**settings), Path(folder), is_main=True)
    publisher.open()
    publisher.catch_up(checkpoint_folders(Path(folder)))
    publisher.wait()
    logging.getLogger("cyclegan_hf.training.record.hub_push").removeHandler(log)
    return log.lines


def test_a_resumed_run_pushes_the_checkpoints_that_the_hub_lacks(
    server: HubServer, client: Client, tmp_path: Path
) -> None:
    server.add(
        "model", "tester/catch-up", {"model_index.json": b'"CycleGANPipeline"', "checkpoint-2/model_index.json": b"{}"}
    )
    client(catch_up, str(tmp_path), "tester/catch-up", "checkpoint")
    assert titles(server, "tester/catch-up") == ["Add files"]
    fault = server.fault("status", "/api/models/tester/catch-up/tree/", status=403, times=100)
    lines = client(catch_up, str(tmp_path), "tester/catch-up", "all")
    fault.times = 0
    for step in (1, 2, 10):
        assert any(f"checkpoint-{step} was not pushed" in line for line in lines), lines
    assert not any("Pushed" in line for line in lines), lines
    assert titles(server, "tester/catch-up") == ["Add files"]
    client(catch_up, str(tmp_path), "tester/catch-up", "all")
    assert titles(server, "tester/catch-up") == ["Add files", "checkpoint-1", "checkpoint-10"]
    assert list(tmp_path.glob(".push-*")) == []


def test_a_token_that_may_only_read_is_refused_where_the_repo_is_there_already(
    server: HubServer, client: Client, tmp_path: Path
) -> None:
    server.add("model", "tester/there", {"model_index.json": b'"CycleGANPipeline"'})
    settings = {"push_to_hub": True, "hub_model_id": "tester/there"}
    with pytest.raises(ClientError, match="may not write to tester/there"):
        client(train, str(tmp_path), settings, "hf_read")
    assert not (tmp_path / "run").exists()


def train(folder: str, push: dict[str, Any] | None, hf_token: str = "hf_write") -> dict[str, bytes]:
    """A run in this process; all its weights at the end."""
    from cyclegan_hf.training.trainer import Trainer

    run = {"max_train_steps": 5, "checkpointing_steps": 1, "checkpoints_total_limit": 1, "image_pool_size": 2}
    config = tiny_config(Path(folder), run=run, generator={"dropout_prob": 0.5}, hub=push or {})
    with token(hf_token):
        Trainer(config).train()
    files = sorted((Path(folder) / "run").rglob("*.safetensors"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_pushing_run_is_the_run_that_it_would_have_been(server: HubServer, client: Client, tmp_path: Path) -> None:
    """Bit for bit, and while its checkpoints are removed as they are pushed."""
    for name in ("quiet", "pushing"):
        (tmp_path / name).mkdir()
    settings = {"push_to_hub": True, "hub_model_id": "tester/same", "hub_strategy": "all"}
    quiet = client(train, str(tmp_path / "quiet"), None)
    pushing = client(train, str(tmp_path / "pushing"), settings)
    assert quiet == pushing and len(quiet) == 2 + 2 + 4
    assert titles(server, "tester/same") == [f"checkpoint-{step}" for step in range(1, 6)] + ["End of training"]
    assert folders(server, "tester/same") == {f"checkpoint-{step}" for step in range(1, 6)}
    files = added(server, "tester/same")
    facts = json.loads(files["training.json"])
    assert facts == json.loads((tmp_path / "pushing/run/training.json").read_text())
    assert facts["parameters"]["generator_a2b"] == 2939 and facts["hardware"]
    assert str(tmp_path).encode() not in b"".join(files.values())


def test_a_refusal_is_said_before_the_training(server: HubServer, client: Client, tmp_path: Path) -> None:
    settings = {"push_to_hub": True, "hub_model_id": "tester/never"}
    for hf_token, words in (("hf_wrong", "does not know this token"), ("hf_read", "may not write to tester/never")):
        with pytest.raises(ClientError, match=words):
            client(train, str(tmp_path), settings, hf_token)
    assert not (tmp_path / "run").exists()


def data_rows(a: str, b: str, variables: dict[str, str], times: int = 1) -> list[str]:
    """The row "data" of as many cards of one run."""
    from cyclegan_hf.training.config import TrainConfig
    from cyclegan_hf.training.record.card import model_card
    from cyclegan_hf.training.record.provenance import Origins
    from tests.training.record.test_card import FACTS
    from tests.training.tiny import DISCRIMINATOR, GENERATOR

    os.environ.update(variables)
    config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
    config.data.a, config.data.b = a, b
    origins = Origins(config)
    cards = [model_card(config, FACTS, {"a": 1, "b": 2}, None, origins) for _ in range(times)]
    return [line for card in cards for line in card.splitlines() if line.startswith("| data |")]


def test_the_card_tells_each_data_sets_licence(server: HubServer, client: Client) -> None:
    for name, licence in (("cc0", b"cc0-1.0"), ("nc", b"cc-by-nc-4.0")):
        server.add("dataset", f"tester/{name}", {"README.md": b"---\nlicense: %s\n---\n" % licence})
    expected = "| data | tester/cc0 (cc0-1.0), tester/nc (cc-by-nc-4.0) |"
    assert client(data_rows, "tester/cc0", "tester/nc", {}) == [expected]
    unknown = "| data | tester/cc0 (cc0-1.0), tester/unknown-data (licence not stated) |"
    assert client(data_rows, "tester/cc0", "tester/unknown-data", {}) == [unknown]


def test_a_licence_is_asked_for_again_and_with_the_sources_own_token(server: HubServer, client: Client) -> None:
    card = {"README.md": b"---\nlicense: mit\n---\n"}
    server.add("dataset", "tester/busy-data", card)
    server.fault("status", "/api/datasets/tester/busy-data")
    rows = client(data_rows, "tester/busy-data", "tester/busy-data", {}, times=3)
    assert [row.split("(")[1] for row in rows] == ["licence not stated) |", "mit) |", "mit) |"]
    assert len(server.seen("GET", "/api/datasets/tester/busy-data")) == 2  # an answer is kept
    server.add("dataset", "tester/own-token", card)
    place = "tester/own-token,token=OTHER_TOKEN"
    assert "(mit)" in client(data_rows, place, place, {"OTHER_TOKEN": "hf_read"})[0]
    asked = server.seen("GET", "/api/datasets/tester/own-token")
    assert [request.headers["authorization"] for request in asked] == ["Bearer hf_read"]


def train_stages(folder: str, hub: dict[str, Any]) -> None:
    from cyclegan_hf.training.stages import train_in_stages

    stages = {"batch_sizes": [1, 2], "epochs": [1, 1], "evaluation_epochs": [1, 1]}
    train_in_stages(tiny_config(Path(folder), stages=stages, hub={"push_to_hub": True} | hub))


@pytest.mark.slow
def test_stages_push_their_end_alone(server: HubServer, client: Client, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="`hub_strategy: all` does not go with stages"):
        client(train_stages, str(tmp_path), {"hub_model_id": "tester/stages", "hub_strategy": "all"})
    assert not (tmp_path / "run").exists() and ("models", "tester/stages") not in server.repos
    client(train_stages, str(tmp_path), {"hub_model_id": "tester/stages"})
    assert titles(server, "tester/stages") == ["End of training"]
    files = added(server, "tester/stages")
    assert {"grid-a2b.jpg", "grid-b2a.jpg", "metrics.json", "training.json"} < set(files)
    card = files["README.md"].decode()
    assert "](grid-a2b.jpg)" in card and "## Stages, by swd" in card and "model-index" in card
