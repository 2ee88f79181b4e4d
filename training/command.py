"""From the command line to a configuration: recipe or checkpoint first, flags on top."""

import argparse
import contextlib
import io
from pathlib import Path

import tyro

from cyclegan_hf.cli_arguments import without_box
from cyclegan_hf.saved_files import INDEX_NAME
from training.checkpointing import CONFIG_NAME, STAGES_NAME, STATE_FOLDER, checkpoint_folders, find_checkpoint
from training.config import TrainConfig, recipe_path


def parse_command(arguments: list[str]) -> tuple[TrainConfig, Path | None]:
    """The configuration of a run, and the checkpoint that it goes on from.

    A run in stages finds its checkpoints itself, in its stages' folders.

    Args:
        arguments: The command line without the program.

    Raises:
        ValueError: If a flag, the recipe or the checkpoint is missing or wrong, or the output folder holds another
            run.
        SystemExit: After `--help`.
    """
    config, checkpoint, goes_on_in_stages = read_command(arguments)
    _check_output_dir(Path(config.run.output_dir), checkpoint, goes_on_in_stages)
    return config, checkpoint


def read_command(arguments: list[str]) -> tuple[TrainConfig, Path | None, bool]:
    """`parse_command` for what writes nothing: the output folder may hold what it likes.

    Returns:
        The configuration, the checkpoint, and whether a run in stages goes on.
    """
    first = _first_look(arguments)
    default = TrainConfig.from_yaml(recipe_path(first.recipe)) if first.recipe else TrainConfig()
    resume = first.resume_from_checkpoint or default.run.resume_from_checkpoint
    output_dir = Path(first.output_dir or default.run.output_dir)
    checkpoint = find_checkpoint(resume, output_dir) if resume else None
    goes_on_in_stages = resume == "latest" and (output_dir / STAGES_NAME).is_file()
    if goes_on_in_stages:
        default = TrainConfig.from_yaml(output_dir / STAGES_NAME)
    elif checkpoint is not None:
        default = TrainConfig.from_yaml(checkpoint / STATE_FOLDER / CONFIG_NAME)
    config = _parse(arguments, default)
    config.run.resume_from_checkpoint = None  # said to this command, not a property of the run that it saves
    for key in ("a", "b"):
        if getattr(config.data, key) is None:
            raise ValueError(f"`--data.{key}` is missing: the folder of domain {key.upper()}'s training pictures.")
    return config, checkpoint, goes_on_in_stages


def _first_look(arguments: list[str]) -> argparse.Namespace:
    """The three flags that decide where the others' defaults come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("recipe", "output-dir", "resume-from-checkpoint"):  # without a value: the second look complains
        parser.add_argument(f"--{flag}", f"--{flag.replace('-', '_')}", dest=flag.replace("-", "_"), nargs="?")
    return parser.parse_known_args(arguments)[0]


def _parse(arguments: list[str], default: TrainConfig) -> TrainConfig:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(TrainConfig, default=default, args=arguments, prog="train.py")
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise ValueError(without_box(complaint.getvalue())) from None


def _check_output_dir(output_dir: Path, checkpoint: Path | None, goes_on_in_stages: bool) -> None:
    """Refuse to mix two runs, or two stretches of one run, in a folder."""
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`--output-dir` must be a folder; {output_dir} is a file.")
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
