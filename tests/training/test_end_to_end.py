"""The real command in processes of its own, started from another folder: it trains, is killed, goes on, complains."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.config import TrainConfig
from tests.testing_utils import make_picture, write_domains
from tests.training.tiny import identical, largest_difference, write_recipe


SCRIPT = Path(__file__).resolve().parents[2] / "training" / "train.py"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--dynamo_backend", "no"]
ONE_PROCESS = [*LAUNCH, "--num_processes", "1", "--mixed_precision", "no", str(SCRIPT)]
# On processors, `accelerate launch` starts several processes through MPI alone; torch's launcher needs nothing.
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
PLAIN = [sys.executable, str(SCRIPT)]
PATIENCE = 300  # seconds, on a busy machine


def start(command: list[str], folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start in `folder`, which is not the repository's, as a process group of its own."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """The error stream of a command that ends well."""
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaint
    return complaint


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def logged_steps(folder: Path) -> list[int]:
    log = folder / "log.jsonl"
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []


STEPS, HALF = 120, 60


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with pictures and a recipe."""
    write_domains(tmp_path / "domains", size=40)
    write_recipe(
        tmp_path / "tiny.yaml",
        run={
            "max_train_steps": STEPS,
            "checkpointing_steps": HALF,
            "validation_steps": HALF,
            "image_pool_size": 5,
            "report_to": "tensorboard",
        },
        data={"num_workers": 1, "domain_a": "summer", "domain_b": "winter"},
        lr_scheduler={"type": "linear", "unit": "epoch", "constant": 5, "decay": 15},  # six steps an epoch
        ema={"decay": 0.99},
    )
    return tmp_path


def data_flags(task: Path) -> list[str]:
    names = ["--data.domain-a", "summer", "--data.domain-b", "winter"]
    return ["--data.a", str(task / "domains" / "trainA"), "--data.b", str(task / "domains" / "trainB"), *names]


def test_a_killed_run_goes_on_as_if_it_had_not_been(task: Path) -> None:
    recipe = ["--recipe", "tiny.yaml", *data_flags(task)]
    unbroken = start(ONE_PROCESS, task, *recipe, "--output-dir", "unbroken")
    killed = start(ONE_PROCESS, task, *recipe, "--output-dir", "killed")
    wait_for(lambda: (task / "killed" / f"checkpoint-{HALF}").is_dir(), killed)
    wait_for(lambda: logged_steps_now(task / "killed") >= HALF + 3, killed)
    os.killpg(killed.pid, signal.SIGKILL)  # the launcher, the trainer and its loaders at once
    killed.communicate(timeout=PATIENCE)
    assert not (task / "killed" / "model_index.json").exists(), "it had finished before it was killed"
    finish(unbroken)
    complaint = finish(start(ONE_PROCESS, task, "--output-dir", "killed", "--resume-from-checkpoint", "latest"))
    assert f"from step {HALF};" in complaint
    assert "will differ" not in complaint

    first, second = task / "unbroken", task / "killed"
    files = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    assert len(files) == 2 * (2 + 4) + 2  # two checkpoints: averages and the four networks; the finished averages
    for file in files:
        assert largest_difference(load_file(first / file), load_file(second / file)) == 0, file
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    states = [
        torch.load(folder / f"checkpoint-{STEPS}" / "training_state" / "state.pt", weights_only=True)
        for folder in (first, second)
    ]
    assert set(states[0]) == {"step", "ema", "scaler", "plateau", "processes"}
    for part in states[0]:
        assert identical(states[0][part], states[1][part]), part
    for name in ("log.jsonl", "epochs.jsonl", "report.md"):
        assert (first / name).read_text() == (second / name).read_text(), name
    assert logged_steps(second) == list(range(1, STEPS + 1))
    check_the_finished_run(second)


def logged_steps_now(folder: Path) -> int:
    """How far a running command is; its last line may be half written."""
    return (folder / "log.jsonl").read_text().count("\n")


def check_the_finished_run(folder: Path) -> None:
    """What a run leaves: a pipeline with its card and recipe, checkpoints, logs, samples, and nothing temporary."""
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        f"checkpoint-{STEPS}",
        f"checkpoint-{HALF}",
        "epochs.jsonl",
        "generator_a2b",
        "generator_b2a",
        "grid-a2b.jpg",
        "grid-b2a.jpg",
        "log.jsonl",
        "logs",
        "losses.json",
        "model_index.json",
        "pipeline.py",
        "recipe.yaml",
        "report.md",
        "samples",
        "training.json",
    ]
    pipe = CycleGANPipeline.from_pretrained(folder)
    assert (pipe.config["domain_a"], pipe.config["domain_b"]) == ("summer", "winter")
    assert pipe(make_picture("A", 0, size=(50, 41)), direction="summer2winter").images[0].size == (50, 41)
    assert list((folder / "logs").rglob("events.out.tfevents.*"))
    samples = sorted(path.name for path in (folder / "samples").iterdir())
    assert samples == [f"{step:07d}-{way}.png" for step in (HALF, STEPS) for way in ("a2b", "b2a")]
    with Image.open(folder / "samples" / samples[0]) as grid:
        assert grid.size == (4 * 72 + 3 * 4, 18 + 2 * 72 + 4)  # two pictures at twice the training scale
        assert len(grid.getcolors(100_000) or range(100_000)) > 500
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("cyclegan_hf", "image-to-image")
    assert card.data.to_dict()["tags"]
    assert "summer" in card.text
    assert str(folder) not in card.content
    assert TrainConfig.from_yaml(folder / "recipe.yaml").ema.decay == 0.99


def test_a_mistake_is_one_line_and_leaves_nothing(task: Path) -> None:
    launched = start(ONE_PROCESS, task, "--recipe", "tiny.yaml", "--data.a", "nowhere", "--data.b", "domains/trainB")
    plain = start(PLAIN, task, "--recipe", "sumer2winter", *data_flags(task))
    _, complaint = launched.communicate(timeout=PATIENCE)
    assert launched.returncode != 0
    assert "error: `data.a` must be a folder of pictures; nowhere does not exist.\n" in complaint
    assert "train.py" not in complaint.split("error: ")[0]  # no traceback of ours; the launcher adds its own below
    _, complaint = plain.communicate(timeout=PATIENCE)
    assert plain.returncode == 1
    assert complaint == "error: There is no recipe 'sumer2winter'. Did you mean 'summer2winter'?\n"
    assert sorted(path.name for path in task.iterdir()) == ["domains", "tiny.yaml"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_its_step_and_goes_on(task: Path, number: signal.Signals) -> None:
    recipe = ["--recipe", "tiny.yaml", *data_flags(task), "--validation-steps", 0, "--lr-scheduler.type", "constant"]
    process = start(
        PLAIN, task, *recipe, "--output-dir", "run", "--max-train-steps", 10**6, "--checkpointing-steps", 10**6
    )
    wait_for(lambda: (task / "run" / "log.jsonl").exists() and logged_steps_now(task / "run") >= 3, process)
    os.killpg(process.pid, number)  # Ctrl-C and schedulers reach the whole group, the loaders too
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, complaint
    assert "Traceback" not in complaint
    assert f"{number.name}: saving and stopping after this step" in complaint
    (saved,) = (task / "run").glob("checkpoint-*")
    step = int(saved.name.removeprefix("checkpoint-"))
    assert logged_steps(task / "run") == list(range(1, step + 1))
    assert f"Stopped at step {step} of 1000000, which is saved: go on with `--resume-from-checkpoint latest`." in (
        complaint
    )
    if number == signal.SIGTERM:
        return  # one way back is enough
    end = ["--max-train-steps", step + 3]
    finish(start(PLAIN, task, "--output-dir", "run", "--resume-from-checkpoint", "latest", *end))
    finish(start(PLAIN, task, *recipe, "--output-dir", "unbroken", *end))
    for name in ("generator_a2b", "generator_b2a"):
        files = [folder / name / "diffusion_pytorch_model.safetensors" for folder in (task / "run", task / "unbroken")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("command", "number"), [(ONE_PROCESS, 15), (ONE_PROCESS, 9), (TWO_PROCESSES, 15)])
def test_a_signal_that_only_the_launcher_gets_saves_the_run(task: Path, command: list[str], number: int) -> None:
    options = ["--validation-steps", 0, "--max-train-steps", 10**6, "--checkpointing-steps", 10**6]
    process = start(command, task, "--recipe", "tiny.yaml", *data_flags(task), "--output-dir", "run", *options)
    wait_for(lambda: (task / "run" / "log.jsonl").exists() and logged_steps_now(task / "run") >= 3, process)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=PATIENCE)  # until the trainer, too, has closed its end of the pipe
    assert process.returncode != 0
    (saved,) = (task / "run").glob("checkpoint-*")
    step = int(saved.name.removeprefix("checkpoint-"))
    assert f"Stopped at step {step} of 1000000, which is saved: go on with `--resume-from-checkpoint latest`." in (
        complaint
    )
    assert logged_steps(task / "run") == list(range(1, step + 1))


def test_help_shows_an_example(tmp_path: Path) -> None:
    process = start(PLAIN, tmp_path, "--help")
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "accelerate launch training/train.py --recipe few_images --data.a A --data.b B" in text


@pytest.mark.slow
def test_a_launcher_that_starts_one_process_of_two_is_noticed(task: Path) -> None:
    two = [*LAUNCH, "--num_processes", "2", "--mixed_precision", "no", str(SCRIPT)]
    complaint = finish(start(
        two, task, "--recipe", "tiny.yaml", *data_flags(task), "--max-train-steps", 1, "--output-dir", "run"
    ))  # fmt: skip
    assert "1 process(es) on cpu" in complaint
    assert "The launch asked for several processes and started one." in complaint


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(task: Path) -> None:
    # One large-epsilon step, without pools: see `test_official_step.py`.
    settings = [
        *("--max-train-steps", 1, "--image-pool-size", 0, "--optimizer.adam-epsilon", 0.01),
        *("--validation-steps", 0, "--checkpointing-steps", 1, "--optimizer.learning-rate", 2e-3),
    ]
    recipe = ["--recipe", "tiny.yaml", *data_flags(task), *settings]
    finish(start(TWO_PROCESSES, task, *recipe, "--output-dir", "two"))
    finish(start(ONE_PROCESS, task, *recipe, "--output-dir", "one", "--train-batch-size", 2))
    states = [task / name / "checkpoint-1" / "training_state" for name in ("one", "two")]
    for file in sorted(states[0].glob("*.safetensors")):
        assert largest_difference(*(load_file(state / file.name) for state in states)) < 2e-6, file.name
    runs = [json.loads((state / "run.json").read_text()) for state in states]
    assert [run["num_processes"] for run in runs] == [1, 2]
    assert runs[0]["positions"] == runs[1]["positions"] == {"a": 2, "b": 2}
    assert logged_steps(task / "two") == [1]


@pytest.mark.slow
@pytest.mark.parametrize("norm_type", ["instance", "batch"])
def test_two_interrupted_processes_go_on_as_if_they_had_not_been(task: Path, norm_type: str) -> None:
    write_recipe(
        task / "two.yaml",
        run={"max_train_steps": 12, "checkpointing_steps": 7, "image_pool_size": 3, "validation_steps": 0},
        generator={"norm_type": norm_type, "dropout_prob": 0.5},
        discriminator={"norm_type": norm_type},
        losses={"adaptive": "dwa"},
        data={"num_workers": 1},
    )
    recipe = ["--recipe", "two.yaml", *data_flags(task)]
    finish(start(TWO_PROCESSES, task, *recipe, "--output-dir", "unbroken"))
    finish(start(TWO_PROCESSES, task, *recipe, "--output-dir", "broken", "--max-train-steps", 7))
    shutil.rmtree(task / "broken" / "generator_a2b")  # a finished pipeline is not to be gone on with
    (task / "broken" / "model_index.json").unlink()
    go_on = ["--resume-from-checkpoint", "latest", "--max-train-steps", 12]
    finish(start(TWO_PROCESSES, task, "--output-dir", "broken", *go_on))
    for name in ("generator_a2b", "generator_b2a"):
        files = [task / run / name / "diffusion_pytorch_model.safetensors" for run in ("unbroken", "broken")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("norm_type", ["instance", "batch"])
def test_two_processes_train_for_a_while(task: Path, norm_type: str) -> None:
    write_recipe(
        task / "two.yaml",
        run={"max_train_steps": 6, "gradient_accumulation_steps": 2, "checkpointing_steps": 6},
        generator={"norm_type": norm_type},
        discriminator={"norm_type": norm_type},
        data={"num_workers": 1},
    )
    finish(start(TWO_PROCESSES, task, "--recipe", "two.yaml", *data_flags(task), "--output-dir", "run"))
    state = torch.load(task / "run" / "checkpoint-6" / "training_state" / "state.pt", weights_only=True)
    pools = [process["step"]["pools"] for process in state["processes"]]
    assert len(pools) == 2
    for key in ("a", "b"):  # six steps of two on each process
        first, second = (torch.stack(pool[key]["images"]) for pool in pools)
        assert first.shape == second.shape == (12, 3, 32, 32)
        assert not torch.equal(first, second)
    finish(start(
        TWO_PROCESSES, task, "--output-dir", "run", "--resume-from-checkpoint", "latest", "--max-train-steps", 8
    ))  # fmt: skip
    assert logged_steps(task / "run") == list(range(1, 9))
