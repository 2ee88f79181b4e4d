"""The ways to start a run: from the installed library, and from a clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("entry", [["-m", "cyclegan_hf.training"], [str(ROOT / "training" / "train.py")]])
def test_a_run_starts_from_any_folder(entry: list[str], tmp_path: Path) -> None:
    command = [sys.executable, *entry, "--recipe", "summer2wintr"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "'summer2winter'" in result.stderr  # the recipes were found


def test_no_entry_edits_the_import_path() -> None:
    files = [file for top in ("cyclegan_hf", "training") for file in (ROOT / top).rglob("*.py")]
    assert [file for file in files if "sys.path" in file.read_text(encoding="utf-8")] == []
