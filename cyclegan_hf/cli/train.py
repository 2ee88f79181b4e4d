"""The subcommand `train`: starts a training run on one process."""

import os
import subprocess
import sys
from collections.abc import Sequence


def train() -> int:
    """Train on two domains, on one process: the flags of `accelerate launch -m cyclegan_hf.training`."""
    return start_training([])


def start_training(arguments: Sequence[str]) -> int:
    """Become the training program, so that no launcher stands between it and Ctrl-C.

    Args:
        arguments: Its command line.

    Returns:
        Its exit code, where a process cannot become another one (Windows).
    """
    command = [sys.executable, "-m", "cyclegan_hf.training", *arguments]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(sys.executable, command)
    return subprocess.run(command, check=False).returncode
