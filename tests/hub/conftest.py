"""A Hub on loopback, and one process with its real clients, for all tests of a worker."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.hub.client import Client, ClientError, call, command, make_pipeline, run, set_environment
from tests.hub_server import HubServer


@pytest.fixture(scope="session")
def shared_server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@contextlib.contextmanager
def client_process(environment: dict[str, str]) -> Iterator[Client]:
    """Run functions in a process of their own."""
    # Spawned: what this process has imported has read another HF_ENDPOINT.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, set_environment, (environment | {"OMP_NUM_THREADS": "1"},)) as pool:

        def in_process(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            result, failure = pool.submit(run, function, *args, **kwargs).result(timeout=500)
            if failure:
                raise ClientError(failure)
            return result

        yield in_process


@pytest.fixture(scope="session")
def client(shared_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Runs a function in the clients' process: one for all tests, for its imports take seconds."""
    with client_process(shared_server.environment(tmp_path_factory.mktemp("home"))) as in_process:
        yield in_process


@pytest.fixture
def own_client(shared_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Runs a function in a new process, for what leaves a thread at work that later tests would hear."""
    with client_process(shared_server.environment(tmp_path_factory.mktemp("home"))) as in_process:
        yield in_process


@pytest.fixture
def hub(client: Client) -> Client:
    """Calls a function of `huggingface_hub` by its name."""
    return lambda name, *args, **kwargs: client(call, name, *args, **kwargs)


@pytest.fixture
def server(shared_server: HubServer) -> HubServer:
    shared_server.requests.clear()
    return shared_server


@pytest.fixture
def cli(client: Client, server: HubServer, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs a command of `cyclegan-hf` in the test's folder, as a role (`None`: nobody, or a token as it is)."""

    def run_command(*words: object, role: str | None = "write") -> tuple[int, str, str]:
        token = server.tokens.get(role, role) if role else None
        return client(command, list(map(str, words)), token, str(tmp_path))

    return run_command


@pytest.fixture
def model(client: Client, tmp_path: Path) -> Path:
    """A saved pipeline of tiny networks."""
    return Path(client(make_pipeline, str(tmp_path / "model")))
