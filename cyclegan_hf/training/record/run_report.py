"""What a run says of itself at its end: `report.md`, `losses.json`, and `metrics.json` where it was evaluated."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.feature_networks import VARIANTS
from cyclegan_hf.training.checkpointing import BEST_FOLDER, METRICS_NAME, with_hashes
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.config_groups import EvaluationConfig
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.epochs import summary
from cyclegan_hf.training.record.failures import Signals
from cyclegan_hf.training.record.logs import read_epochs
from cyclegan_hf.training.record.monitor import Watch
from cyclegan_hf.training.scores import has_split, of_which_network


logger = logging.getLogger(__name__)

REPORT_NAME = "report.md"
LOSSES_NAME = "losses.json"

_SELECTION = {
    "test": "the best evaluated checkpoint by the test pictures: selecting on the test set, so its figures are "
    "optimistic and no test figures",
    "validation": "the best evaluated checkpoint by the validation pictures; the test pictures took no part",
    "train": "the best evaluated checkpoint by training pictures: nothing is known of others",
}


def metrics_document(
    protocol: dict[str, Any],
    scores: dict[str, Any],
    step: int,
    epoch: int,
    selected: bool,
    selected_on: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Return the content of `metrics.json`.

    Args:
        protocol: From the evaluator.
        scores: The figures of both directions, and the metric's mean.
        step: The step of the weights.
        epoch: Their epoch.
        selected: Whether these weights were chosen by these figures.
        selected_on: By domain, the hashes of the images that the figures are of, if the weights were chosen by them.
    """
    selection = _SELECTION[protocol["split"]] if selected else "none: the weights of the last step"
    model = protocol["model"] | {"step": step, "epoch": epoch}
    document = {"protocol": protocol | {"model": model, "selection": selection}, "step": step, "epoch": epoch}
    return document | scores | ({"selected_on": selected_on} if selected and selected_on else {})


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_best(folder: Path) -> dict[str, Any] | None:
    """Return the `metrics.json` of a run's best weights so far, if there are any."""
    path = folder / BEST_FOLDER / METRICS_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def out_of_patience(config: EvaluationConfig, folder: Path, step: int) -> bool:
    """Whether so many evaluations have brought nothing better that the run is to end.

    Reads what the run has recorded, so that it says the same after a resume.

    Args:
        config: Says how many.
        folder: The run's.
        step: Of the newest evaluation, which is not recorded yet.
    """
    best = read_best(folder)
    if config.patience is None or best is None:
        return False
    earlier = [line["step"] for line in read_epochs(folder) if "evaluation" in line]
    since = [number for number in {*earlier, step} if number > best["step"]]
    if len(since) < config.patience:
        return False
    metric = best["protocol"]["metric"]
    logger.info("Ends at step %d: no better %s since step %d (%.4g).", step, metric, best["step"], best[metric])
    return True


def write_report(
    folder: Path, config: TrainConfig, watch: Watch, epochs: list[dict[str, Any]], step: int, pipeline: Any
) -> None:
    """Write `report.md`, `losses.json`, and `metrics.json` of the weights as they are where the run was evaluated.

    Args:
        folder: Where to; it holds the finished pipeline.
        config: The run's configuration.
        watch: What the run watched of itself.
        epochs: The lines of `epochs.jsonl`.
        step: The last step.
        pipeline: The finished pipeline.
    """
    last = epochs[-1] if epochs else {}
    losses = {split: last[split] for split in ("train", "validation") if split in last}
    if has_split(watch.sources, "test"):
        losses["test"] = summary(watch.losses("test", step, pipeline), config.losses, step)
    write_json(folder / LOSSES_NAME, losses)
    best = read_best(Path(config.run.output_dir))
    (folder / REPORT_NAME).write_text(report(config, losses, epochs, best, watch.signals), encoding="utf-8")
    if "evaluation" in last and watch.evaluator is not None:
        document = metrics_document(watch.protocol(), last["evaluation"], step, last["epoch"], selected=False)
        kept = {key: value for key, value in (best or {}).items() if key != "protocol"}
        document |= {"signals": watch.signals.present(), "best": kept}
        write_json(folder / METRICS_NAME, with_hashes(document, folder))


def report(
    config: TrainConfig,
    losses: dict[str, dict[str, float]],
    epochs: list[dict[str, Any]],
    best: dict[str, Any] | None,
    signals: Signals,
) -> str:
    """Format the report as Markdown.

    Args:
        config: The run's configuration.
        losses: The figures of `cyclegan_hf.training.epochs.summary` by split.
        epochs: The lines of `epochs.jsonl`.
        best: The best weights' `metrics.json`.
        signals: What the warning signs were.
    """
    a, b = config.data.domain_a, config.data.domain_b
    lines = [
        f"# {a} ↔ {b}: report",
        "",
        "## Losses",
        "",
        f"| data | Disc. | Gen. | Cycle | total | accuracy {a} | accuracy {b} |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, figures in losses.items():
        numbers = [f"{figures[name]:.3f}" for name in ("discriminator", "generator", "cycle", "total")]
        shares = [f"{100 * figures[name]:.2f}" for name in ("accuracy_a", "accuracy_b")]
        lines.append(f"| {' | '.join([split, *numbers, *shares])} |")
    lines += [
        "",
        "Losses are weighted, and the means of both directions; total is all that generators and discriminators "
        "minimise. Accuracies are the discriminators', in percent; 50 is guessing. Train is the mean over the last "
        "epoch's steps; the others are measured at the end, in evaluation mode, on at most "
        f"{config.evaluation.num_images} pictures of each domain.",
        "",
    ]
    evaluated = [line for line in epochs if "evaluation" in line]
    if evaluated and best is not None:
        metric = best["protocol"]["metric"]
        lines += [
            f"## Evaluations ({metric}, lower is better)",
            "",
            f"| epoch | step | {a} → {b} | {b} → {a} | mean | |",
            "|---|---|---|---|---|---|",
        ]
        for line in evaluated:
            values = line["evaluation"]
            figures = " | ".join(_with_spread(values, way, metric) for way in ("a2b", "b2a"))
            mark = "best" if line["step"] == best["step"] else ""
            lines.append(f"| {line['epoch']} | {line['step']} | {figures} | {values[metric]:.4g} | {mark} |")
        last = evaluated[-1]
        if metric == "gms" and (network := best["protocol"].get("feature_network")) and network["name"] in VARIANTS:
            lines += ["", of_which_network(network)]
        lines += [
            "",
            f"Last: {last['evaluation'][metric]:.4g} (step {last['step']}). Best: {best[metric]:.4g} (step "
            f"{best['step']}). Quote both: the best of many evaluations is lucky too. ± is half of "
            "the central 68 % over resamples of the pictures; it says nothing of another training.",
            "",
            *_against_untouched(best, config.data),
            f"`{BEST_FOLDER}/` holds {best['protocol']['selection']}.",
            "",
        ]
    present = signals.present()
    lines += ["## Warning signs", ""]
    lines += [f"- {key}: {message}." for key, message in present.items()]
    gone = [f"{key} (step {step})" for key, step in signals.since.items() if key not in present]
    lines += [f"- seen before, not at the end: {', '.join(gone)}."] if gone else []
    lines += [] if present or gone else ["None."]
    return "\n".join([*lines, ""])


def _against_untouched(best: dict[str, Any], data: DataConfig) -> list[str]:
    """Return the best weights' metric minus that of the untouched inputs, with the interval of a paired bootstrap."""
    metric, said = best["protocol"]["metric"], []
    for way, (source, target) in {
        "a2b": (data.domain_a, data.domain_b),
        "b2a": (data.domain_b, data.domain_a),
    }.items():
        entry = best.get("against_untouched", {}).get(way, {}).get(metric)
        if entry and entry["interval"]:
            low, high = entry["interval"]
            said.append(f"{source} → {target} {entry['difference']:+.4g} [{low:+.4g}, {high:+.4g}]")
    if not said:
        return []
    return [f"The best's {metric} minus that of the untouched inputs [95 %, paired bootstrap]: {'; '.join(said)}.", ""]


def _with_spread(scores: dict[str, Any], way: str, metric: str) -> str:
    spread = scores.get("spread", {}).get(way, {}).get(metric)
    return f"{scores[way][metric]:.4g}" + ("" if spread is None else f" ± {spread:.2g}")


def flat(scores: dict[str, Any]) -> dict[str, float]:
    """Scores in one level: the metric's mean under its name, the figures as `<figure>_<direction>`; no spread."""
    figures = {f"{name}_{way}": value for way in ("a2b", "b2a") for name, value in scores.get(way, {}).items()}
    return {name: value for name, value in scores.items() if isinstance(value, int | float)} | figures
