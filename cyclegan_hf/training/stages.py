"""Staged training (course report `face2cartoon_attention`, Algorithm 1): each run starts from the best of the last.

```
<output_dir>/
  stages.yaml                  the resolved recipe: what `--resume-from-checkpoint latest` goes on with
  stage-1/, stage-2/, ...      an ordinary run each: checkpoints, samples, logs, report, best/
  history.json, history.md     every candidate of every stage, and which one was chosen
  model_index.json, ...        the best of the last stage, when all are done
```
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.hub.card import with_section
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.processes import Processes
from cyclegan_hf.saved_format import INDEX_NAME, STATE_FOLDER, read_json
from cyclegan_hf.training.checkpointing import BEST_FOLDER, METRICS_NAME, STAGES_NAME, find_checkpoint
from cyclegan_hf.training.config import TrainConfig, with_validation_split
from cyclegan_hf.training.config_groups import StageConfig
from cyclegan_hf.training.data.sources import load_sources
from cyclegan_hf.training.hub_config import HubConfig
from cyclegan_hf.training.record.card import complete_card
from cyclegan_hf.training.record.hub_push import Publisher
from cyclegan_hf.training.record.logs import read_epochs
from cyclegan_hf.training.record.run_report import read_best, write_json, write_text
from cyclegan_hf.training.record.samples import sample_pictures
from cyclegan_hf.training.run_lock import run_lock
from cyclegan_hf.training.scores import check_evaluation
from cyclegan_hf.training.trainer import Trainer


logger = logging.getLogger(__name__)

HISTORY_NAME = "history"


def train_in_stages(config: TrainConfig) -> None:
    """Run every stage, going on in the middle of one that was interrupted, and leave the best of the last.

    Args:
        config: A configuration with stages. What a stage in its folder was begun with is not looked at again: give
            the one that `stages.yaml` holds to go on.

    Raises:
        ValueError: If a stage cannot work; nothing has been written then.
        FloatingPointError: If a loss is NaN or infinite; see `Trainer.train`.
        OSError: If something cannot be written.
    """
    config = with_validation_split(config)
    root = Path(config.run.output_dir)
    plan = stage_configs(config)
    check_evaluation(plan[0], load_sources(config.data), group="stages")
    if config.hub.push_to_hub and config.hub.hub_strategy != "end":
        raise ValueError(
            f"`hub_strategy: {config.hub.hub_strategy}` does not go with stages: only their end is pushed."
        )
    # Not by accelerate's state: made before the trainer's, it would know neither `ACCELERATE_USE_CPU` nor a timeout.
    main = Processes.of_environment().is_main
    publisher = Publisher(config.hub, root, main)
    publisher.open()
    with contextlib.ExitStack() as held:
        _run_stages(config, plan, root, held, main)
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
    publisher.finish()


def _run_stages(
    config: TrainConfig, plan: list[TrainConfig], root: Path, held: contextlib.ExitStack, main: bool
) -> None:
    if root.exists():
        held.enter_context(run_lock(root, wanted=main))
    for number, stage in enumerate(plan, start=1):
        folder = Path(stage.run.output_dir)
        logger.info("Stage %d of %d: %s.", number, len(plan), in_words_of_stage(stage))
        if (folder / INDEX_NAME).exists():
            logger.info("Stage %d is done already.", number)
        else:
            trainer = Trainer(stage, find_checkpoint("latest", folder))
            if main and not root.exists():  # only now: what cannot work leaves no folder
                root.mkdir(parents=True)
                held.enter_context(run_lock(root))
            if main and not (root / STAGES_NAME).exists():
                write_text(root / STAGES_NAME, config.to_yaml())
            trainer.train()
            del trainer  # its networks and optimisers, before the next stage's
        if main:
            _record(root, plan[:number])
    if main:
        _publish(config, plan)


def stage_configs(config: TrainConfig) -> list[TrainConfig]:
    """Build the configuration of each stage as a separate run.

    Batch size, epochs, evaluation interval and seed are the stage's; all else, the learning rate and its schedule
    included, is the same in each and starts anew. Only weights pass between stages: the best ones' generators (the
    averaged ones where EMA is on) and discriminators.
    """
    stages = config.stages
    seeds = stage_seeds(config.run.seed if stages.seed is None else stages.seed, len(stages.epochs))
    plan: list[TrainConfig] = []
    for index, seed in enumerate(seeds):
        run = dataclasses.replace(
            config.run,
            output_dir=str(Path(config.run.output_dir) / f"stage-{index + 1}"),
            train_batch_size=stages.batch_sizes[index],
            num_train_epochs=stages.epochs[index],
            max_train_steps=config.run.max_train_steps,
            seed=seed,
            warm_start=str(Path(plan[-1].run.output_dir) / BEST_FOLDER) if plan else config.run.warm_start,
        )
        evaluation = dataclasses.replace(
            config.evaluation,
            epochs=stages.evaluation_epochs[index],
            steps=0,
            metric=stages.metric,
            initial=stages.keep_start if plan else config.evaluation.initial,
        )
        parts = {"run": run, "evaluation": evaluation, "stages": StageConfig(), "hub": HubConfig()}
        plan.append(dataclasses.replace(config, **parts))
    return plan


def stage_seeds(first: int, count: int) -> list[int]:
    """Return the first stage's seed and the seeds drawn from it for the others."""
    drawn = np.random.default_rng(first).integers(2**32, size=count - 1)
    return [first, *map(int, drawn)]


def history(plan: list[TrainConfig]) -> list[dict[str, Any]]:
    """Every candidate of the stages so far, in order.

    Returns:
        Rows with `stage`, `epoch`, `step`, `batch_size`, `seed`, `metric`, `a2b`, `b2a`, `mean` and `chosen`.
    """
    rows = []
    for number, stage in enumerate(plan, start=1):
        folder, metric = Path(stage.run.output_dir), stage.evaluation.metric
        best = read_best(folder)
        for line in read_epochs(folder):
            if (scores := line.get("evaluation")) is None:
                continue
            rows.append(
                {
                    "stage": number,
                    "epoch": line["epoch"],
                    "step": line["step"],
                    "batch_size": stage.run.train_batch_size,
                    "seed": stage.run.seed,
                    "metric": metric,
                    "a2b": scores["a2b"][metric],
                    "b2a": scores["b2a"][metric],
                    "mean": scores[metric],
                    "chosen": best is not None and line["step"] == best["step"],
                }
            )
    return rows


def _record(root: Path, plan: list[TrainConfig]) -> None:
    """Write the history so far, and say the last stage's choice."""
    rows = history(plan)
    best = read_best(Path(plan[-1].run.output_dir))
    assert best is not None, "every stage scores its last epoch"
    selection = best["protocol"]["selection"]
    write_json(root / f"{HISTORY_NAME}.json", {"selection": selection, "candidates": rows})
    write_text(root / f"{HISTORY_NAME}.md", _table(rows, selection))
    row = next(row for row in reversed(rows) if row["chosen"])
    figures = f"{row['metric']} {row['mean']:.4g} (a2b {row['a2b']:.4g}, b2a {row['b2a']:.4g})"
    logger.info("Stage %d: epoch %d is the best, %s.", row["stage"], row["epoch"], figures)


def in_words_of_stage(stage: TrainConfig) -> str:
    """Describe a stage's length, batch size, evaluations and seed."""
    run = stage.run
    epochs = f"{run.num_train_epochs} epochs" if run.max_train_steps is None else f"{run.max_train_steps} steps"
    return f"{epochs} at batch size {run.train_batch_size}, scored every {stage.evaluation.epochs}, seed {run.seed}"


def _table(rows: list[dict[str, Any]], selection: str) -> str:
    metric = rows[0]["metric"]
    lines = [
        f"# Stages, by {metric} (lower is better)",
        "",
        "| stage | epoch | step | batch size | seed | a → b | b → a | mean | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = [f"{row[name]:.4g}" for name in ("a2b", "b2a", "mean")]
        places = [str(row[name]) for name in ("stage", "epoch", "step", "batch_size", "seed")]
        lines.append(f"| {' | '.join([*places, *figures])} | {'chosen' if row['chosen'] else ''} |")
    return "\n".join([*lines, "", f"Chosen: {selection}.", ""])


def _publish(config: TrainConfig, plan: list[TrainConfig]) -> None:
    """Copy the best of the last stage to the root, with the last one's figures, the whole recipe, and a card."""
    root, best = Path(config.run.output_dir), Path(plan[-1].run.output_dir) / BEST_FOLDER
    with whole_folder(root) as temporary:
        shutil.copytree(best, temporary, ignore=shutil.ignore_patterns(STATE_FOLDER), dirs_exist_ok=True)
        last = read_json(best.parent / METRICS_NAME)
        figures = {key: value for key, value in last.items() if key not in ("protocol", "best", "signals")}
        write_json(temporary / METRICS_NAME, read_json(best / METRICS_NAME) | {"last": figures})
        (temporary / "recipe.yaml").write_text(config.without_places().to_yaml(), encoding="utf-8")
        stages = (root / f"{HISTORY_NAME}.md").read_text(encoding="utf-8")
        card = temporary / "README.md"
        card.write_text(with_section(card.read_text(encoding="utf-8"), f"#{stages}"), encoding="utf-8")
        pipeline = CycleGANPipeline.from_pretrained(temporary)
        pictures = sample_pictures(load_sources(config.data), config.run.num_validation_images)
        complete_card(temporary, config, pipeline, pictures)
    logger.info("Done: %d stages. The pipeline is in %s.", len(plan), root)
