"""The verb `train`: starts the training script of a clone on one process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def train() -> int:
    """Train on two domains, on one process: the flags of training/train.py, which `train --help` shows."""
    return start_training([])


def start_training(arguments: Sequence[str]) -> int:
    """Become the training script, so that no launcher stands between it and Ctrl-C.

    Args:
        arguments: The script's.

    Returns:
        Its exit code, where a process cannot become another one (Windows).

    Raises:
        ValueError: There is no clone beside this package.
    """
    script = Path(__file__).resolve().parents[2] / "training" / "train.py"
    if not script.is_file():
        raise ValueError(
            "training needs a clone of this library's repository with `pip install -e '.[train]'` in it; there, "
            "`accelerate launch training/train.py --help` shows the flags"
        )
    command = [sys.executable, str(script), *arguments]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(sys.executable, command)
    return subprocess.run(command, check=False).returncode
