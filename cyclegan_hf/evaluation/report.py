"""The report: a folder with the figures, their protocol, tables, pictures and a page.

```
report/
  metrics.json         `protocol`, `a2b`, `b2a`, `mean`, `spread`, `baselines`, `against_untouched`, `signs`,
                       `warnings`
  pictures.json        every picture's figures, and the bootstrap's resamples: what a later comparison needs
  report.md            the table
  index.html           the page, with its pictures in pictures/
  contact_sheet.png
```
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from cyclegan_hf.evaluation.comparison import against_untouched, compare, spreads
from cyclegan_hf.evaluation.gallery import Gallery, as_data
from cyclegan_hf.evaluation.markdown import comparison_markdown, report_markdown, title
from cyclegan_hf.evaluation.page import comparison_page, report_page
from cyclegan_hf.evaluation.results import Scores
from cyclegan_hf.evaluation.run_logs import RunLogs
from cyclegan_hf.saved_format import read_json


METRICS, PICTURES, COMPARISON = "metrics.json", "pictures.json", "comparison.json"
_DIGITS = 8  # significant ones of a resample


def document(
    protocol: dict[str, Any],
    scores: dict[str, Scores],
    baselines: dict[str, dict[str, Scores]],
    warnings: list[str],
) -> dict[str, Any]:
    """Return the content of `metrics.json` and `pictures.json`, the latter under `resamples` and `pictures`.

    Args:
        protocol: From `protocol_of`.
        scores: Of each direction.
        baselines: Of each direction, of untouched inputs and of real pictures of the target.
        warnings: What is to be known of the figures.
    """
    names = [name for name in ("kid", "swd", "gms") if all(name in one.figures for one in scores.values())]
    mean = {name: sum(one.figures[name] for one in scores.values()) / len(scores) for name in names}
    there = {way: baselines.get(way, {}) for way in scores}
    return {
        "protocol": protocol,
        **{way: one.figures for way, one in scores.items()},
        "mean": mean if len(scores) == 2 else {},
        "spread": {way: spreads(one) for way, one in scores.items()},
        "baselines": {
            way: {name: {"figures": one.figures, "spread": spreads(one)} for name, one in found.items()}
            for way, found in there.items()
        },
        "against_untouched": against_untouched(scores, there),
        "signs": {way: one.signs for way, one in scores.items()},
        "warnings": warnings,
        "resamples": {
            way: {name: _plain(part.resampled) for name, part in {"model": one, **there[way]}.items()}
            for way, one in scores.items()
        },
        "pictures": {way: _plain(one.pictures) for way, one in scores.items()},
    }


def write_report(folder: Path, result: dict[str, Any], gallery: Gallery, logs: RunLogs) -> None:
    """Write a report into a folder that holds the gallery's pictures.

    Args:
        folder: The folder.
        result: From `document`.
        gallery: The pictures, thinned.
        logs: Of the run that made the model.
    """
    kept = {key: value for key, value in result.items() if key not in ("resamples", "pictures")}
    _write_json(folder / METRICS, kept)
    _write_json(folder / PICTURES, {key: result[key] for key in ("pictures", "resamples")}, indent=None)
    (folder / "report.md").write_text(report_markdown(kept), encoding="utf-8")
    pictures = {way: as_data(shown) for way, shown in gallery.shown.items()}
    (folder / "index.html").write_text(report_page(kept, pictures, logs), encoding="utf-8")
    sheet = gallery.contact_sheet({way: title(result["protocol"], way) for way in gallery.shown})
    if sheet is not None:
        sheet.save(folder / "contact_sheet.png")


def read_report(folder: str | Path) -> dict[str, Any]:
    """Read a report that `document` wrote.

    Raises:
        ValueError: If there is no whole report.
    """
    for name in (METRICS, PICTURES):
        if not (Path(folder) / name).is_file():
            raise ValueError(f"{folder}: expected a report of `cyclegan-hf evaluate`, found no {name}")
    result = read_json(Path(folder) / METRICS) | read_json(Path(folder) / PICTURES)
    if missing := [key for key in ("protocol", "spread", "resamples") if key not in result]:
        raise ValueError(f"{folder}: expected a report of `cyclegan-hf evaluate`, its {METRICS} has no `{missing[0]}`")
    return result


def write_comparison(
    folder: Path, reports: dict[str, dict[str, Any]], galleries: dict[str, tuple[str, Gallery]]
) -> str:
    """Write a comparison: `comparison.json`, `comparison.md` and `index.html`.

    Args:
        folder: Where to.
        reports: By name, from `document` or `read_report`.
        galleries: By name, the folder of a model's own report in `folder`, and its pictures; none for saved reports.

    Returns:
        The comparison as Markdown.
    """
    result = compare(reports)
    text = comparison_markdown(result)
    _write_json(folder / COMPARISON, result)
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    links = {name: f"{place}/index.html" for name, (place, _) in galleries.items()}
    pictures = {way: _side_by_side(way, galleries) for way in ("a2b", "b2a")}
    page = comparison_page(result, {way: shown for way, shown in pictures.items() if shown}, links)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return text


def check_output(folder: Path) -> None:
    """Refuse to write over anything but an earlier report.

    Raises:
        ValueError: If the folder is a file, or holds other things.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder to write to, got a file")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not any((folder / name).is_file() for name in (METRICS, COMPARISON))
    ):
        raise ValueError(f"{folder}: expected an empty folder or an earlier report, found other files")


def _side_by_side(way: str, galleries: dict[str, tuple[str, Gallery]]) -> list[dict[str, Any]]:
    """Return the images that every model shows, with each model's translation."""
    shown = {name: {one.index: one for one in gallery.shown.get(way, [])} for name, (_, gallery) in galleries.items()}
    if not shown or not all(shown.values()):
        return []
    first, place = next(iter(shown.values())), next(iter(galleries.values()))[0]
    common = [index for index in first if all(index in others for others in shown.values())]
    return [
        {
            "name": first[index].name,
            "files": {
                "input": f"{place}/{first[index].files['input']}",
                **{
                    name: f"{galleries[name][0]}/{pictures[index].files['translation']}"
                    for name, pictures in shown.items()
                },
            },
            "figures": {},
        }
        for index in common
    ]


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, list[float | None]]:
    return {name: [_number(value) for value in values.tolist()] for name, values in tensors.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
