"""From the command line to a configuration: recipe or checkpoint first, flags on top."""

import argparse
import contextlib
import dataclasses
import difflib
import io
import logging
from pathlib import Path

import tyro

from cyclegan_hf.arguments import unknown_flag, without_box
from cyclegan_hf.saved_format import CONFIG_NAME, INDEX_NAME, STATE_FOLDER
from cyclegan_hf.training.checkpointing import STAGES_NAME, checkpoint_folders, find_checkpoint
from cyclegan_hf.training.config import TrainConfig, recipe_path, scaled_load_size
from cyclegan_hf.training.data.domain_names import name_domains
from cyclegan_hf.training.run_environment import differences
from cyclegan_hf.training.run_lock import check_unlocked
from cyclegan_hf.training.schedule import run_length
from cyclegan_hf.training.strict_yaml import parse


logger = logging.getLogger(__name__)

_SCHEDULE = ("type", "unit", "constant", "decay", "period")
_OF_STAGES = {
    "num_train_epochs": "--stages.epochs",
    "train_batch_size": "--stages.batch-sizes",
    "evaluation.epochs": "--stages.evaluation-epochs",
    "evaluation.metric": "--stages.metric",
}
"""Flags that every stage sets for itself, and what sets it for them."""


def parse_command(arguments: list[str]) -> tuple[TrainConfig, Path | None]:
    """Parse the command line into a run's configuration and the checkpoint to resume from.

    A run in stages finds its checkpoints itself, in its stages' folders.

    Args:
        arguments: The command line without the program.

    Raises:
        ValueError: If a flag, the recipe or the checkpoint is missing or wrong, or the output folder holds another
            run, or a process is at work in it.
        SystemExit: After `--help`.
    """
    config, checkpoint, goes_on_in_stages = read_command(arguments)
    if not config.run.dry_run:
        _check_output_dir(Path(config.run.output_dir), checkpoint, goes_on_in_stages)
    return config, checkpoint


def read_command(arguments: list[str]) -> tuple[TrainConfig, Path | None, bool]:
    """`parse_command` for what writes nothing: the output folder may hold what it likes.

    Returns:
        The configuration, the checkpoint, and whether a run in stages goes on.
    """
    first, given = _first_look(arguments), _given(arguments)
    recipe = TrainConfig.from_yaml(recipe_path(first.recipe)) if first.recipe else TrainConfig()
    default = recipe
    resume = first.resume_from_checkpoint or default.run.resume_from_checkpoint
    output_dir = Path(first.output_dir or default.run.output_dir)
    checkpoint = find_checkpoint(resume, output_dir) if resume else None
    goes_on_in_stages = resume in ("latest", "auto") and (output_dir / STAGES_NAME).is_file()
    if resume == "latest" and checkpoint is None and not goes_on_in_stages and "help" not in given:
        raise ValueError(_nothing_to_resume(output_dir))
    if goes_on_in_stages:
        default = TrainConfig.from_yaml(output_dir / STAGES_NAME)
    elif checkpoint is not None:
        default = TrainConfig.from_yaml(checkpoint / STATE_FOLDER / CONFIG_NAME)
    began = default
    default = _with_load_size(default, given, first.data_image_size)
    config = _parse(arguments, default)
    config.run.resume_from_checkpoint = None  # said to this command, not a property of the run that it saves
    for key in ("a", "b"):
        if getattr(config.data, key) is None:
            raise ValueError(f"`--data.{key}` is missing: the folder of domain {key.upper()}'s training pictures.")
    _settle_speed(config, given)
    if config.stages.epochs:
        for flag, other in _OF_STAGES.items():
            if flag in given:
                name = flag.replace("_", "-")
                raise ValueError(f"`--{name}` has no effect on a recipe with stages: each has its own, `{other}`.")
    else:
        new_recipe = recipe_path(first.recipe) if first.recipe and checkpoint is None else None
        _settle_length(config, began, given, new_recipe)
    goes_on = checkpoint is not None or goes_on_in_stages
    if not goes_on:
        name_domains(config.data, recipe.data, arguments)
    in_recipe = _parse(arguments, recipe) if goes_on and first.recipe else config
    in_recipe.data.domain_a, in_recipe.data.domain_b = config.data.domain_a, config.data.domain_b
    if changes := differences(config, in_recipe, "in the recipe"):
        logger.warning(
            "The checkpoint's settings hold, although `--recipe %s` would set others for a new run:%s",
            *(first.recipe, "".join(f"\n  {line}" for line in changes)),
        )
    return config, checkpoint, goes_on_in_stages


def _first_look(arguments: list[str]) -> argparse.Namespace:
    """Parse the flags that decide where the defaults of the others come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # Without a value: the second look complains.
    for flag in ("recipe", "output-dir", "resume-from-checkpoint", "data.image-size"):
        name = flag.replace("-", "_")
        parser.add_argument(f"--{flag}", f"--{name}", dest=name.replace(".", "_"), nargs="?")
    return parser.parse_known_args(arguments)[0]


def _given(arguments: list[str]) -> set[str]:
    """Return the settings that flags name, as a recipe writes them; `--no-fast` names `fast`."""
    words = [word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")]
    names = set()
    for word in words:
        group, dot, name = word.rpartition(".")
        names |= {word, f"{group}{dot}{name.removeprefix('no_')}"}
    return names | ({"help"} if "-h" in arguments else set())


def _with_load_size(default: TrainConfig, given: set[str], image_size: str | None) -> TrainConfig:
    """Let `--data.image-size` alone carry `data.load_size` along: crops would become zooms, or would not fit."""
    if "data.load_size" in given or image_size is None or not image_size.isdigit() or int(image_size) < 1:
        return default
    data, size = default.data, int(image_size)
    low, high = scaled_load_size(data, size)
    if size == data.image_size:
        return default
    logger.info(
        "`data.load_size` is %d to %d, as %d to %d was for crops of %d; `--data.load-size` sets it otherwise.",
        *(low, high, *data.load_size, data.image_size),
    )
    changes = {"image_size": size, "load_size": (low, high)}
    if data.image_size_b is not None and data.load_size_b is None:  # B keeps its own, which followed A's
        changes["load_size_b"] = data.load_sizes[1]
    return dataclasses.replace(default, data=dataclasses.replace(data, **changes))


def _settle_speed(config: TrainConfig, given: set[str]) -> None:
    """Let flags beat the recipe: `--no-fast` is fp32 without compilation, but for what other flags say."""
    run = config.run
    run.kept = [name for name in ("compile", "channels_last") if name in given]
    if "fast" in given and not run.fast:
        run.compile = run.compile and "compile" in given
        run.channels_last = run.channels_last and "channels_last" in given
        run.mixed_precision = run.mixed_precision if "mixed_precision" in given else "no"


def _settle_length(config: TrainConfig, began: TrainConfig, given: set[str], recipe: Path | None) -> None:
    """Let a flag for the run's length replace the recipe's, and note what the schedule was written for."""
    run = config.run
    if "num_train_epochs" in given and "max_train_steps" not in given and run.max_train_steps is not None:
        logger.info("%d epochs, and not the %d steps of the recipe.", run.num_train_epochs, run.max_train_steps)
        run.max_train_steps = None
    if any(f"lr_scheduler.{name}" in given for name in _SCHEDULE):
        return
    written_for = run_length(began.run)
    if recipe is not None:
        named = parse(recipe.read_text(encoding="utf-8")).get("lr_scheduler") or {}
        if not any(name in named for name in _SCHEDULE):
            written_for = run_length(TrainConfig().run)
    run.recipe_length = None if written_for == run_length(run) else written_for


def _nothing_to_resume(output_dir: Path) -> str:
    """Say that `latest` finds no checkpoint: the folder may be mistyped."""
    what = "holds no checkpoint" if output_dir.is_dir() else "does not exist"
    if (output_dir / INDEX_NAME).exists():
        what = "holds a finished pipeline and no checkpoint"
    near = ""
    if output_dir.parent.is_dir() and not output_dir.is_dir():
        others = [folder.name for folder in output_dir.parent.iterdir() if folder.is_dir()]
        if close := difflib.get_close_matches(output_dir.name, others, n=1):
            near = f" Did you mean {output_dir.parent / close[0]}?"
    return (
        f"`--resume-from-checkpoint latest`: {output_dir} {what}.{near} `auto` instead of `latest` begins a new run "
        "where there is none."
    )


def _parse(arguments: list[str], default: TrainConfig) -> TrainConfig:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(TrainConfig, default=default, args=arguments, prog="train.py")
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        unknown = unknown_flag(
            arguments, lambda: tyro.cli(TrainConfig, default=default, args=["--help"], prog="train.py"), "train.py"
        )
        raise ValueError(unknown or without_box(complaint.getvalue())) from None


def _check_output_dir(output_dir: Path, checkpoint: Path | None, goes_on_in_stages: bool) -> None:
    """Refuse to mix two runs, or two stretches of one run, in a folder."""
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`--output-dir` must be a folder; {output_dir} is a file.")
    check_unlocked(output_dir)
    if (output_dir / STAGES_NAME).exists() and not goes_on_in_stages:
        raise ValueError(
            f"`--output-dir {output_dir}` holds the stages of an earlier run: go on with "
            "`--resume-from-checkpoint latest`, remove it, or choose another folder."
        )
    folders = checkpoint_folders(output_dir)
    if folders and (checkpoint is None or checkpoint.resolve() != folders[-1].resolve()):
        raise ValueError(
            f"`--output-dir {output_dir}` holds {folders[-1].name} of an earlier run: go on from it with "
            "`--resume-from-checkpoint latest`, remove it, or choose another folder."
        )
    if checkpoint is None and (output_dir / INDEX_NAME).exists():
        raise ValueError(f"`--output-dir {output_dir}` holds a finished pipeline: choose another folder.")
