"""What a run runs on and with: said at its start, kept in its checkpoints, compared when it goes on."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch

from training.config import TrainConfig
from training.data.sources import Sources


logger = logging.getLogger(__name__)


def cores_of_this_process() -> int:
    """The processor cores that this process may use, shared out among the processes of this machine."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not have it
        cores = os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


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
        "pictures": {key: sources.length(key) for key in ("a", "b")},
        "split": sources.fingerprint,
        "batch_pictures": batch_pictures,
        "seed": run.seed,
        "shuffle_buffer": config.data.shuffle_buffer,
        "image_pool_size": run.image_pool_size,
        "compile": run.compile,
        "channels_last": run.channels_last,
        "mixed_precision": accelerator.mixed_precision,
        "num_processes": accelerator.num_processes,
        "device": accelerator.device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


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


def in_words(length: int | None) -> str:
    """How many pictures a domain has; a stream may not tell."""
    return "an unknown number of pictures" if length is None else f"{length} pictures"


def announcement(
    config: TrainConfig,
    accelerator: Any,
    pictures: Mapping[str, int | None],
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
        f"{in_words(pictures['a'])} of {config.data.domain_a}, {in_words(pictures['b'])} of {config.data.domain_b}; "
        f"{total_steps} steps of {batch_pictures} pictures ({steps_per_epoch} an epoch) from step {step}; "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, {', '.join(settings)}, "
        f"{torch.get_num_threads()} threads, pid {os.getpid()}"
    )
