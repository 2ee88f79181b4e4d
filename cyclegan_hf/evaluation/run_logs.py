"""Read the logs of a training run for its report."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


SUMMARY = ("total", "generator", "discriminator", "cycle", "accuracy_a", "accuracy_b")
_POINTS = 200  # of a curve of steps


@dataclass
class Curve:
    """A value over training.

    Attributes:
        name: What it is.
        unit: What `x` counts: `"epoch"` or `"step"`.
        lines: By split, such as `train`: its points as `(x, y)`.
    """

    name: str
    unit: str
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass
class RunLogs:
    """A run's logs; whatever is not there is empty.

    Attributes:
        curves: Every term, on training and on validation pictures; over all stages, where the model is what these
            led to.
        losses: By split, the figures of the course report `human2anime`'s table: `discriminator`, `generator`,
            `cycle`, `accuracy_a` and `accuracy_b` in [0, 1].
        stages: Candidates of staged training, in order.
        selection: How the stages' were chosen, in words.
        evaluations: Evaluations in training, in order: `step`, `epoch`, and figures.
    """

    curves: list[Curve] = field(default_factory=list)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    selection: str = ""
    evaluations: list[dict[str, Any]] = field(default_factory=list)


def read_logs(model: Path | None) -> RunLogs:
    """Read the logs of a pipeline's folder: in it, or above it for a run's checkpoint, best or stage.

    Lines that a killed run left half-written are passed over.
    """
    if model is None:
        return RunLogs()
    above = [model.resolve(), *list(model.resolve().parents)[:2]]
    run = next((folder for folder in above if (folder / "epochs.jsonl").is_file()), None)
    staged = next((folder for folder in above if (folder / "history.json").is_file()), None)
    logs = RunLogs()
    if staged is not None and (history := _json(staged / "history.json")):
        logs.stages, logs.selection = history.get("candidates", []), history.get("selection", "")
    if run is not None:
        runs = [run]
    elif staged is not None:
        runs = [staged / f"stage-{number}" for number in sorted({row["stage"] for row in logs.stages})]
    else:
        runs = []
    if not runs:
        return logs
    epochs = [line for line in _one_after_the_other(runs, "epochs.jsonl") if "epoch" in line]
    logs.evaluations = [
        {"step": line["step"], "epoch": line["epoch"]} | line["evaluation"] for line in epochs if "evaluation" in line
    ]
    logs.losses = _json(runs[-1] / "losses.json") or _last_losses(epochs)
    told = [line for line in epochs if "train" in line]
    logs.curves = (
        _curves_of_epochs(told) if len(told) > 1 else _curves_of_steps(_one_after_the_other(runs, "log.jsonl"))
    )
    return logs


def _one_after_the_other(runs: list[Path], name: str) -> list[dict[str, Any]]:
    """Join the lines of the runs' logs, counting steps and epochs on from run to run."""
    found: list[dict[str, Any]] = []
    for run in runs:
        before = {unit: max((line.get(unit, 0) for line in found), default=0) for unit in ("step", "epoch")}
        for line in _lines(run / name):
            found.append(line | {unit: line[unit] + before[unit] for unit in before if unit in line})
    return found


def _last_losses(epochs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    told = [line for line in epochs if "train" in line]
    return {split: told[-1][split] for split in ("train", "validation") if told and split in told[-1]}


def _curves_of_epochs(epochs: list[dict[str, Any]]) -> list[Curve]:
    curves: dict[str, Curve] = {}
    for line in epochs:
        for split in ("train", "validation"):
            values = line.get(split, {}) | {
                f"{name}": value for name, value in line.get(f"{split}_terms", {}).items() if name not in SUMMARY
            }
            for name, value in values.items():
                _point(curves, name, "epoch", split, line["epoch"], value)
        metric = [name for name, value in line.get("evaluation", {}).items() if _finite(value)]
        for name in metric:
            _point(curves, name, "epoch", "evaluation", line["epoch"], line["evaluation"][name])
    order = {name: place for place, name in enumerate(SUMMARY)}
    return sorted(curves.values(), key=lambda curve: order.get(curve.name, len(order)))


def _curves_of_steps(lines: list[dict[str, Any]]) -> list[Curve]:
    """Return the curves of a run of one epoch: means of neighbouring steps."""
    series: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and _finite(value):
                series.setdefault(name, []).append((line["step"], value))
    return [Curve(name, "step", {"train": _thinned(points)}) for name, points in series.items() if len(points) > 1]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / _POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _point(curves: dict[str, Curve], name: str, unit: str, split: str, x: float, y: Any) -> None:
    if _finite(y):
        curves.setdefault(name, Curve(name, unit)).lines.setdefault(split, []).append((x, y))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict) and "step" in content:
                found.append(content)
    except OSError:
        return []
    return found
