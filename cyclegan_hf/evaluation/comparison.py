"""Models side by side on the same pictures, the inputs themselves as the zero row, and what chance can explain."""

from __future__ import annotations

import math
from typing import Any

import torch

from cyclegan_hf.evaluation.protocol import check_same, software_differences
from cyclegan_hf.evaluation.results import Scores
from cyclegan_hf.metrics.figures import FIGURES
from cyclegan_hf.metrics.resampling import central_interval, two_sided_p


UNTOUCHED, REAL = "untouched", "real"


def compare(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare evaluations.

    Args:
        reports: By name, documents of `cyclegan_hf.evaluation.report.document` with their `resamples`.

    Returns:
        `protocol`, `notes` (in words), and by direction `rows` (figures and spreads by name: the inputs themselves,
        the models in the order given, real pictures of the target) and `differences` (by figure, a list of `one`,
        `other`, `difference`, and the 95 % `interval` and the `p` of a paired bootstrap: of each model and the inputs,
        and of each two models).

    Raises:
        ValueError: If there are fewer than two models, or their protocols differ.
    """
    if len(reports) < 2:
        raise ValueError(f"expected at least 2 reports to compare, got {len(reports)}")
    check_same({name: report["protocol"] for name, report in reports.items()})
    names = list(reports)
    first = reports[names[0]]
    result: dict[str, Any] = {
        "protocol": {key: value for key, value in first["protocol"].items() if key != "model"},
        "models": {name: report["protocol"]["model"] for name, report in reports.items()},
        "notes": [
            f"{names[0]} and {name} were computed by different software ({line}): last digits may differ for that"
            for name in names[1:]
            for line in ["; ".join(software_differences(first["protocol"], reports[name]["protocol"]))]
            if line
        ],
    }
    for way in ("a2b", "b2a"):
        models = {name: report for name, report in reports.items() if way in report}
        if not models:
            continue
        rows, samples = _rows(models, way)
        result[way] = {"rows": rows, "differences": _differences(rows, samples, list(models))}
    return result


def against_untouched(scores: dict[str, Scores], baselines: dict[str, dict[str, Scores]]) -> dict[str, dict[str, Any]]:
    """Return a model's `difference` from its inputs by direction and metric, with its 95 % `interval` and `p`.

    Interval and p are those of a paired bootstrap: both sides are measured on the same resampled inputs.
    """
    found: dict[str, dict[str, Any]] = {}
    for way, ours in scores.items():
        theirs = baselines.get(way, {}).get(UNTOUCHED, Scores())
        found[way] = {
            name: {
                "difference": ours.figures[name] - theirs.figures[name],
                **_by_bootstrap(ours.resampled[name], theirs.resampled[name]),
            }
            for name in FIGURES
            if name in theirs.resampled and name in ours.resampled and name in theirs.figures and name in ours.figures
        }
    return found


def spread(samples: torch.Tensor) -> float | None:
    """Return half of the central 68 % of resamples: the standard deviation of a normal, robust to outliers."""
    known = samples[samples.isfinite()].double()
    if len(known) < 2:
        return None
    low, high = torch.quantile(known, torch.tensor([0.16, 0.84], dtype=torch.float64)).tolist()
    return (high - low) / 2


def spreads(scores: Scores) -> dict[str, float]:
    """Return the spread of every metric that has resamples, by name."""
    found = {name: spread(samples) for name, samples in scores.resampled.items()}
    return {name: value for name, value in found.items() if value is not None and name in scores.figures}


def _rows(models: dict[str, dict[str, Any]], way: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the table's rows, and the resamples of those that can be compared."""
    first = next(iter(models.values()))
    baselines, resamples = first.get("baselines", {}).get(way, {}), first["resamples"].get(way, {})
    samples = {name: report["resamples"][way]["model"] for name, report in models.items()}
    middle = [
        {"name": name, "kind": "model", "figures": report[way], "spread": report["spread"].get(way, {})}
        for name, report in models.items()
    ]
    top, bottom = [], []
    if UNTOUCHED in baselines:
        top = [
            {
                "name": UNTOUCHED,
                "kind": UNTOUCHED,
                "figures": baselines[UNTOUCHED]["figures"],
                "spread": baselines[UNTOUCHED]["spread"],
            }
        ]
        samples[UNTOUCHED] = resamples[UNTOUCHED]
    if REAL in baselines:
        bottom = [
            {"name": REAL, "kind": REAL, "figures": baselines[REAL]["figures"], "spread": baselines[REAL]["spread"]}
        ]
    return [*top, *middle, *bottom], samples


def _differences(
    rows: list[dict[str, Any]], samples: dict[str, dict[str, Any]], models: list[str]
) -> dict[str, list[dict[str, Any]]]:
    values = {row["name"]: row["figures"] for row in rows}
    pairs = [(name, UNTOUCHED) for name in models if UNTOUCHED in samples]
    pairs += [(one, other) for index, other in enumerate(models) for one in models[index + 1 :]]
    found: dict[str, list[dict[str, Any]]] = {}
    for figure in FIGURES:
        for one, other in pairs:
            if not all(figure in values[name] and figure in samples[name] for name in (one, other)):
                continue
            ours, theirs = (torch.tensor(_numbers(samples[name][figure])) for name in (one, other))
            entry = {
                "one": one,
                "other": other,
                "difference": values[one][figure] - values[other][figure],
                **_by_bootstrap(ours, theirs),
            }
            found.setdefault(figure, []).append(entry)
    return found


def _by_bootstrap(ours: torch.Tensor, theirs: torch.Tensor) -> dict[str, Any]:
    """Return a difference's `interval` and `p`, of two figures in the same resamples; `None` where there are none."""
    if len(ours) != len(theirs):
        return {"interval": None, "p": None}
    known = (ours - theirs)[(ours - theirs).isfinite()]
    if not len(known):
        return {"interval": None, "p": None}
    return {"interval": list(central_interval(known)), "p": two_sided_p(known)}


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
