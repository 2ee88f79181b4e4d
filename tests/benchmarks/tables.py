"""The README's speed figures, all of them by one command.

    python tests/benchmarks/tables.py --json tests/benchmarks/results/my-machine.json

Each benchmark is a process of its own, one after the other; it takes about half an hour on two cores, which should
have nothing else to do. A row is a ratio of two things that took turns in one process, with the least and the most of
its rounds: seconds differ from machine to machine and from hour to hour, ratios less so.
"""

import json as format_json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tyro


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.turns import keep, machine_line  # noqa: E402


BENCHMARKS = {
    "training step": ("bench_train_step.py",),
    "translation, ResNet-9": ("bench_translate.py", "--model", "resnet9"),
    "translation, bundled": ("bench_translate.py", "--model", "bundled"),
    "lighter generators": ("bench_generators.py",),
    "commands": ("bench_cli.py",),
}


def main(json: Path | None = None, only: tuple[str, ...] = ()) -> None:
    """Run the benchmarks, print their tables and then one of all ratios.

    Args:
        json: Where to keep all figures.
        only: Names of benchmarks; by default all.
    """
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r}: expected some of {', '.join(BENCHMARKS)}")
    before = machine_line()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in only or BENCHMARKS:
            script, *options = BENCHMARKS[name]
            kept = Path(folder) / "figures.json"
            command = [sys.executable, str(Path(__file__).parent / script), *options, "--json", str(kept)]
            print(f"\n## {name}\n", flush=True)
            subprocess.run(command, cwd=ROOT, check=True)
            results[name] = format_json.loads(kept.read_text(encoding="utf-8"))
            keep(json, results)  # after each: an interruption leaves what there is
    print(f"\n## All ratios\n\n{before}\n\n| what | form | ratio (least to most) |\n|---|---|---|")
    for name, result in results.items():
        for form, figures in result["forms"].items():
            if "faster" in figures:
                print(f"| {name} | {form} | {told(figures['faster'])} as fast |")
            elif "of_import_torch" in figures:
                print(f"| {name} | {form} | {told(figures['of_import_torch'])} of `import torch` |")


def told(ratio: dict[str, float]) -> str:
    """A ratio with its spread."""
    return f"{ratio['median']:.2f}× ({ratio['least']:.2f} to {ratio['most']:.2f})"


if __name__ == "__main__":
    tyro.cli(main)
