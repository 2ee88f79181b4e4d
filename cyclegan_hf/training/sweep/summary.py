"""A sweep's table and plot."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.training.record.run_report import write_text
from cyclegan_hf.training.stages import STAGES_NAME


_OTHERS, _BEST = "#4878a8", "#d1495b"


def write_sweep_report(
    root: Path, trials: list[FrozenTrial], space: dict[str, BaseDistribution], records: dict[str, Any]
) -> None:
    """Write `sweep.md` and `sweep.png`.

    Args:
        root: The sweep's folder.
        trials: The scored trials, the best first (at least one), then those that stopped.
        space: What was searched.
        records: By `trial-<number>`: the `metrics.json` of a scored trial, or `stopped` with the reason; `settings`.
    """
    write_text(root / "sweep.md", _table(root, trials, space, records))
    with whole_file(root / "sweep.png") as temporary:
        plot_sweep(trials, space, _metric(trials, records)).savefig(temporary, format="png", dpi=120)


def as_text(value: Any) -> str:
    """Format a value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metric(trials: list[FrozenTrial], records: dict[str, Any]) -> str:
    return records[f"trial-{trials[0].number}"]["protocol"]["metric"]


def _table(root: Path, trials: list[FrozenTrial], space: dict[str, BaseDistribution], records: dict[str, Any]) -> str:
    metric, best = _metric(trials, records), f"trial-{trials[0].number}"
    columns = ["trial", *space, metric, "a → b", "b → a", "epoch", ""]
    lines = [f"# Sweep, by {metric} (lower is better)", "", _row(columns), _row(["---"] * len(columns))]
    for trial in trials:
        record = records[f"trial-{trial.number}"]
        cells = [trial.number, *(trial.params.get(keys, "") for keys in space)]
        if "stopped" in record:
            cells += ["", "", "", "", f"stopped: {record['stopped']}".replace("|", "\\|")]
        else:
            ways = (record["a2b"][metric], record["b2a"][metric])
            cells += [record[metric], *ways, record["epoch"], "best" if trial is trials[0] else ""]
        lines.append(_row(cells))
    recipe = STAGES_NAME if (root / best / STAGES_NAME).exists() else "recipe.yaml"
    seed = records["settings"]["run.seed"]
    lines += [
        "",
        f"Each figure is of {records[best]['protocol']['selection']}.",
        *([] if "run.seed" in space else [f"Every trial has seed {seed}: search `seed` too to see what chance does."]),
        f"The best one's settings are `{best}/{recipe}`.",
        "",
    ]
    return "\n".join(lines)


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(map(as_text, cells))} |"


def plot_sweep(trials: list[FrozenTrial], space: dict[str, BaseDistribution], metric: str) -> Figure:
    """Plot the score in trial order and against each key; stopped trials are crosses at the top.

    Args:
        trials: The scored trials, the best first (at least one), then those that stopped.
        space: What was searched.
        metric: The score's name.
    """
    trials = [trial for trial in trials if trial.params.keys() == space.keys()]  # not those killed while they began
    figure = Figure(figsize=(3.6 * (len(space) + 1), 3.4), layout="constrained")
    panels = figure.subplots(1, len(space) + 1, sharey=True, squeeze=False)[0]
    scored = [trial for trial in trials if trial.value is not None]
    in_order = sorted(scored, key=lambda trial: trial.number)
    lowest = np.minimum.accumulate([trial.value for trial in in_order])
    panels[0].margins(y=0.15)  # of all: room for the crosses
    panels[0].step([trial.number for trial in in_order], lowest, where="post", color=_BEST, linewidth=1)
    panels[0].set(xlabel="trial (line: best so far)", ylabel=f"{metric} (lower is better)")
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    _points(panels[0], trials, [trial.number for trial in trials])
    for panel, (keys, distribution) in zip(panels[1:], space.items(), strict=True):
        panel.set_xlabel(keys.replace("+", "\n+ "))
        places = [trial.params[keys] for trial in trials]
        match distribution:
            case CategoricalDistribution(choices=choices):
                panel.set_xticks(range(len(choices)), [as_text(choice) for choice in choices])
                panel.set_xlim(-0.5, len(choices) - 0.5)
                places = [choices.index(place) for place in places]
            case FloatDistribution(low=low, high=high, log=True) | IntDistribution(low=low, high=high, log=True):
                panel.set_xscale("log")
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.xaxis.set_major_formatter("{x:g}")
                panel.xaxis.set_minor_formatter(NullFormatter())
                panel.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
            case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
                panel.set_xlim(low - (high - low) * 0.05, high + (high - low) * 0.05)
        _points(panel, trials, places)
    return figure


def _points(panel: Axes, trials: list[FrozenTrial], places: list[Any]) -> None:
    for trial, place in zip(reversed(trials), reversed(places), strict=True):  # the best one last, on top
        if trial.value is None:
            panel.plot(place, 0.96, "x", color="grey", transform=panel.get_xaxis_transform())
        elif trial is trials[0]:
            panel.plot(place, trial.value, "*", color=_BEST, markersize=13)
        else:
            panel.plot(place, trial.value, "o", color=_OTHERS, markersize=5)
    panel.grid(alpha=0.25)
