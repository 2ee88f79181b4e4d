"""A search over settings of a recipe: trials are ordinary runs, scored by the evaluation's metric, chosen by Optuna.

    python -m cyclegan_hf.training.sweep --recipe human2anime_unet --data.a A --data.b B --output-dir sweeps/weights
        --search losses.lambda_a+losses.lambda_b=1:20:log --search losses.lambda_gan=0.5,1,2 --trials 12
        --num-train-epochs 5

```
<output_dir>/
  study.journal                Optuna's record, with which the same command goes on after an interruption
  trial-0/, trial-1/, ...      a run each, as train.py leaves it; the first is the recipe itself, if the search has it
  sweep.md, sweep.png          all trials, the best first; written anew after each
```
"""

import argparse
import itertools
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from tqdm.contrib.logging import logging_redirect_tqdm

from cyclegan_hf.errors import one_line
from cyclegan_hf.saved_format import INDEX_NAME
from cyclegan_hf.training.checkpointing import METRICS_NAME, find_checkpoint
from cyclegan_hf.training.command import parse_command
from cyclegan_hf.training.config import TrainConfig, with_validation_split
from cyclegan_hf.training.data.sources import load_sources
from cyclegan_hf.training.record.run_report import read_best
from cyclegan_hf.training.run_lock import run_lock
from cyclegan_hf.training.scores import check_evaluation
from cyclegan_hf.training.stages import stage_configs, train_in_stages
from cyclegan_hf.training.sweep.search_space import flat, own_values, search_space, with_values
from cyclegan_hf.training.sweep.summary import as_text, write_sweep_report
from cyclegan_hf.training.trainer import Trainer


logger = logging.getLogger(__name__)

STARTUP_TRIALS = 5
"""Random trials before TPE's first guess: Optuna's 10 would leave it two of a sweep of 12."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def read_options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the sweep's own flags, and the arguments left for train.py's.

    Raises:
        ValueError: If one is missing or wrong.
        SystemExit: After `--help`.
    """
    parser = _Parser(
        prog="sweep.py",
        description=__doc__,
        epilog="Every flag of train.py is taken besides: see train.py --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = "a key of the recipe and its values: key=low:high, key=low:high:log or key=value,value; "
    what += "key+key=… gives both the same value; repeatable"
    parser.add_argument("--search", action="append", required=True, help=what)
    how_many = "trials in all, with those done already; by default the whole grid, or 12"
    parser.add_argument("--trials", type=int, help=how_many)
    how = "tree-structured Parzen estimator (Bergstra et al. 2011; default), chance, or all combinations of lists"
    parser.add_argument("--sampler", choices=["tpe", "random", "grid"], default="tpe", help=how)
    options, rest = parser.parse_known_args(arguments)
    if options.trials is not None and options.trials < 1:
        raise ValueError(f"`--trials` must be at least 1, got {options.trials}.")
    return options, rest


def sweep(config: TrainConfig, searches: list[str], trials: int | None = None, sampler: str = "tpe") -> None:
    """Run the trials that are missing, going on in the middle of one that was interrupted.

    A trial that stops (a loss that is NaN, memory that runs out, settings that do not go together) is noted with its
    reason and left behind.

    Args:
        config: What the trials have in common; `run.output_dir` is the sweep's folder, `run.seed` the sampler's too.
        searches: See `search_space`.
        trials: Trials in all; unset, the whole grid, or 12.
        sampler: `"tpe"`, `"random"` or `"grid"`.

    Raises:
        ValueError: If the sweep cannot work or go on (nothing has been written then), or if every trial stopped.
        OSError: If something cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("A sweep runs in one process, got several: start `python -m cyclegan_hf.training.sweep`.")
    root = Path(config.run.output_dir)
    space = search_space(searches, config)
    grid = _grid(space) if sampler == "grid" else []
    config = _prepared(config)
    first = stage_configs(config)[0] if config.stages.epochs else config
    check_evaluation(first, load_sources(config.data), group="stages" if config.stages.epochs else "evaluation")

    settings = {"--search": searches, "--sampler": sampler} | flat(config)
    for name in ("run.output_dir", "run.recipe_length"):  # a folder may be moved; a schedule is fitted only once
        settings.pop(name, None)
    root.mkdir(parents=True, exist_ok=True)
    with run_lock(root):
        _run_trials(config, space, grid, _open(root, settings), trials)


def _run_trials(
    config: TrainConfig,
    space: dict[str, BaseDistribution],
    grid: list[dict[str, Any]],
    study: optuna.Study,
    trials: int | None,
) -> None:
    root, sampler = Path(config.run.output_dir), study.user_attrs["settings"]["--sampler"]
    own = own_values(config, space)
    for values in grid or ([own] if own else []):
        study.enqueue_trial(values, skip_if_exists=True)
    wanted = min(trials or len(grid), len(grid)) if grid else trials or 12
    while True:
        if _completed(study):
            write_sweep_report(root, [*_completed(study), *_stopped(study)], space, study.user_attrs)
        if len(_completed(study)) + len(_stopped(study)) >= wanted:
            break
        number, values = _next(study, space, sampler, config.run.seed)
        told = ", ".join(f"{keys} {as_text(value)}" for keys, value in values.items())
        logger.info("Trial %d, of %d in all: %s.", number, wanted, told)
        try:
            scores = _run(with_values(config, values), root / f"trial-{number}")
        except (ValueError, FloatingPointError, torch.OutOfMemoryError) as error:
            reason = one_line(error, 120)
            logger.warning("Trial %d stopped: %s", number, reason)
            study.set_user_attr(f"trial-{number}", {"stopped": reason})
            study.tell(number, state=TrialState.FAIL)
        else:
            metric = scores["protocol"]["metric"]
            logger.info("Trial %d: %s %.4g.", number, metric, scores[metric])
            study.set_user_attr(f"trial-{number}", scores)
            study.tell(number, scores[metric])
        torch.compiler.reset()  # or the trials' networks would add up to the compiler's limit
    if not _completed(study):
        reasons = [study.user_attrs[f"trial-{trial.number}"]["stopped"] for trial in _stopped(study)]
        raise ValueError(f"All {len(reasons)} trials stopped; the first: {reasons[0]}")
    logger.info("Done: %d trials; the best is trial-%d. See %s.", wanted, study.best_trial.number, root / "sweep.md")


def _grid(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """All combinations of the listed values."""
    choices = []
    for keys, distribution in space.items():
        if not isinstance(distribution, CategoricalDistribution):
            raise ValueError(f"`--sampler grid` needs listed values; `{keys}` has a range.")
        choices.append(distribution.choices)
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def _prepared(config: TrainConfig) -> TrainConfig:
    """Add to the configuration what a trial needs: a score, and disk space for the next trial."""
    changes: dict[str, Any] = {}
    if not (config.evaluation.epochs or config.evaluation.steps or config.stages.epochs):
        logger.info("`evaluation.epochs` is 0: each trial is scored once, at its end.")
        changes["evaluation.epochs"] = config.run.num_train_epochs
    if config.run.checkpoints_total_limit is None:
        changes["run.checkpoints_total_limit"] = 1
    return with_validation_split(with_values(config, changes))


def _open(root: Path, settings: dict[str, Any]) -> optuna.Study:
    """Open the folder's study, new or existing; its settings must be the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(root / "study.journal")))
    study = optuna.create_study(storage=storage, study_name="sweep", load_if_exists=True)
    before = study.user_attrs.get("settings", settings)
    for key, value in json.loads(json.dumps(settings)).items():
        if before.get(key, value) != value:
            raise ValueError(
                f"`--output-dir {root}` holds a sweep with `{key}` {before[key]}, got {value}: go on with the same "
                "command, or choose another folder."
            )
    study.set_user_attr("settings", settings)
    return study


def _next(
    study: optuna.Study, space: dict[str, BaseDistribution], sampler: str, seed: int
) -> tuple[int, dict[str, Any]]:
    """Return number and values of an interrupted trial or a new one."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.params.keys() == space.keys():
            return trial.number, trial.params
        study.set_user_attr(f"trial-{trial.number}", {"stopped": "killed before its values were drawn"})
        study.tell(trial.number, state=TrialState.FAIL)
    # Seeded for this trial alone: a sweep that was interrupted draws as an unbroken one.
    mixed = int(np.random.SeedSequence([seed, len(study.trials)]).generate_state(1)[0])
    study.sampler = (
        TPESampler(seed=mixed, n_startup_trials=STARTUP_TRIALS) if sampler == "tpe" else RandomSampler(seed=mixed)
    )
    new = study.ask(space)
    return new.number, new.params


def _run(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """Train a trial, or what is left of it; returns its best weights' `metrics.json`."""
    config.run.output_dir = str(folder)
    if not (folder / INDEX_NAME).exists():
        if config.stages.epochs:
            train_in_stages(config)
        else:
            Trainer(config, find_checkpoint("latest", folder)).train()
    return read_best(folder) or json.loads((folder / METRICS_NAME).read_text(encoding="utf-8"))


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the scored trials, the best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: trial.values[0])


def _stopped(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.FAIL,))


def main() -> None:
    """Parse the command line, search, and turn what a user can mend into one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        options, rest = read_options(sys.argv[1:])
        config, checkpoint = parse_command(rest)
        if checkpoint is not None:
            raise ValueError("A sweep takes no `--resume-from-checkpoint`: the same command goes on by itself.")
        with logging_redirect_tqdm():  # a line of the log goes above the progress bar, not into it
            sweep(config, options.search, options.trials, options.sampler)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)
