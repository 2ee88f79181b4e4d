"""Pre-training on aligned pairs, such as scenes rendered in both domains: they show by plain regression what changes.

Unpaired training alone recolours; it does not find out that grass becomes snow. Pairs of another look than the
photographs are enough to teach that (as in sim-to-real transfer), and unpaired training then makes it look real.

    python training/pretrain.py --data.pairs PAIRS --recipe few_images --data.a A --data.b B --max-train-steps 1400
        --output-dir runs/pretrained
    accelerate launch training/train.py --recipe few_images --data.a A --data.b B --warm-start runs/pretrained
        --data.pairs PAIRS --losses.lambda-pairs 1

`PAIRS` holds the folders `a` and `b`, with pictures of the same names.
"""

import dataclasses
import json
import logging
import sys
from pathlib import Path


if __name__ == "__main__":
    from cyclegan_hf.processes import wait_passively

    wait_passively()  # before torch loads

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from cyclegan_hf.errors import one_line
from cyclegan_hf.losses.paired import paired_loss
from cyclegan_hf.saved_format import INDEX_NAME
from cyclegan_hf.training.command import read_command
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.trainer import Trainer


logger = logging.getLogger(__name__)

LEARNING_RATE = 4e-4
BETAS = (0.9, 0.99)
WARMUP_STEPS = 20
IDENTITY_WEIGHT = 0.5
NOISE = 0.03
"""Largest standard deviation of the noise on the input: a rendered picture has less grain than a photograph."""


def _noisy(picture: torch.Tensor, deviation: float) -> torch.Tensor:
    return (picture + deviation * torch.randn_like(picture)).clamp(-1, 1)


def pretrain(config: TrainConfig) -> None:
    """Train both generators on pairs, and on the domains' own pictures to leave these as they are.

    Args:
        config: The run's configuration: networks, domains, pairs, size of the crops, steps, seed and output folder.

    Raises:
        ValueError: If the run cannot work, or the output folder holds a pipeline; nothing has been written then.
    """
    output = Path(config.run.output_dir)
    if (output / INDEX_NAME).exists():
        raise ValueError(f"`--output-dir {output}` holds a pipeline already: choose another folder.")
    if config.data.pairs is None:
        raise ValueError("Pre-training needs `--data.pairs`, a folder of `a` and `b` with pictures of the same names.")
    config = dataclasses.replace(config, losses=dataclasses.replace(config.losses, lambda_pairs=1.0))
    trainer = Trainer(config)
    generators = {"a2b": trainer.raw.generator_a2b, "b2a": trainer.raw.generator_b2a}
    frozen = trainer.update.pair_network
    assert frozen is not None and trainer.pairs is not None
    optimizer = torch.optim.Adam([p for g in generators.values() for p in g.parameters()], LEARNING_RATE, BETAS)
    rng, total = np.random.default_rng(config.run.seed), trainer.total_steps
    logger.info("%d pairs, %d steps.", len(trainer.pairs.files), total)
    history = []
    for step in tqdm(range(1, total + 1), desc="Pre-training", unit="step"):
        for group in optimizer.param_groups:  # constant, then linear to 0
            group["lr"] = LEARNING_RATE * min(1, step / WARMUP_STEPS, 2 * (1 - (step - 1) / total))
        drawn = trainer.pairs.draw(step)
        pair = {key[-1]: picture.to(trainer.device) for key, picture in drawn.items()}
        noise = rng.uniform(0, NOISE)
        loss = torch.zeros((), device=trainer.device)
        for way, generator in generators.items():
            loss = loss + paired_loss(generator(_noisy(pair[way[0]], noise)).sample, pair[way[-1]], frozen)
        if step % 2 == 0:  # half the steps are enough, and cost less
            batch = trainer.next_batch()
            for way, generator in generators.items():
                own = batch[way[-1]]
                loss = loss + IDENTITY_WEIGHT * F.l1_loss(generator(own).sample, own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
        if not np.isfinite(history[-1]):
            raise FloatingPointError(f"The loss of step {step} is {history[-1]}.")
        if step % 50 == 0 or step == total:
            logger.info("Step %d of %d: loss %.3f.", step, total, np.mean(history[-50:]))
    for stream in trainer.streams.values():
        stream.close()
    pipeline = trainer.pipeline()
    pipeline.generator_a2b, pipeline.generator_b2a = generators["a2b"], generators["b2a"]
    pipeline.save_pretrained(output)
    (output / "pretraining.json").write_text(
        json.dumps({"pairs": len(trainer.pairs.files), "loss": history}), encoding="utf-8"
    )
    logger.info("Pre-trained generators in %s: go on with `--warm-start %s`.", output, output)


def main() -> None:
    """Read the command line and pre-train."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        config, *_ = read_command(sys.argv[1:])
        pretrain(config)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
