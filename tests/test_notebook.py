"""The notebook for Colab, run from its first cell to its last on tiny images, networks and few steps."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.testing_utils import write_domains
from tests.training.tiny import write_recipe


nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "train_your_own.ipynb"


def with_settings(notebook: "nbformat.NotebookNode", settings: dict[str, str]) -> None:
    """Change the values that the notebook's user is asked for."""
    for before, after in settings.items():
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and before in cell.source)
        cell.source = cell.source.replace(before, after)


@pytest.mark.slow
def test_the_notebook_trains_and_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domains = write_domains(tmp_path / "domains", count=3, size=40)
    recipe = write_recipe(tmp_path / "tiny.yaml", run={"validation_steps": 4})
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with_settings(
        notebook,
        {
            'FOLDER_A, NAME_A = ""': f'FOLDER_A, NAME_A = "{domains / "trainA"}"',
            'FOLDER_B, NAME_B = ""': f'FOLDER_B, NAME_B = "{domains / "trainB"}"',
            'RECIPE = "few_images"': f'RECIPE = "{recipe}"',
            "STEPS = 500": "STEPS = 4",
            'OUTPUT = "runs/mine"': f'OUTPUT = "{tmp_path / "run"}"',
        },
    )
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    assert (tmp_path / "run" / "model_index.json").is_file()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )
    assert "s per step" in text and "nothing was written" in text
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {})
    ]
    assert len(shown) == 4  # both grids, the photo and its translation
    assert Image.open(next((tmp_path / "run" / "samples").iterdir())).width > 100


def test_the_notebook_in_the_repository_is_clean() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and not cell.get("execution_count")
