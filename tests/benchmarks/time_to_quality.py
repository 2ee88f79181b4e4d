"""Measure how many minutes of training recipes need until their translations are good.

Each recipe trains on the same two folders from the same seed. At the given minutes of training it is scored on the
validation split: KID (times 1000) of both directions against the target's training images, by a network that no
discriminator uses. The clock stops while it is scored or saved, and counts the first compilation. A recipe takes as
many steps as it has, or as the last minute allows; its schedule is stretched to them. A run that was ended goes on by
the same call: from its last checkpoint, whose minutes are kept beside it.

    python tests/benchmarks/time_to_quality.py --a photos/trainA --b photos/trainB --output ttq
    python tests/benchmarks/time_to_quality.py --a A --b B --minutes 5 10 --recipes few_images --output ttq
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cyclegan_hf.training.checkpointing import find_checkpoint  # noqa: E402
from cyclegan_hf.training.config import TrainConfig, recipe_path, with_validation_split  # noqa: E402
from cyclegan_hf.training.data.sources import load_sources  # noqa: E402
from cyclegan_hf.training.scores import Evaluator, check_evaluation  # noqa: E402
from cyclegan_hf.training.trainer import Trainer  # noqa: E402
from tests.benchmarks.runs import forget_accelerator, full_length, pace, recipe_length, shrink  # noqa: E402
from tests.benchmarks.turns import machine  # noqa: E402


RECIPES = ("summer2winter", "few_images", "summer2winter_best")
CLOCK_NAME, RESULT_NAME = "clock.json", "time_to_quality.json"
_WARM = 3  # steps of a resumed run that compile what was compiled already


def main(
    a: Path,
    b: Path,
    output: Path,
    minutes: tuple[float, ...] = (10, 20, 40, 60),
    recipes: tuple[str, ...] = RECIPES,
    seed: int = 0,
    validation_share: float = 0.2,
    metric: str = "kid",
    tiny: bool = False,
) -> None:
    """Train, score and draw.

    Args:
        a: Folder of domain A's training images.
        b: Folder of domain B's.
        output: Folder for the runs, time_to_quality.json, .png and .svg.
        minutes: Minutes of training after which a recipe is scored; the last one ends it.
        recipes: Which; the paper's is summer2winter.
        seed: Of all runs.
        validation_share: Share of the images that is held out and scored.
        metric: `kid`, or `swd`, which needs no feature network.
        tiny: Tiny networks and images: to see that it works.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    minutes = tuple(sorted(minutes))
    output.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "minutes": minutes, "metric": metric, "seed": seed, "recipes": {}}
    for recipe in recipes:
        config = config_of(recipe, a, b, output / recipe, seed, validation_share, metric, tiny)
        results["recipes"][recipe] = train(config, recipe_path(recipe), minutes)
        forget_accelerator()
        (output / RESULT_NAME).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        draw(results, output)
    for recipe, found in results["recipes"].items():
        row = ", ".join(f"{point['minutes']:g} min: {point['mean']:.2f}" for point in found["points"])
        print(f"{recipe}: untouched {found['untouched']['mean']:.2f}; {row}", flush=True)


def config_of(
    recipe: str, a: Path, b: Path, folder: Path, seed: int, share: float, metric: str, tiny: bool
) -> TrainConfig:
    """The recipe on these images; it is scored here and not by the trainer, whose clock would go on."""
    config = TrainConfig.from_yaml(recipe_path(recipe))
    config.data.a, config.data.b, config.data.validation_share = str(a), str(b), share
    run, evaluation = config.run, config.evaluation
    run.output_dir, run.seed, run.report_to, run.validation_steps = str(folder), seed, "none", 0
    run.checkpoints_total_limit = 1
    evaluation.epochs = evaluation.steps = 0
    evaluation.metric, evaluation.split = metric, "validation"  # type: ignore[assignment]
    if metric == "swd":
        evaluation.feature_network = "none"
    if tiny:
        shrink(config)
        run.max_train_steps, evaluation.num_images = 10**4, 12
    return with_validation_split(config)


class TimedTrainer(Trainer):
    """A trainer with a clock that stands still while the run is scored or saved.

    Args:
        config: The run's configuration.
        checkpoint: The checkpoint to go on from.
        minutes: When to score; the last one ends the run.
        evaluator: Scores a pipeline.
    """

    def __init__(
        self, config: TrainConfig, checkpoint: Path | None, minutes: tuple[float, ...], evaluator: Evaluator
    ) -> None:
        super().__init__(config, checkpoint)
        self.minutes, self.evaluator = minutes, evaluator
        self.file = Path(config.run.output_dir) / CLOCK_NAME
        kept = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}
        self.trained = float(kept.get("seconds", {}).get(str(self.step), 0.0))
        self.points = [point for point in kept.get("points", []) if point["step"] <= self.step]
        self._first, self._since = self.step, time.perf_counter()

    def _loop(self, *arguments: Any) -> None:
        self._since = time.perf_counter()
        super()._loop(*arguments)

    def _end_epoch(self, *arguments: Any) -> bool:
        """After each step: the clock goes on, and the run is scored where a minute is full."""
        now = time.perf_counter()
        if self._first and self.step - self._first <= _WARM:
            self.trained += self.trained / max(1, self._first)  # the mean step: it has compiled once before
        else:
            self.trained += now - self._since
        done = super()._end_epoch(*arguments)
        last = self.step == self.total_steps
        due = [minute for minute in self.minutes if self.trained >= 60 * minute or last]
        scored = [point["minutes"] for point in self.points]
        if len(due) > len(scored):
            scores = found(self.evaluator(self.pipeline()), self.config.evaluation.metric)
            actual = {"step": self.step, "trained_minutes": round(self.trained / 60, 3)}
            self.points += [{"minutes": minute, **actual, **scores} for minute in due[len(scored) :]]
            self.save(f"checkpoint-{self.step}")
        self._since = time.perf_counter()
        return done or len(due) == len(self.minutes)

    def save(self, name: str, metrics: dict[str, Any] | None = None) -> None:
        """Save, with the time that it took to come here."""
        super().save(name, metrics)
        seconds = {str(self.step): self.trained}
        self.file.write_text(json.dumps({"seconds": seconds, "points": self.points}) + "\n", encoding="utf-8")
        self._since = time.perf_counter()


def train(config: TrainConfig, recipe: Path, minutes: tuple[float, ...]) -> dict[str, Any]:
    """Train one recipe, or go on with it; returns its points, and the untouched images' score."""
    folder = Path(config.run.output_dir)
    plan_file = folder / "plan.json"
    sources = load_sources(config.data)
    scored = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, initial=True))
    check_evaluation(scored, sources)  # too few images, no feature network
    if not plan_file.is_file():
        images = max(len(files) for files in sources.train.values())
        seconds, full = pace(config, 5, 3), full_length(config, images)
        steps = max(1, min(full, int(60 * minutes[-1] / seconds)))
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"steps": steps, "recipe_steps": full, "seconds_per_step": round(seconds, 4)}
        plan_file.write_text(json.dumps(plan) + "\n", encoding="utf-8")
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    checkpoint = find_checkpoint("latest", folder)
    clock = folder / CLOCK_NAME
    points = json.loads(clock.read_text(encoding="utf-8"))["points"] if checkpoint and clock.is_file() else []
    config.run.recipe_length = recipe_length(config)
    config.run.max_train_steps = plan["steps"]
    evaluator = Evaluator(config, sources)
    if len(points) < len(minutes):
        trainer = TimedTrainer(config, checkpoint, minutes, evaluator)
        untouched = of_untouched(evaluator, trainer.pipeline(), config.evaluation.metric)
        plan_file.write_text(json.dumps(plan | {"untouched": untouched}) + "\n", encoding="utf-8")
        trainer.train()
        points = trainer.points
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    return plan | {"recipe": recipe.stem, "points": points}


def of_untouched(evaluator: Evaluator, pipeline: Any, metric: str) -> dict[str, float]:
    """The score of the inputs as they are."""
    baselines = evaluator.evaluator.baselines(pipeline)
    scores = {way: {metric: rows["untouched"].figures[metric]} for way, rows in baselines.items()}
    mean = sum(row[metric] for row in scores.values()) / len(scores)
    return found({metric: mean} | scores, metric)


def found(scores: dict[str, Any], metric: str) -> dict[str, float]:
    """The metric of both directions and their mean; KID times 1000."""
    factor = 1000 if metric == "kid" else 1
    return {
        "mean": factor * scores[metric],
        "a2b": factor * scores["a2b"][metric],
        "b2a": factor * scores["b2a"][metric],
    }


def draw(results: dict[str, Any], output: Path) -> None:
    """Draw the scores over the minutes, as time_to_quality.png and .svg."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    name = "KID × 1000" if results["metric"] == "kid" else results["metric"].upper()
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, way in zip(axes, ("a2b", "b2a"), strict=True):
        for recipe, run in results["recipes"].items():
            minutes = [point["trained_minutes"] for point in run["points"]]
            axis.plot(minutes, [point[way] for point in run["points"]], marker="o", label=recipe)
        untouched = next(iter(results["recipes"].values()))["untouched"][way]
        axis.axhline(untouched, color="grey", linestyle="--", label="unmodified inputs")
        axis.set(title={"a2b": "A → B", "b2a": "B → A"}[way], xlabel="minutes of training", xlim=(0, None))
    axes[0].set_ylabel(f"{name} on validation images")
    axes[1].legend(fontsize="small")
    for suffix in ("png", "svg"):
        figure.savefig(output / f"time_to_quality.{suffix}", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
