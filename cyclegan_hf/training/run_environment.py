"""What a run runs on and with: said at its start, kept in its checkpoints, compared when it goes on."""

import dataclasses
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.sources import Sources


logger = logging.getLogger(__name__)


def hardware_name(device: torch.device) -> str:
    """Return the name of a device: the GPU's, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an ARM processor
        return platform.processor() or platform.machine()


def inventory(device: torch.device, networks: Any) -> dict[str, Any]:
    """Return the hardware's name and each network's number of parameters."""
    counts = {name: sum(part.numel() for part in network.parameters()) for name, network in vars(networks).items()}
    return {"hardware": hardware_name(device), "parameters": counts}


def circumstances(config: TrainConfig, accelerator: Any, sources: Sources, batch_pictures: int) -> dict[str, Any]:
    """Return what must not change if a resumed run is to end like an uninterrupted one.

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
        "revisions": sources.revisions,
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


def check_checkpoint(checkpoint: Path, run: Mapping[str, Any], state: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuse settings that a checkpoint cannot go on with.

    Raises:
        ValueError: It has averaged weights and the run has none, or its pictures' values had another range, or the
            other way round.
    """
    if bool(state["ema"]) != (config.ema.decay > 0):
        raise ValueError(
            f"`ema.decay` cannot be {config.ema.decay:g}: {checkpoint} was trained "
            f"{'with' if state['ema'] else 'without'} an average of the weights."
        )
    measured = run.get("statistics") is not None
    if measured != (config.data.normalization == "dataset"):
        began = "dataset" if measured else "half"
        raise ValueError(
            f"`data.normalization` cannot be {config.data.normalization}: {checkpoint} began with {began}."
        )


_NOT_COMPARED = {
    *("run.recipe", "run.output_dir", "run.resume_from_checkpoint", "run.allow_other_pictures", "run.warm_start"),
    *("run.fast", "run.kept", "run.recipe_length", "run.mixed_precision", "run.dry_run", "hub"),
}
"""Settings of a command rather than of a run, and those that `circumstances` compares as they came out."""


def differences(now: TrainConfig, before: TrainConfig, other_is: str = "was") -> list[str]:
    """Compare the settings of two runs, those aside that belong to a command.

    Args:
        now: One run's.
        before: The other run's.
        other_is: What its values are, in the lines.

    Returns:
        A line for each that differs: `optimizer.learning_rate: 0.0001, was 0.0002`.
    """
    groups = [dataclasses.asdict(config) for config in (now, before)]
    lines = []
    for group, values in groups[0].items():
        for name in {**values, **groups[1][group]}:
            one, other = values.get(name), groups[1][group].get(name)
            if one != other and not {group, f"{group}.{name}"} & _NOT_COMPARED:
                lines.append(f"{group}.{name}: {one}, {other_is} {other}")
    return lines


def compare_circumstances(
    before: Mapping[str, Any], now: Mapping[str, Any], other_pictures: bool, changes: Sequence[str] = ()
) -> None:
    """Refuse a resumed run of other pictures, and say in one block what else has changed.

    Args:
        before: What the checkpoint holds.
        now: What `circumstances` gives.
        other_pictures: Whether other pictures are wanted: they are then only told of.
        changes: From `differences`.

    Raises:
        ValueError: If the pictures are not those that the run began with, and that is not wanted.
    """
    override = "; `--allow-other-pictures` goes on with other ones."
    if not other_pictures:
        for source, revision in now["revisions"].items():
            if (began := before.get("revisions", {}).get(source, revision)) != revision:
                raise ValueError(
                    f"{source} is at revision {revision}, and the run began with another one: write "
                    f"`revision={began}`{override}"
                )
        if any(before.get(name, now[name]) != now[name] for name in ("pictures", "split")):
            counts = " and ".join(in_words(length) for length in before["pictures"].values())
            raise ValueError(
                "The run began with other pictures or other names than `data.a` and `data.b` have now: give it the "
                f"same sources and options ({counts}){override}"
            )
    named = {line.partition(":")[0].rpartition(".")[2] for line in changes}
    lines = [
        f"{name}: {value}, was {before[name]}"
        for name, value in now.items()
        if name not in named and before.get(name, value) != value
    ]
    if lines := [*changes, *lines]:
        logger.warning(
            "Resumed with other settings than so far, so that the result can differ from an unbroken run's:%s",
            "".join(f"\n  {line}" for line in lines),
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
    """Format the log line at the start of a run."""
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    settings = [precision, *(["compiled"] if config.run.compile else [])]
    settings += ["channels last"] if config.run.channels_last else []
    return (
        f"{in_words(pictures['a'])} of {config.data.domain_a}, {in_words(pictures['b'])} of {config.data.domain_b}; "
        f"{total_steps} steps of {batch_pictures} pictures ({steps_per_epoch} an epoch) from step {step}; "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, {', '.join(settings)}, "
        f"{torch.get_num_threads()} threads, pid {os.getpid()}"
    )
