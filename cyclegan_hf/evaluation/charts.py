"""Curves as SVG, drawn without a library so that the page needs nothing but itself."""

from __future__ import annotations

import math
from html import escape

from cyclegan_hf.evaluation.run_logs import Curve


_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22


def chart(curve: Curve) -> str:
    """Draw one curve as an `<svg>`; its lines have the classes `line train`, `line validation` and so on.

    Colours are the page's. A line of a single point is a dot.
    """
    points = [point for line in curve.lines.values() for point in line]
    low_x, high_x = _range([x for x, _ in points])
    ticks = _ticks(*_range([y for _, y in points]))
    low_y, high_y = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - (y - low_y) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_in_words(curve), quote=True)}">']
    for tick in ticks:
        _, y = place(low_x, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 3:.1f}" text-anchor="end">{_label(tick)}</text>')
    for x, anchor in ((low_x, "start"), (high_x, "end")):
        across, _ = place(x, low_y)
        parts.append(f'<text x="{across:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{_label(x)}</text>')
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{curve.unit}</text>'
    )
    for split, line in curve.lines.items():
        places = [place(x, y) for x, y in line]
        if len(places) == 1:
            parts.append(f'<circle class="dot {split}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>')
        else:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path class="line {split}" d="M{path}"/>')
    return "".join([*parts, "</svg>"])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers that enclose a range."""
    rough = (high - low) / 3
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    return [number * step for number in range(first, math.ceil(high / step - 1e-9) + 1)]


def _label(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _in_words(curve: Curve) -> str:
    ends = [f"{split} {_label(line[0][1])} to {_label(line[-1][1])}" for split, line in curve.lines.items()]
    return f"{curve.name}: {', '.join(ends)}"
