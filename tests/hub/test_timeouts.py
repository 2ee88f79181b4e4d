"""A Hub that accepts connections and never answers, or that is busy for a moment."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client, ClientError, command, load, make_pipeline, token
from tests.hub.test_pull import WEIGHTS, files_of
from tests.hub.test_push import added
from tests.hub.test_training import Log
from tests.hub_server import HubServer


@contextlib.contextmanager
def impatience(seconds: float = 0.5) -> Iterator[None]:
    """A client that waits for an answer so long, and makes no second try after it."""
    from cyclegan_hf.hub import errors as hub_errors
    from cyclegan_hf.hub import timeouts as hub_timeouts

    before, hub_errors.PATIENCE_SECONDS = hub_errors.PATIENCE_SECONDS, 0
    os.environ[hub_timeouts.VARIABLE] = str(seconds)
    try:
        yield
    finally:
        del os.environ[hub_timeouts.VARIABLE]
        hub_errors.PATIENCE_SECONDS = before


def impatiently(words: list[str], folder: str) -> tuple[int, str, str]:
    with impatience():
        return command(words, "hf_write", folder)


@pytest.mark.parametrize("path", ["/repos/create", "/api/models/tester/mute", "/commit/"])
def test_a_push_to_a_hub_that_never_answers_ends(
    server: HubServer, client: Client, model: Path, tmp_path: Path, path: str
) -> None:
    stall = server.fault("stall", path)
    try:
        code, _, errors = client(impatiently, ["push", str(model), "tester/mute"], str(tmp_path))
    finally:
        stall.released.set()
    assert stall.fired == 1
    assert code == 2 and "does not answer within 0.5 s" in errors and "CYCLEGAN_HUB_TIMEOUT" in errors
    assert errors.splitlines()[-1].startswith("error: ") and "Traceback" not in errors
    assert cleared(server)


def cleared(server: HubServer) -> bool:
    """Whether nothing was published; for the next test there is no such repository."""
    repo = server.repos.pop(("models", "tester/mute"), None)
    return repo is None or len(repo.commits) == 1


def test_a_commit_that_hangs_once_is_sent_again(
    server: HubServer, client: Client, model: Path, tmp_path: Path
) -> None:
    stall = server.fault("stall", "/tester/hangs-once/commit/")
    try:
        code, output, _ = client(patiently, ["push", str(model), "tester/hangs-once"], str(tmp_path))
    finally:
        stall.released.set()
    assert (code, output, stall.fired) == (0, f"{server.endpoint}/tester/hangs-once\n", 1)
    assert WEIGHTS in added(server, "tester/hangs-once")


def patiently(words: list[str], folder: str) -> tuple[int, str, str]:
    from cyclegan_hf.hub import timeouts as hub_timeouts

    os.environ[hub_timeouts.VARIABLE] = "1"
    try:
        return command(words, "hf_write", folder)
    finally:
        del os.environ[hub_timeouts.VARIABLE]


def test_a_wrong_time_limit_is_told(client: Client, model: Path, tmp_path: Path) -> None:
    code, _, errors = client(with_limit, "soon", ["push", str(model), "tester/mute"], str(tmp_path))
    assert code == 2 and "CYCLEGAN_HUB_TIMEOUT must be a positive number" in errors


def with_limit(limit: str, words: list[str], folder: str) -> tuple[int, str, str]:
    os.environ["CYCLEGAN_HUB_TIMEOUT"] = limit
    try:
        return command(words, "hf_write", folder)
    finally:
        del os.environ["CYCLEGAN_HUB_TIMEOUT"]


@pytest.mark.parametrize("status", [500, 503])
def test_a_pull_from_a_busy_hub_is_tried_again(
    server: HubServer, client: Client, model: Path, tmp_path: Path, status: int
) -> None:
    server.add("model", f"tester/pulled-{status}", files_of(model))
    faults = [server.fault("status", name, method="GET", status=status) for name in ("model_index", "/lfs/")]
    found = client(load, f"tester/pulled-{status}", cache_dir=tmp_path / "cache")
    assert found == client(load, str(model))
    assert [fault.fired for fault in faults] == [1, 1]


def test_info_from_a_busy_hub_is_tried_again(server: HubServer, cli: Any, model: Path) -> None:
    server.add("model", "tester/info-busy", files_of(model))
    fault = server.fault("status", "/api/models/tester/info-busy", method="GET")
    code, output, errors = cli("info", "tester/info-busy")
    assert (code, fault.fired) == (0, 1) and "summer (a), winter (b)" in output, errors


def test_a_missing_model_is_not_asked_for_again(server: HubServer, client: Client) -> None:
    with pytest.raises(ClientError, match="there is no such model"):
        client(load, "tester/not-there")
    assert len(server.requests) == 1


def mute_run(folder: str, settings: dict[str, Any]) -> tuple[list[str], list[float]]:
    """A publisher's opening, one checkpoint and a stop with a mute Hub: what it said, and how long each took."""
    from cyclegan_hf.training.hub_config import HubConfig
    from cyclegan_hf.training.record import hub_push as publishing

    log = Log()
    logger = logging.getLogger("cyclegan_hf.training.record.hub_push")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    seconds = publishing.OPEN_SECONDS, publishing.STOP_SECONDS
    publishing.OPEN_SECONDS = 1
    checkpoint = Path(make_pipeline(f"{folder}/checkpoint-1"))
    (checkpoint / "training_state").mkdir()
    (checkpoint / "training_state" / "run.json").write_text("{}")
    times = []
    try:
        with token("hf_write"):
            publisher = publishing.Publisher(HubConfig(push_to_hub=True, **settings), Path(folder), is_main=True)
            for act in (publisher.open, lambda: publisher.checkpoint(checkpoint), lambda: publisher.wait(seconds=1)):
                began = time.monotonic()
                act()
                times.append(time.monotonic() - began)
    finally:
        publishing.OPEN_SECONDS, publishing.STOP_SECONDS = seconds
        publishing._given_up.clear()
        logger.removeHandler(log)
    return log.lines, times


@pytest.mark.parametrize("strategy", ["checkpoint", "all"])
def test_a_run_begins_and_stops_beside_a_hub_that_is_mute(
    server: HubServer, own_client: Client, tmp_path: Path, strategy: str
) -> None:
    stall = server.fault("stall", "/repos/create", times=1000)
    try:
        settings = {"hub_model_id": "tester/mute", "hub_strategy": strategy}
        lines, times = own_client(mute_run, str(tmp_path), settings)
    finally:
        stall.times = 0
        stall.released.set()
    assert max(times) < 5, times
    assert "the Hub has not answered for 1 s. The run begins" in lines[0]
    assert "Waiting for the push to tester/mute, at most 1 s" in lines[1]
    assert "Not pushed to tester/mute: checkpoint-1." in lines[2]
    assert f"cyclegan-hf push {tmp_path}/checkpoint-1 tester/mute" in lines[2]
