"""Train a CycleGAN.

accelerate launch training/train.py --recipe summer2winter --data.a A --data.b B --output-dir runs/s2w
accelerate launch training/train.py --output-dir runs/s2w --resume-from-checkpoint latest
"""

import logging
import sys
from pathlib import Path


# `accelerate launch training/train.py` puts training/ first on the path; the packages lie beside it.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import parse_command  # noqa: E402
from training.trainer import Trainer  # noqa: E402


def main() -> None:
    """Parse the command line, train, and turn what a user can mend into one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        config, checkpoint = parse_command(sys.argv[1:])
        Trainer(config, checkpoint).train()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
