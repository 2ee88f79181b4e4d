"""Several processes as one run: how they meet, what they must have in common, what is said of one that is gone."""

import logging
import os
import re
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import InitProcessGroupKwargs, parse_flag_from_env, set_seed
from torch import distributed

from cyclegan_hf.errors import one_line
from cyclegan_hf.hardware import can_compile, fast_dtype
from cyclegan_hf.processes import Processes, cores_of_this_process, lonely_process_warning
from cyclegan_hf.training.builders import mixes_batch
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import RunConfig
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.record.logs import check_tracker


logger = logging.getLogger(__name__)

LONG_RUN_STEPS, LONG_RUN_EPOCHS = 300, 10
"""Compiling takes one to three minutes, which a shorter run does not make up for."""
# What gloo and NCCL say, in plain `RuntimeError`s, of a process that has ended and of one that does not answer.
_LOST = re.compile(
    "connection (closed|reset|refused|was likely closed)|connect(ion)? timeout|timed? ?out|timing out|broken pipe"
    "|socket"
    "|unhandled system error|remote process exited|heartbeat|NCCL communicator was aborted|pair closure"
    "|ncclRemoteError|ncclSystemError|no route to host|network (error|is unreachable)|failed to recv",
    re.IGNORECASE,
)


def make_accelerator(run: RunConfig) -> Accelerator:
    """Meet the other processes of the launch, and take this one's part of the machine.

    Raises:
        ValueError: If the arithmetic that is asked for needs other hardware, or processes would train apart.
        RuntimeError: If the processes do not meet in `ddp_timeout` seconds.
    """
    check_tracker(run)
    if run.fast:
        choose_fast(run)
    run.kept = []
    if run.compile:
        logger.info("Compiling the networks: the first steps take a minute or more.")
    # torch 2.13 warns of the argument below and says itself to keep it for buffers that differ between processes.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    launched = Processes.of_environment().count
    accelerator = Accelerator(
        # Without this accelerate 1.15 leaves processes that find no GPU alone, each with a run of its own.
        cpu=launched > 1 and not torch.accelerator.is_available(),
        mixed_precision=run.mixed_precision,
        log_with=None if run.report_to == "none" else run.report_to,
        project_dir=Path(run.output_dir),
        kwargs_handlers=[
            # Every process follows its own batch norm statistics: sent around, they would change between two forwards
            # of one backward.
            DistributedDataParallelKwargs(broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=timedelta(seconds=run.ddp_timeout)),
        ],
    )
    if accelerator.num_processes != launched:
        raise ValueError(f"{launched} processes were launched, of which {accelerator.num_processes} would train.")
    if accelerator.device.type == "cpu":
        prepare_processor(run, accelerator.mixed_precision)
    if warning := lonely_process_warning():
        logger.warning("%s", warning)
    if accelerator.process_index > 0:  # all have drawn the same first weights; dropout is to differ
        set_seed((run.seed + accelerator.process_index) % 2**32)
    return accelerator


def choose_fast(run: RunConfig) -> None:
    """Set what `fast` leaves to the hardware, in place: precision, compilation, layout.

    `fast` itself is off then: what is saved is what was chosen, and a run that goes on does so as it began.
    """
    run.fast = False
    short = (
        run.num_train_epochs < LONG_RUN_EPOCHS if run.max_train_steps is None else run.max_train_steps < LONG_RUN_STEPS
    )
    on_gpu = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    device = torch.device("cuda" if on_gpu else "cpu")
    if short or fast_dtype(device) is None:
        return
    if run.mixed_precision is None and os.environ.get("ACCELERATE_MIXED_PRECISION", "no") == "no":
        run.mixed_precision = "bf16"
    run.compile = run.compile or ("compile" not in run.kept and can_compile(device))
    # On processors it goes with compiled bf16: see below.
    run.channels_last = run.channels_last or ("channels_last" not in run.kept and on_gpu)
    logger.info("What this hardware is fast at is used; `--no-fast` does without.")


def prepare_processor(run: RunConfig, precision: str) -> None:
    """Share the cores out, and settle what a processor does otherwise than a GPU.

    Args:
        run: The settings; the layout may be changed.
        precision: The arithmetic, as accelerate calls it.

    Raises:
        ValueError: If it is fp16.
    """
    if precision == "fp16":  # accelerate would train in fp32 without a word
        raise ValueError("`mixed_precision: fp16` needs a GPU; a processor takes bf16 or no.")
    if run.compile and precision == "bf16" and not run.channels_last:
        # torch 2.13: compiled in the other layout, the paper's step at 256² has gradients that are not numbers.
        logger.info("`channels_last` too, as always where a processor runs compiled networks in bf16.")
        run.channels_last = True
    torch.set_num_threads(run.num_threads or cores_of_this_process(Processes.of_environment().local_count))


def warn_of_batch_norm(accelerator: Accelerator, networks: Networks, run: RunConfig) -> None:
    """Say so where a norm sees a part of the batch alone: more processes are then not a larger batch."""
    if accelerator.num_processes > 1 and mixes_batch(networks):
        logger.warning("Batch norm sees the %d pictures of its own process, not the batch.", run.train_batch_size)


def check_agreement(config: TrainConfig, step: int, pictures: str) -> None:
    """Refuse processes that would train apart: machines with other flags, other pictures, or without the checkpoint.

    Args:
        config: This process's configuration.
        step: The step that it would go on from.
        pictures: A hash of its pictures.

    Raises:
        ValueError: On every process, with what differs.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    ours = [f"step {step}", f"pictures {pictures}"]
    ours += [line.strip() for line in config.without_places().to_yaml().splitlines()]
    theirs: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(theirs, ours)
    for rank, other in enumerate(theirs):
        for first, second in zip(theirs[0], other, strict=False):
            if first != second:
                raise ValueError(
                    "All processes must have the same settings and pictures, and see the checkpoints in "
                    f"`--output-dir`: process 0 has `{first}`, process {rank} has `{second}`."
                )


def means_over_processes(accelerator: Accelerator, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the means of scalars over all processes, in one message; every process must call this."""
    if accelerator.num_processes == 1:
        return values
    together = accelerator.reduce(torch.stack([value.detach().float() for value in values.values()]), "mean")
    return dict(zip(values, together, strict=True))


def is_main_process() -> bool:
    """Whether this process speaks for all, as its launcher says: before they have met."""
    return os.environ.get("RANK", "0") == "0"


def lost_process(error: RuntimeError) -> str | None:
    """Explain an error that comes from another process or the network; `None` for any other."""
    text = one_line(error, 300).partition(". This is typically caused")[0]
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        port = os.environ.get("MASTER_PORT", "29500")
        return f"Port {port}, where the processes are to meet, is taken: choose another `--main_process_port`."
    if isinstance(error, distributed.DistError) or _LOST.search(text):
        return (
            f"Another process of this run has ended, does not answer or never came: {text}. When that is mended, go "
            "on with `--resume-from-checkpoint latest`."
        )
    return None
