from pathlib import Path

import pytest

from cyclegan_hf import errors
from cyclegan_hf.errors import one_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("expected one, got two"), "expected one, got two"),
        (RuntimeError("Error(s) in loading:\n\tMissing key(s):  'a'.\n"), "Error(s) in loading: Missing key(s): 'a'."),
        (MemoryError(), "MemoryError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_a_message_becomes_one_line(error: Exception, expected: str) -> None:
    assert one_line(error) == expected


def test_long_messages_are_cut_where_that_is_asked_for() -> None:
    error = ValueError("0123456789")
    assert one_line(error, 10) == "0123456789"
    assert one_line(error, 9) == "01234567…"
    assert one_line(error) == "0123456789"


def test_the_command_that_installs_an_extra_fits_where_the_package_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(errors.__file__).parents[1]
    monkeypatch.chdir(root)
    assert errors.install_command("metrics") == "pip install -e '.[metrics]'"
    monkeypatch.chdir(tmp_path)
    assert errors.install_command("train", "search") == f"pip install -e '{root}[train,search]'"
    monkeypatch.setattr(errors, "_ROOT", tmp_path)  # as in site-packages
    assert errors.install_command("metrics") == "pip install 'cyclegan_hf[metrics]'"


def test_a_word_is_suggested_only_where_it_is_near() -> None:
    assert errors.nearest("revison", ["revision", "variant"]) == "; did you mean `revision`?"
    assert errors.nearest("banana", ["revision", "variant"]) == "; expected one of revision, variant"
