import tomllib
from pathlib import Path

import cyclegan_hf


def test_the_version_stands_in_one_place() -> None:
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"]
    assert settings["project"]["dynamic"] == ["version"]
    source = (root / settings["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    assert source.splitlines().count(f'__version__ = "{cyclegan_hf.__version__}"') == 1
