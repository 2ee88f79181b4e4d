"""The page's modules, imported as `python space/app.py` imports them: from their own folder."""

import importlib
import os
import sys
from types import ModuleType

import pytest

from tests.space.conftest import ROOT


def page_module(name: str) -> ModuleType:
    """One of the modules in `space/`; the environment and the module path stay as they were."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    path, environment = list(sys.path), dict(os.environ)
    sys.path.insert(0, str(ROOT / "space"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
