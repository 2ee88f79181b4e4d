"""Errors told in one line."""

import difflib
from collections.abc import Iterable
from pathlib import Path


_ROOT = Path(__file__).resolve().parents[1]  # of a clone; of an installed package, what holds all packages


def one_line(error: BaseException, max_length: int | None = None) -> str:
    """Format an exception's message on one line; use the exception's name if it has none.

    Args:
        error: The exception.
        max_length: Characters after which the message is cut, for those of other libraries, which may go on for pages.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if max_length is None or len(text) <= max_length else f"{text[: max_length - 1]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a complaint: the known word that was meant, or all of them where none is near.

    Args:
        word: The word that is not known.
        known: Those that are.
    """
    words = sorted(known)
    if close := difflib.get_close_matches(word, words, n=1, cutoff=0.7):
        return f"; did you mean `{close[0]}`?"
    return f"; expected one of {', '.join(words)}"


def install_command(*extras: str) -> str:
    """Return the command that installs optional dependencies: of the clone that this package runs from, or by name.

    Args:
        extras: Names of `pyproject.toml`'s optional dependencies, such as `"metrics"`.
    """
    names = ",".join(extras)
    if not (_ROOT / "pyproject.toml").is_file():
        return f"pip install 'cyclegan_hf[{names}]'"
    return f"pip install -e '{'.' if Path.cwd() == _ROOT else _ROOT}[{names}]'"
