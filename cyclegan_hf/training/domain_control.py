"""The control of the course report `human2anime`: how well the same discriminator tells the two real domains apart.

The report's discriminator told faces from anime with 99 %: it was able enough, and its 84 % on translations meant that
these were seen through.

    python -m cyclegan_hf.training.domain_control --recipe human2anime_unet --data.a A --data.b B
"""

import dataclasses
import logging
import sys


if __name__ == "__main__":
    from cyclegan_hf.processes import wait_passively

    wait_passively()  # before torch loads

import torch
from tqdm.auto import tqdm

from cyclegan_hf.errors import one_line
from cyclegan_hf.training.builders import num_channels
from cyclegan_hf.training.command import read_command
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.epochs import RunningMeans
from cyclegan_hf.training.objectives import discriminator_objective
from cyclegan_hf.training.scores import has_split
from cyclegan_hf.training.trainer import Trainer


logger = logging.getLogger(__name__)


def tell_domains_apart(config: TrainConfig) -> dict[str, float]:
    """Train a run's `discriminator_b`, with its loss and optimiser, to call B real and A fake; nothing is written.

    Args:
        config: The run's configuration; its steps and batches are the control's.

    Returns:
        The accuracy, in [0, 1], over the last tenth of the training (`train`) and on the test and validation pictures
        where there are any.

    Raises:
        ValueError: If the domains' pictures have not the same channels and size, or the run itself cannot work.
    """
    (first, second), channels = config.data.image_sizes, num_channels(config)
    if first != second or channels[0] != channels[1]:
        raise ValueError(
            "One discriminator can judge both domains only where their pictures are alike, got "
            f"{channels[0]} × {first}² and {channels[1]} × {second}²."
        )
    trainer = Trainer(config)
    judge = trainer.raw.discriminator_b
    optimizer = trainer.update.optimizers_d[-1]  # of B alone, or of both: A's gets no gradient and stays as it is
    total = trainer.total_steps
    means = RunningMeans()
    for step in tqdm(range(total), desc="Control", unit="step"):
        batch = trainer.next_batch()
        optimizer.zero_grad()
        with trainer.accelerator.autocast():
            objective = discriminator_objective(
                judge, batch["b"], batch["a"], config.losses, trainer.update.together, judge, trainer.update.random
            )
        trainer.accelerator.backward(objective.loss)
        optimizer.step()
        if step >= total - max(1, total // 10):
            means.add(objective.measures)
    found = {"train": means.means()["accuracy"]}

    judge.eval()
    losses = dataclasses.replace(config.losses, lambda_penalty=0.0)  # which has no value without gradient
    for split in ("validation", "test"):
        if has_split(trainer.sources, split):
            means.reset()
            with torch.no_grad(), trainer.accelerator.autocast():
                for batch in trainer.watch.batches(split, trainer.pipeline()):
                    means.add(discriminator_objective(judge, batch["b"], batch["a"], losses).measures)
            found[split] = means.means()["accuracy"]
    return found


def main() -> None:
    """Say the accuracies in percent."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config, *_ = read_command(sys.argv[1:])
        for split, accuracy in tell_domains_apart(config).items():
            logger.info("%s: %.2f %% of the real pictures told apart", split, 100 * accuracy)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
