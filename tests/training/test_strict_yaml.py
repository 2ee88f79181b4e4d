"""Texts that are YAML and no recipe."""

import pytest
import yaml

from cyclegan_hf.training.strict_yaml import parse


LAUGHS = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("? [1, 2]\n: x", "a key must be one word"),
        ("? {a: b}\n: x", "a key must be one word"),
        ("a: &g\n  b: *g", "inside what it repeats"),
        ("a: &g [1, *g]", "inside what it repeats"),
        (f"a: {'[' * 5000}{']' * 5000}", "nested too deeply"),
        (LAUGHS, "more than 10000 values"),
    ],
)
def test_it_is_an_error_and_no_traceback(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        parse(text)


def test_aliases_are_allowed() -> None:
    assert parse("a: &g {x: 1}\nb: *g") == {"a": {"x": 1}, "b": {"x": 1}}
