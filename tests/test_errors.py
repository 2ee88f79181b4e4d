import pytest

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
