"""Tables of figures: the rows that Markdown and HTML share, and the Markdown."""

from __future__ import annotations

from typing import Any

from cyclegan_hf.evaluation.comparison import REAL, UNTOUCHED
from cyclegan_hf.metrics.figures import ARROWS, FIGURES, SPREADS, as_difference, as_text


BEST_WORDS = {"lower": "lower is better", "higher": "higher is better", "neither": "says how much, not how well"}


def in_words(better: str) -> str:
    """Say in words which direction is better."""
    return BEST_WORDS.get(better, f"best {better}")


def names_there(*figures: dict[str, Any]) -> list[str]:
    """Return the metrics that any of these have, in table order."""
    return [name for name in FIGURES if any(name in one for one in figures)]


def cell(name: str, row: dict[str, Any]) -> str:
    """Format a row's metric; `row` has `figures` and `spread`."""
    figures, spreads = row["figures"], row["spread"]
    spread = figures.get(SPREADS.get(name, ""), spreads.get(name))
    return as_text(name, figures.get(name), spread)


def title(protocol: dict[str, Any], way: str) -> str:
    """Name a direction by its domains."""
    names = protocol.get("domains", {"a": "a", "b": "b"})
    return f"{names[way[0]]} → {names[way[2]]}"


def report_markdown(document: dict[str, Any]) -> str:
    """Format an evaluation as Markdown.

    Args:
        document: As `metrics.json` holds it.
    """
    protocol = document["protocol"]
    ways = [way for way in ("a2b", "b2a") if way in document]
    lines = [f"# {protocol['model']['name']}: evaluation", ""]
    for warning in document.get("warnings", []):
        lines += [f"> {warning}", ""]
    for way in ways:
        baselines = document.get("baselines", {}).get(way, {})
        model = {"figures": document[way], "spread": document["spread"].get(way, {})}
        columns = {"translated": model, **{name: baselines[name] for name in (UNTOUCHED, REAL) if name in baselines}}
        lines += [
            f"## {title(protocol, way)}",
            "",
            f"| | {' | '.join(columns)} | |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for name in names_there(document[way]):
            cells = [cell(name, row) for row in columns.values()]
            lines.append(f"| {FIGURES[name].label} | {' | '.join(cells)} | {ARROWS[FIGURES[name].better]} |")
        lines += ["", words_below(document, way)]
        if signs := document.get("signs", {}).get(way, {}).values():
            lines += ["", *[f"- **{message}**" for message in signs]]
        lines.append("")
    lines += [f"↓ lower is better, ↑ higher is better. {protocol_line(protocol)}", ""]
    return "\n".join(lines)


def words_below(document: dict[str, Any], way: str) -> str:
    """Say what a table doesn't hold: what chance can explain, and SWD by level."""
    words = []
    changes = [
        f"{FIGURES[name].label} {as_difference(name, entry['difference'], entry.get('interval'))}"
        for name, entry in document.get("against_untouched", {}).get(way, {}).items()
        if entry["p"] is not None
    ]
    if changes:
        words.append(f"Minus the untouched inputs' [95 %, paired bootstrap]: {', '.join(changes)}.")
    tints = [
        f"{FIGURES[name].label} {as_text(name, document[way][f'{name}_level'])}"
        for name in ("tinted_whites", "tinted_greys", "halos")
        if f"{name}_level" in document[way]
    ]
    if tints:
        words.append(f"Level of real images of the target: {', '.join(tints)}.")
    if levels := document[way].get("swd_levels"):
        words.append(f"SWD by level, fine to coarse: {', '.join(f'{one:.1f}' for one in levels)}.")
    return " ".join(words)


def comparison_markdown(result: dict[str, Any]) -> str:
    """Format a comparison as Markdown."""
    protocol = result["protocol"]
    lines = ["# Comparison", ""]
    for note in result["notes"]:
        lines += [f"> {note}", ""]
    for way in ("a2b", "b2a"):
        if way not in result:
            continue
        rows = result[way]["rows"]
        names = names_there(*[row["figures"] for row in rows])
        lines += [f"## {title(protocol, way)}", ""]
        heads = [f"{FIGURES[name].label} {ARROWS[FIGURES[name].better]}" for name in names]
        lines += [f"| | {' | '.join(heads)} |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {row['name']} | {' | '.join(cell(name, row) for name in names)} |" for row in rows]
        lines += ["", "| difference | figure | value [95 %] | p |", "|---|---|---|---|"]
        for name, entries in result[way]["differences"].items():
            for entry in entries:
                p = "–" if entry["p"] is None else f"{entry['p']:.3f}"
                value = as_difference(name, entry["difference"], entry.get("interval"))
                lines.append(f"| {entry['one']} − {entry['other']} | {FIGURES[name].label} | {value} | {p} |")
        lines.append("")
    lines += [
        "p: how seldom a paired bootstrap over the pictures turns the difference round, two-sided, not corrected for "
        f"the number of comparisons. {protocol_line(protocol)}",
        "",
    ]
    return "\n".join(lines)


def protocol_line(protocol: dict[str, Any]) -> str:
    """Summarise the protocol in a sentence or two."""
    counts = ", ".join(f"{domain.upper()} {entry['count']}" for domain, entry in protocol["pictures"].items())
    references = ", ".join(f"{domain.upper()} {entry['count']}" for domain, entry in protocol["reference"].items())
    sizes = sorted({f"{size[0]}×{size[1]}" for size in protocol["image_size"].values()})
    swd, network = protocol["swd"], protocol["feature_network"]
    thinned = ", ".join(f"{name} {count}" for name, count in swd.get("patches_of_large_sets", {}).items())
    patches = f"{swd['patches']} patches of 7×7 a picture{f' ({thinned})' if thinned else ''}"
    features = f"features of {network['name']} ({network['sha256'][:8]})" if network else "no feature network"
    kinds = {"test": "Test images", "validation": "Validation images", "selection": "Images that chose the weights"}
    kind = kinds.get(protocol.get("split", ""), "Images")
    tried = f" {protocol['tried']} things were tried before on validation images." if protocol.get("tried") else ""
    return (
        f"{kind}: {counts}; compared with {references}; {' and '.join(sizes)} ({protocol['resize']}); 8 bits, "
        f"{protocol['rounding']}. SWD: {swd['levels']} levels, {patches}, "
        f"{swd['projections']} projections. Seed {protocol['seed']}; ± is half of the "
        f"central 68 % of {protocol['bootstrap']['resamples']} bootstrap resamples of the pictures; {features}.{tried}"
    )
