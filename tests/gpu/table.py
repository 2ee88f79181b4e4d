"""Tables of the figures that the other scripts of this folder keep.

python tests/gpu/table.py figures/figures.json
"""

import json
import sys
from pathlib import Path
from typing import Any


def tables(figures: dict[str, Any]) -> str:
    """All parts that are there, as Markdown."""
    lines: list[str] = []
    if tests := figures.get("tests"):
        outcomes = [test["outcome"] for test in tests]
        lines += ["## Tests", "", ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes)), ""]
        lines += ["| test | outcome | seconds | found |", "|---|---|---|---|"]
        known = {"test", "outcome", "seconds", "reason"}
        for test in tests:
            found = "; ".join(f"{key} {value}" for key, value in test.items() if key not in known)
            lines.append(f"| {test['test']} | {test['outcome']} | {test['seconds']} | {found} |")
        lines.append("")
    if benchmark := figures.get("benchmark"):
        lines += _benchmark(benchmark)
    if runs := figures.get("training_runs"):
        lines += ["## Training", "", "| recipe | steps, of the recipe's | batch | s a step | finished |"]
        lines += ["|---|---|---|---|---|"]
        for recipe, run in runs.items():
            row = [
                f"{run.get('steps')}, {run.get('recipe_steps')}",
                run.get("batch_size"),
                run.get("seconds_per_step"),
            ]
            lines.append(f"| {recipe} | {' | '.join(map(str, row))} | {run.get('finished', run.get('error'))} |")
        lines.append("")
    return "\n".join(lines)


def _benchmark(found: dict[str, Any]) -> list[str]:
    machine = found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = ["## Benchmark", "", f"{machine['gpu'] or machine['processor']}, {machine['date']}, {versions}", ""]
    if peaks := found.get("peaks"):
        lines += [", ".join(f"{name.replace('_', ' ')} {value}" for name, value in peaks.items()), ""]
    for part in ("training", "translation"):
        if not found.get(part):
            continue
        lines += [f"### {part.capitalize()}, {found['side']}²", ""]
        lines += ["| batch | form | ms | images/s | ratio (least to most) | of bf16's peak | peak GiB |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for batch, rows in sorted(found[part].items(), key=lambda item: int(item[0])):
            for form, row in rows.items():
                if "seconds" not in row:
                    lines.append(f"| {batch} | {form} | {row.get('error', 'not timed')} | | | | |")
                    continue
                ratio = "{:.2f}× ({:.2f} to {:.2f})".format(*row["ratio"]) if "ratio" in row else ""
                share = f"{row['share_of_bf16_peak']:.1%}" if "share_of_bf16_peak" in row else ""
                cells = [f"{1000 * row['seconds']:.1f}", f"{row['images_per_second']:,.1f}", ratio, share]
                lines.append(f"| {batch} | {form} | {' | '.join(cells)} | {row.get('peak_gib', '')} |")
        lines.append("")
    if profile := found.get("profile"):
        lines += [f"### Slowest tenth: {profile['form']}, batch {profile['batch']}", ""]
        lines += [f"Steps {profile['step_seconds']}; kernels run {profile['busy_share']:.0%} of the time.", ""]
        lines += ["| kernel | share |", "|---|---|"]
        lines += [f"| `{one['name']}` | {one['share']:.1%} |" for one in profile["top"]]
        lines.append("")
    for name in ("pipeline_images_per_second", "data", "skipped"):
        if found.get(name):
            lines.append(f"- {name.replace('_', ' ')}: {json.dumps(found[name])}")
    lines += [f"- {name}: {found[name]}" for name in found if name.endswith("_error")]
    return [*lines, ""]


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
