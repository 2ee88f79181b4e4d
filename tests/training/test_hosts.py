"""Two hosts, each with a network of its own: `accelerate launch --num_machines 2` on both, as a user does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.testing_utils import free_port, write_domains
from tests.training.runs import Run
from tests.training.tiny import largest_difference, write_recipe


pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).resolve().parents[2] / "training" / "train.py"
PATIENCE = 500  # seconds, on a busy machine


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    """The names of two network namespaces with a cable between them: 10.77.0.1 and 10.77.0.2."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2, to make network namespaces")
    names = [f"host{number}-{os.getpid()}" for number in (1, 2)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "cable1", "netns", names[0], "type", "veth", "peer", "name", "cable2", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
        for number, name in enumerate(names, start=1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", f"cable{number}")
            for device in (f"cable{number}", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    write_domains(tmp_path / "domains", count=5, size=40)
    write_recipe(
        tmp_path / "recipe.yaml",
        run={"max_train_steps": 8, "checkpointing_steps": 4, "image_pool_size": 0},
        optimizer={"learning_rate": 2e-5, "adam_epsilon": 1e-3},
    )
    return tmp_path


def flags(task: Path) -> list[str]:
    domains = [f"--data.{key.lower()}={task / 'domains' / f'train{key}'}" for key in "AB"]
    return ["--recipe", str(task / "recipe.yaml"), *domains]


def launch(hosts: list[str], task: Path, *words: object) -> list[subprocess.Popen[bytes]]:
    """The command on both hosts; what they print goes to `1.log` and `2.log`."""
    port = str(free_port())
    processes = []
    for number, name in enumerate(hosts):
        environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "GLOO_SOCKET_IFNAME": f"cable{number + 1}"}
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        command += ["--num_machines", "2", "--num_processes", "2", "--machine_rank", str(number)]
        command += ["--main_process_ip", "10.77.0.1", "--main_process_port", port]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no", str(SCRIPT), *flags(task), *map(str, words)]
        with (task / f"{number + 1}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    command, cwd=task, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
    return processes


def printed(task: Path) -> str:
    return "".join((task / f"{number}.log").read_text(encoding="utf-8") for number in (1, 2))


def test_two_hosts_are_one_run(hosts: list[str], task: Path) -> None:
    for process in launch(hosts, task, "--output-dir", "two", "--max-train-steps", 4):
        assert process.wait(PATIENCE) == 0, printed(task)
    go_on = ["--resume-from-checkpoint", "latest", "--max-train-steps", 8]
    for process in launch(hosts, task, "--output-dir", "two", *go_on):
        assert process.wait(PATIENCE) == 0, printed(task)
    assert "8 steps of 2 pictures (3 an epoch) from step 4; 2 process(es) on cpu" in printed(task)
    Run([*flags(task), "--output-dir", task / "one", "--train-batch-size", 2], task / "one").ends_well()
    states = [task / name / "checkpoint-8" / "training_state" for name in ("one", "two")]
    files = sorted(states[0].glob("*.safetensors"))
    assert max(largest_difference(*(load_file(state / file.name) for state in states)) for file in files) < 2e-5
    assert [json.loads((state / "run.json").read_text())["num_processes"] for state in states] == [1, 2]
    lines = (task / "two" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))  # one of them has written


def test_a_host_that_is_gone_ends_the_other_with_a_message(hosts: list[str], task: Path) -> None:
    first, second = launch(hosts, task, "--output-dir", "run", "--max-train-steps", 10**6, "--checkpointing-steps", 2)
    end = time.monotonic() + PATIENCE
    while not (task / "run" / "checkpoint-2").exists():
        assert first.poll() is None and time.monotonic() < end, printed(task)
        time.sleep(0.05)
    inside = subprocess.run(["ip", "netns", "pids", hosts[1]], capture_output=True, text=True, check=True)
    for number in inside.stdout.split():  # the launcher too
        os.kill(int(number), signal.SIGKILL)
    second.wait(PATIENCE)
    assert first.wait(PATIENCE) == 1
    assert "error: Another process of this run has ended, does not answer or never came: " in printed(task)
