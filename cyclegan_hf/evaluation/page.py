"""The report as a page: one HTML file beside its pictures, which asks nothing of any network."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from cyclegan_hf.evaluation.charts import chart
from cyclegan_hf.evaluation.comparison import REAL, UNTOUCHED
from cyclegan_hf.evaluation.markdown import cell, in_words, names_there, protocol_line, title, words_below
from cyclegan_hf.evaluation.run_logs import RunLogs
from cyclegan_hf.metrics.figures import ARROWS, FIGURES, SPREADS, as_difference, as_text


_KEY_FIGURES = (
    *("gap_closed", "kid", "taken_for_target", "content", "gms", "edge_agreement", "ssim", "cycle_psnr", "diversity"),
    "accuracy",
)
_MOST_KEYS = 4


def report_page(document: dict[str, Any], pictures: dict[str, list[dict[str, Any]]], logs: RunLogs) -> str:
    """Render the page of an evaluation.

    Args:
        document: As `metrics.json` holds it.
        pictures: Of the gallery, by direction; see `cyclegan_hf.evaluation.gallery.as_data`.
        logs: Of the run that made the model.
    """
    protocol, ways = document["protocol"], _ways(document)
    sections = []
    if any(pictures.values()):
        sections += [("pictures", "Pictures", _GALLERY), ("ends", "Best and worst", _EXTREMES)]
    sections.append(("figures", "Figures", _figures(document)))
    if logs.curves:
        sections.append(("curves", "Training", _curves(logs)))
    if logs.losses:
        sections.append(("losses", "Losses at the end", _losses(logs, protocol)))
    if logs.stages:
        sections.append(("stages", "Stages", _stages(logs)))
    sections.append(("protocol", "Protocol", _protocol(protocol)))
    name = protocol["model"]["name"]
    domains = protocol.get("domains", {"a": "a", "b": "b"})
    signs = [
        f"{title(protocol, way)}: {message}"
        for way, found in document.get("signs", {}).items()
        for message in found.values()
    ]
    lead = "".join(f'<p class="warning">{escape(text)}</p>' for text in [*signs, *document.get("warnings", [])])
    cards = "".join(_card(document, way) for way in ways)
    heading = f"{domains['a']} ↔ {domains['b']}"
    body = _body(heading, _about(protocol["model"]), f'{lead}<div class="pair">{cards}</div>', sections)
    return _page(f"{name}: {heading}", body, _data(protocol, pictures, ["input", "translation", "cycle"]))


def comparison_page(result: dict[str, Any], pictures: dict[str, list[dict[str, Any]]], links: dict[str, str]) -> str:
    """Render the page of a comparison.

    Args:
        result: As `comparison.json` holds it.
        pictures: Of the gallery, by direction: the inputs and each model's translation.
        links: By model, the page of its own report, as a path from this one.
    """
    protocol = result["protocol"]
    domains = protocol.get("domains", {"a": "a", "b": "b"})
    sections = [("pictures", "Pictures", _GALLERY)] if any(pictures.values()) else []
    for way in _ways(result):
        sections.append((way, title(protocol, way), _comparison(result[way], links)))
    sections.append(("protocol", "Protocol", _protocol(protocol)))
    lead = "".join(f'<p class="warning">{escape(note)}</p>' for note in result["notes"])
    about = f"{len(result['models'])} models on the same pictures"
    body = _body(f"{domains['a']} ↔ {domains['b']}", about, lead, sections)
    return _page(f"{domains['a']} ↔ {domains['b']}: comparison", body, _data(protocol, pictures, ["input", *links]))


def _page(heading: str, body: str, data: dict[str, Any]) -> str:
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    content = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    before, _, rest = template.partition("%%TITLE%%")
    middle, _, rest = rest.partition("%%BODY%%")
    end, _, tail = rest.partition("%%DATA%%")
    return "".join([before, escape(heading), middle, body, end, content, tail])


def _body(heading: str, about: str, lead: str, sections: list[tuple[str, str, str]]) -> str:
    links = "".join(f'<a href="#{name}">{escape(words)}</a>' for name, words, _ in sections)
    parts = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(words)}</h2>{content}</section>'
        for name, words, content in sections
    )
    return (
        f'<header><h1>{escape(heading)}</h1><p class="soft">{escape(about)}</p><nav>{links}</nav></header>'
        f"<main>{lead}{parts}<footer>Made by cyclegan-hf evaluate.</footer></main>"
    )


def _data(protocol: dict[str, Any], pictures: dict[str, list[dict[str, Any]]], columns: list[str]) -> dict[str, Any]:
    there = {name for shown in pictures.values() for picture in shown for name in picture["figures"]}
    figures = {
        name: {"label": figure.label, "better": figure.better, "digits": figure.digits}
        for name, figure in FIGURES.items()
        if name in there
    }
    return {
        "columns": columns,
        "caption": next((name for name in ("edge_agreement", "ssim", "cycle_l1") if name in figures), ""),
        "figures": figures,
        "ways": {way: {"title": title(protocol, way), "pictures": shown} for way, shown in pictures.items() if shown},
    }


def _ways(document: dict[str, Any]) -> list[str]:
    return [way for way in ("a2b", "b2a") if way in document]


def _about(model: dict[str, Any]) -> str:
    weights = {"raw": "weights as they train", "averaged": "averaged weights", "saved": "weights as saved"}
    parts = [model["name"], weights.get(model["weights"], model["weights"])]
    parts += [f"step {model['step']}"] if "step" in model else []
    parts += [f"epoch {model['epoch']}"] if "epoch" in model else []
    return ", ".join(parts)


def _card(document: dict[str, Any], way: str) -> str:
    """Render a direction at a glance: how far it goes, and some metrics."""
    figures, spreads = document[way], document["spread"].get(way, {})
    baselines = document.get("baselines", {}).get(way, {})
    parts = [f'<div class="card"><h3>{escape(title(document["protocol"], way))}</h3>']
    if "gap_closed" in figures and {UNTOUCHED, REAL} <= baselines.keys():
        share = min(1.0, max(0.0, figures["gap_closed"])) * 100
        ends = [as_text("kid", baselines[name]["figures"].get("kid")) for name in (UNTOUCHED, REAL)]
        parts.append(
            f'<div class="gap" role="img" aria-label="{figures["gap_closed"]:.0%} of the way from untouched pictures '
            f'to real ones of the target"><div class="track"><div class="done" style="width:{share:.1f}%"></div>'
            f'<div class="mark" style="left:{share:.1f}%"></div></div><div class="ends">'
            f"<span>untouched<br>KID ×1000: {ends[0]}</span><span>real images<br>{ends[1]}</span></div></div>"
        )
    keys = [name for name in _KEY_FIGURES if name in figures][:_MOST_KEYS]
    parts.append('<dl class="key">')
    for name in keys:
        spread = figures.get(SPREADS.get(name, ""), spreads.get(name))
        small = "" if spread is None else f"<small>± {as_text(name, spread)}</small>"
        parts.append(
            f'<div><dt title="{escape(FIGURES[name].meaning, quote=True)}">{escape(FIGURES[name].label)}</dt>'
            f"<dd>{as_text(name, figures[name])}{small}</dd></div>"
        )
    return "".join([*parts, "</dl></div>"])


def _figures(document: dict[str, Any]) -> str:
    tables = []
    for way in _ways(document):
        baselines = document.get("baselines", {}).get(way, {})
        model = {"figures": document[way], "spread": document["spread"].get(way, {})}
        columns = {"translated": model, **{name: baselines[name] for name in (UNTOUCHED, REAL) if name in baselines}}
        tables.append(
            f"<div><h3>{escape(title(document['protocol'], way))}</h3>"
            f"{_figure_table(columns, names_there(document[way]))}"
            f'<p class="note">{escape(words_below(document, way))}</p></div>'
        )
    names = names_there(*[document[way] for way in _ways(document)])
    return f'<div class="pair tables">{"".join(tables)}</div>{_meanings(names)}'


def _figure_table(columns: dict[str, dict[str, Any]], names: list[str]) -> str:
    """Render metrics by row; `columns` maps what they are of to its name as HTML."""
    rows, group = [], ""
    for name in names:
        if FIGURES[name].group != group:
            group = FIGURES[name].group
            rows.append(f'<tr class="group"><th colspan="{len(columns) + 1}">{escape(group)}</th></tr>')
        cells = "".join(f"<td>{cell(name, row)}</td>" for row in columns.values())
        rows.append(f"<tr><td>{_label(name)}</td>{cells}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in columns)
    return _SCROLL.format(f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _label(name: str) -> str:
    """Return a metric's name and which direction is better."""
    figure = FIGURES[name]
    return (
        f'{escape(figure.label)} <span class="soft" title="{in_words(figure.better)}">{ARROWS[figure.better]}</span>'
    )


def _meanings(names: list[str]) -> str:
    words = "".join(
        f"<div><dt>{_label(name)}</dt><dd>{escape(FIGURES[name].meaning)} "
        f"{in_words(FIGURES[name].better).capitalize()}.</dd></div>"
        for name in names
    )
    return f'<details><summary>What the figures say</summary><dl class="words">{words}</dl></details>'


def _comparison(part: dict[str, Any], links: dict[str, str]) -> str:
    names = names_there(*[row["figures"] for row in part["rows"]])
    columns = {}
    for row in part["rows"]:
        link = links.get(row["name"]) if row["kind"] == "model" else None
        words = escape(row["name"])
        columns[f'<a href="{escape(link, quote=True)}">{words}</a>' if link else words] = row
    lines = []
    for name, entries in part["differences"].items():
        for entry in entries:
            p = "–" if entry["p"] is None else f"{entry['p']:.3f}"
            sure = ' class="best"' if entry["p"] is not None and entry["p"] < 0.05 else ""
            lines.append(
                f"<tr{sure}><td>{escape(FIGURES[name].label)}</td>"
                f"<td>{escape(entry['one'])} − {escape(entry['other'])}</td>"
                f"<td>{as_difference(name, entry['difference'], entry.get('interval'))}</td><td>{p}</td></tr>"
            )
    heads = "<thead><tr><th></th><th>difference</th><th>value [95 %]</th><th>p</th></tr></thead>"
    differences = _SCROLL.format(f"{heads}<tbody>{''.join(lines)}</tbody>")
    return (
        f"{_figure_table(columns, names)}<p></p>{differences}"
        '<p class="note">p: how seldom a paired bootstrap over the pictures turns a difference round, two-sided; bold '
        f"below 0.05, not corrected for the number of comparisons.</p>{_meanings(names)}"
    )


def _curves(logs: RunLogs) -> str:
    splits = dict.fromkeys(split for curve in logs.curves for split in curve.lines)
    legend = "".join(
        f'<span><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line {split}" d="M0 4H22"/></svg>'
        f"{split}</span>"
        for split in splits
    )
    charts = "".join(
        f"<figure><figcaption>{escape(curve.name)}</figcaption>{chart(curve)}</figure>" for curve in logs.curves
    )
    return f'<div class="legend">{legend}</div><div class="charts">{charts}</div>'


def _losses(logs: RunLogs, protocol: dict[str, Any]) -> str:
    domains = protocol.get("domains", {"a": "a", "b": "b"})
    heads = ["data", "Disc.", "Gen.", "Cycle", f"accuracy {domains['a']}", f"accuracy {domains['b']}"]
    rows = []
    for split, values in logs.losses.items():
        cells = [f"{values[name]:.3f}" for name in ("discriminator", "generator", "cycle")]
        cells += [f"{100 * values[name]:.2f}" for name in ("accuracy_a", "accuracy_b")]
        rows.append([split, *cells])
    note = "Weighted losses, means of both directions; accuracies of the discriminators in percent, 50 is guessing."
    return f'{_table(heads, rows)}<p class="note">{note}</p>'


def _stages(logs: RunLogs) -> str:
    metric = logs.stages[0]["metric"]
    heads = ["stage", "epoch", "step", "batch size", "a → b", "b → a", f"mean {metric}", ""]
    rows = [
        [
            *[str(row[name]) for name in ("stage", "epoch", "step", "batch_size")],
            *[f"{row[name]:.4g}" for name in ("a2b", "b2a", "mean")],
            "chosen" if row["chosen"] else "",
        ]
        for row in logs.stages
    ]
    chosen = [bool(row["chosen"]) for row in logs.stages]
    return f'{_table(heads, rows, chosen)}<p class="note">Chosen: {escape(logs.selection)}.</p>'


def _table(heads: list[str], rows: list[list[str]], best: list[bool] | None = None) -> str:
    marks = best or [False] * len(rows)
    lines = "".join(
        f"<tr{' class=best' if mark else ''}>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    return _SCROLL.format(f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody>")


def _protocol(protocol: dict[str, Any]) -> str:
    everything = escape(json.dumps(protocol, indent=2, ensure_ascii=False))
    return (
        f"<p>{escape(protocol_line(protocol))}</p>"
        f'<details><summary>All of it</summary><pre tabindex="0">{everything}</pre></details>'
    )


_SCROLL = '<div class="scroll" tabindex="0"><table>{}</table></div>'
_GALLERY = (
    '<div class="bar"><div class="choice" id="ways" role="group" aria-label="Direction"></div>'
    '<label>Sort by <select id="sort"></select></label></div><div class="gallery" id="gallery"></div>'
)
_EXTREMES = (
    '<p class="note">By each figure; the measure is blind to some faults, so look at the pictures.</p>'
    '<div class="extremes" id="extremes"></div>'
)
