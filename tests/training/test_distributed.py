"""Several processes are one run: they make its steps together, and none waits for ever for one that is gone."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cyclegan_hf.training.data.streams import StreamBatches
from cyclegan_hf.training.distributed import lost_process
from tests.testing_utils import free_port, write_domains
from tests.training.runs import PATIENCE, Run
from tests.training.tiny import largest_difference, write_recipe


Start = Callable[..., Run]
STEPS = 12
# Rounding errors grow: after a few steps of the usual size a game's course is another one. Small ones keep them small.
PLAIN: dict[str, Any] = {
    "run": {"max_train_steps": STEPS, "checkpointing_steps": STEPS, "image_pool_size": 0},
    "optimizer": {"learning_rate": 2e-5, "adam_epsilon": 1e-3},
    "lr_scheduler": {"constant": 2, "decay": 5},
}
# Every loss that looks at more than one picture at a time, and weights that follow all processes' losses.
RELATIVISTIC: dict[str, Any] = PLAIN | {
    "discriminator": {"_class_name": "DualHeadDiscriminator", "block_out_channels": [4, 8, 8]},
    "losses": {
        "adversarial": "relativistic",
        "lambda_penalty": 10,
        "lambda_feature": 5,
        "feature_matching": "mean",
        "adaptive": "dwa",
    },
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start runs of `tmp_path/recipe.yaml` with more flags; what is left of them at the end of the test is killed."""
    write_domains(tmp_path / "domains", count=5, size=40)
    (tmp_path / "domains" / "trainB" / "000.png").unlink()  # 5 and 4: no pass of A is a whole number of steps of two
    runs: list[Run] = []

    def one(output: str, *flags: object, last: tuple[object, ...] = (), **options: Any) -> Run:
        """`last`: flags of the last process alone."""
        words: list[object] = ["--recipe", tmp_path / "recipe.yaml", "--output-dir", tmp_path / output]
        words += ["--data.a", tmp_path / "domains" / "trainA", "--data.b", tmp_path / "domains" / "trainB", *flags]
        others = [words] * (options.get("num_processes", 1) - 1)
        runs.append(Run([*others, [*words, *last]], tmp_path / f"log-{len(runs)}", **options))
        return runs[-1]

    yield one
    for run in runs:
        run.kill()


def furthest(first: Path, second: Path) -> float:
    """The largest difference of any number in any of the four networks, in two runs' last checkpoints."""
    states = [folder / f"checkpoint-{STEPS}" / "training_state" for folder in (first, second)]
    files = sorted(states[0].glob("*.safetensors"))
    assert len(files) == 4
    return max(largest_difference(load_file(file), load_file(states[1] / file.name)) for file in files)


def losses(folder: Path) -> torch.Tensor:
    """Every loss and term of every step, `(steps, terms)`."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return torch.tensor([[value for name, value in line.items() if "accuracy" not in name] for line in lines])


# Measured: weights differ by 1.1e-7 and 4.5e-7, losses by 2e-6 and 1e-5. Were the relativistic means those of each
# process alone, it would be 5e-4 and 0.4.
@pytest.mark.parametrize("recipe", [PLAIN, RELATIVISTIC])
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path, start: Start, recipe: dict[str, Any]) -> None:
    write_recipe(tmp_path / "recipe.yaml", **recipe)
    two = start("two", num_processes=2)
    printed = two.ends_well()
    assert (
        "5 pictures of a, 4 pictures of b; 12 steps of 2 pictures (3 an epoch) from step 0; 2 process(es) on cpu"
        in printed
    )
    assert "pictures of a" not in two.printed(rank=1)  # once is enough
    assert "Warning" not in two.printed(rank=1).replace("UserWarning: OMP_NUM_THREADS", "")
    start("one", "--train-batch-size", 2).ends_well()
    assert furthest(tmp_path / "two", tmp_path / "one") < 1e-5
    ours, theirs = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert ours.shape == theirs.shape == (STEPS, 11 if recipe is PLAIN else 15)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours[0] - ours[-1]).abs().max() > 1e-2  # the pictures were not the same all along


@pytest.mark.skipif(torch.accelerator.is_available(), reason="is about machines without an accelerator")
def test_processes_that_find_no_gpu_are_still_one_run(tmp_path: Path, start: Start) -> None:
    """As `torchrun` and `accelerate launch --multi_gpu` start them, which say nothing of processors."""
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    two = start("two", "--max-train-steps", 2, num_processes=2, variables={"ACCELERATE_USE_CPU": "false"})
    assert "2 process(es) on cpu" in two.ends_well()


def test_stages_of_two_processes(tmp_path: Path, start: Start) -> None:
    stages = {"batch_sizes": [1, 1], "epochs": [1, 1], "evaluation_epochs": [1, 1], "metric": "swd"}
    recipe = {"run": {"max_train_steps": None}, "data": {"test_share": 0.4}, "stages": stages}
    write_recipe(tmp_path / "recipe.yaml", **recipe)
    two = start("two", num_processes=2)
    assert two.ends_well().count("2 process(es) on cpu") == 2  # each stage
    assert "Stage" not in two.printed(rank=1)
    assert (tmp_path / "two" / "model_index.json").exists() and (tmp_path / "two" / "history.md").exists()


@pytest.mark.slow
def test_two_processes_are_one_that_accumulates_bit_for_bit(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN | {"optimizer": {"learning_rate": 2e-3}})
    start("two", num_processes=2).ends_well()
    start("one", "--gradient-accumulation-steps", 2).ends_well()
    assert furthest(tmp_path / "two", tmp_path / "one") == 0


@pytest.mark.slow
def test_two_processes_that_accumulate_are_one_with_four_times_the_batch(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    start("two", "--gradient-accumulation-steps", 2, num_processes=2).ends_well()
    start("one", "--train-batch-size", 4).ends_well()
    assert furthest(tmp_path / "two", tmp_path / "one") < 1e-5


LOST = "error: Another process of this run has ended, does not answer or never came: "
ENDLESS = ["--max-train-steps", 10**6, "--checkpointing-steps", 2]


def test_a_process_that_dies_ends_the_others_with_a_message(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    run = start("run", *ENDLESS, num_processes=2)
    run.wait_for((tmp_path / "run" / "checkpoint-2").exists)
    run.kill(rank=1)
    assert run.wait() == [1, -9]
    assert LOST in run.printed()
    assert "Traceback" not in run.printed()
    start("run", "--resume-from-checkpoint", "latest", "--max-train-steps", 1, num_processes=2).ends_well()


def test_a_process_that_hangs_ends_the_others_with_a_message(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    run = start("run", *ENDLESS, "--ddp-timeout", 2, num_processes=2)
    run.wait_for((tmp_path / "run" / "checkpoint-2").exists)
    os.kill(run.processes[1].pid or 0, signal.SIGSTOP)
    stopped = time.monotonic()
    run.processes[0].join(PATIENCE)
    assert run.processes[0].exitcode == 1
    assert time.monotonic() - stopped > 1  # it has waited, and not for the default half an hour
    assert LOST in run.printed()
    assert "Traceback" not in run.printed()


@pytest.mark.slow
def test_bad_pictures_of_two_processes_stop_both(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    pictures = sorted((tmp_path / "domains" / "trainA").iterdir())
    batches = [StreamBatches(len(pictures), 1, 0, 0, 0, rank, 2) for rank in range(2)]
    for first, *_ in map(next, map(iter, batches)):  # each process's first picture, of five: one may be bad
        pictures[first.index].write_bytes(b"cut off")
    run = start("run", "--max-train-steps", 1, "--data.max-bad-share", 0.3, num_processes=2)
    assert run.wait() == [1, 1]
    told = "error: 2 of 5 pictures could not be read, more than `data.max_bad_share` (0.3) allows: "
    for rank in range(2):
        assert told in run.printed(rank)
        assert run.printed(rank).count("Skipped a picture (1 of this domain so far): ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_both_at_the_same_step(tmp_path: Path, start: Start, rank: int) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    run = start("run", "--max-train-steps", 10**6, "--checkpointing-steps", 10**6, num_processes=2)
    log = tmp_path / "run" / "log.jsonl"
    run.wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 3)
    os.kill(run.processes[rank].pid or 0, signal.SIGTERM)
    assert run.wait() == [143, 143]
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    step = int(saved.name.removeprefix("checkpoint-"))
    told = f"Stopped at step {step} of 1000000, which is saved: go on with `--resume-from-checkpoint latest`."
    assert told in run.printed(0)
    assert told in run.printed(1)
    assert log.read_bytes().count(b"\n") == step
    latest = ["--resume-from-checkpoint", "latest", "--max-train-steps", step + 2]
    assert f"from step {step};" in start("run", *latest, num_processes=2).ends_well()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_nobody_meets_ends_with_a_message(tmp_path: Path, start: Start, rank: str) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    alone = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    run = start("run", "--ddp-timeout", 1, variables=alone | {"MASTER_PORT": str(free_port())})
    assert run.wait() == [1]
    assert LOST in run.printed()
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = start("run", num_processes=2, variables={"MASTER_PORT": port})
        run.processes[0].join(PATIENCE)
    assert run.processes[0].exitcode == 1
    assert run.printed().endswith(
        f"error: Port {port}, where the processes are to meet, is taken: choose another `--main_process_port`.\n"
    )


def test_machines_that_would_train_apart_are_refused(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    run = start("run", num_processes=2, last=("--seed", 1))
    assert run.wait() == [1, 1]
    for rank in (0, 1):
        assert run.printed(rank).endswith(
            "error: All processes must have the same settings and pictures, and see the checkpoints in "
            "`--output-dir`: process 0 has `seed: 0`, process 1 has `seed: 1`.\n"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_machines_without_the_checkpoint_or_with_other_pictures_are_refused(tmp_path: Path, start: Start) -> None:
    write_recipe(tmp_path / "recipe.yaml", **PLAIN)
    start("run", "--max-train-steps", 2, "--checkpointing-steps", 2, num_processes=2).ends_well()
    latest = ["--resume-from-checkpoint", "latest"]
    blind = start("run", *latest, num_processes=2, last=("--output-dir", tmp_path / "other"))
    assert blind.wait() == [1, 1]
    assert blind.printed(rank=1).endswith("process 0 has `step 2`, process 1 has `step 0`.\n")
    mixed = start("mixed", num_processes=2, last=("--data.a", tmp_path / "domains" / "trainB"))
    assert mixed.wait() == [1, 1]
    assert "process 0 has `pictures " in mixed.printed()


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("[/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:29896: Connection reset by peer. This is …", True),
        ("[/gloo/transport/tcp/unbound_buffer.cc:129] Timed out waiting 3000ms for send operation to complete", True),
        ("NCCL error in: ProcessGroupNCCL.cpp: unhandled system error, NCCL version 2.27", True),
        ("NCCL communicator was aborted on rank 1.", True),
        ("[/gloo/transport/tcp/pair.cc:550] Application timeout caused pair closure", True),
        ("Watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE) ran for 600029 milliseconds", True),
        ("NCCL error: remote process exited or there was a network error, NCCL version 2.27", True),
        ("Connection was likely closed. Did the remote server shutdown or crash?", True),
        ("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1", False),
        ("CUDA out of memory. Tried to allocate 20.00 MiB", False),
    ],
)
def test_only_a_lost_process_is_told_as_one(text: str, lost: bool) -> None:
    assert (lost_process(RuntimeError(text)) is not None) == lost
