"""What a run runs on and with: said at its start, kept in its checkpoints, compared when it goes on."""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.config import RunConfig, TrainConfig
from training.data.sources import Sources


logger = logging.getLogger(__name__)


def cores_of_this_process() -> int:
    """The processor cores that this process may use, shared out among the processes of this machine."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not have it
        cores = os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def hardware_name(device: torch.device) -> str:
    """What a device is called: a GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an ARM processor
        return platform.processor() or platform.machine()


def inventory(device: torch.device, networks: Any) -> dict[str, Any]:
    """What computes, and what is computed: the hardware's name, and each network's parameters."""
    counts = {name: sum(part.numel() for part in network.parameters()) for name, network in vars(networks).items()}
    return {"hardware": hardware_name(device), "parameters": counts}


def circumstances(config: TrainConfig, accelerator: Any, sources: Sources, batch_pictures: int) -> dict[str, Any]:
    """What must not change for a resumed run to end as an unbroken one.

    Args:
        config: The configuration.
        accelerator: The run's `accelerate.Accelerator`.
        sources: The pictures.
        batch_pictures: Pictures of each domain a step, over all processes.
    """
    run = config.run
    return {
        "pictures": {key: len(files) for key, files in sources.train.items()},
        "split": sources.fingerprint,
        "batch_pictures": batch_pictures,
        "seed": run.seed,
        "image_pool_size": run.image_pool_size,
        "compile": run.compile,
        "channels_last": run.channels_last,
        "mixed_precision": accelerator.mixed_precision,
        "num_processes": accelerator.num_processes,
        "device": accelerator.device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


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
    torch.set_num_threads(run.num_threads or cores_of_this_process())


def warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say which circumstances a resumed run has changed."""
    for name, value in now.items():
        if before.get(name, value) != value:
            logger.warning(
                "Resumed with other %s (%s, was %s): the result will differ from an unbroken run's.",
                name,
                value,
                before[name],
            )


def warn_of_a_lonely_process(num_processes: int) -> None:
    """Say so where `accelerate launch` was asked for several processes and started one.

    On processors it does so silently (accelerate 1.15) unless it is told `--multi_gpu`. What gives it away: it names
    an address for the processes to meet at, and no number of them.
    """
    launched = "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ
    if num_processes == 1 and launched and "WORLD_SIZE" not in os.environ:
        logger.warning(
            "The launch asked for several processes and started one. On processors, `accelerate launch --multi_gpu "
            "--num_processes N` and `torchrun --nproc_per_node N` start N."
        )


def announcement(
    config: TrainConfig,
    accelerator: Any,
    pictures: Mapping[str, Sequence],
    total_steps: int,
    batch_pictures: int,
    steps_per_epoch: int,
    step: int,
) -> str:
    """The line at a run's start."""
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    settings = [precision, *(["compiled"] if config.run.compile else [])]
    settings += ["channels last"] if config.run.channels_last else []
    return (
        f"{len(pictures['a'])} pictures of {config.data.domain_a}, {len(pictures['b'])} of {config.data.domain_b}; "
        f"{total_steps} steps of {batch_pictures} pictures ({steps_per_epoch} an epoch) from step {step}; "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, {', '.join(settings)}, "
        f"{torch.get_num_threads()} threads, pid {os.getpid()}"
    )
