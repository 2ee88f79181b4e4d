"""From the command line to a configuration: recipe or checkpoint first, flags on top."""

import argparse
from pathlib import Path

import tyro

from training.checkpointing import CONFIG_NAME, STATE_FOLDER, checkpoint_folders, find_checkpoint
from training.config import TrainConfig, recipe_path


def parse_command(arguments: list[str]) -> tuple[TrainConfig, Path | None]:
    """The configuration of a run, and the checkpoint that it goes on from.

    Args:
        arguments: The command line without the program.

    Raises:
        ValueError: If the recipe or checkpoint is missing or wrong, or the output folder holds another run.
    """
    first = _first_look(arguments)
    output_dir = Path(first.output_dir or TrainConfig().run.output_dir)
    checkpoint = find_checkpoint(first.resume_from_checkpoint, output_dir) if first.resume_from_checkpoint else None
    if checkpoint is not None:
        default = TrainConfig.from_yaml(checkpoint / STATE_FOLDER / CONFIG_NAME)
    else:
        default = TrainConfig.from_yaml(recipe_path(first.recipe)) if first.recipe else TrainConfig()
    config = tyro.cli(TrainConfig, default=default, args=arguments, prog="train.py")
    for key in ("a", "b"):
        if getattr(config.data, key) is None:
            raise ValueError(f"`--data.{key}` is missing: the folder of domain {key.upper()}'s training pictures.")
    if first.resume_from_checkpoint is None and checkpoint_folders(output_dir):
        raise ValueError(
            f"`--output-dir {output_dir}` holds checkpoints of an earlier run: go on with "
            "`--resume-from-checkpoint latest`, or choose another folder."
        )
    return config, checkpoint


def _first_look(arguments: list[str]) -> argparse.Namespace:
    """The three flags that decide where the others' defaults come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("recipe", "output-dir", "resume-from-checkpoint"):
        parser.add_argument(f"--{flag}", f"--{flag.replace('-', '_')}", dest=flag.replace("-", "_"))
    return parser.parse_known_args(arguments)[0]
