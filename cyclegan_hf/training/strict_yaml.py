"""Dataclasses from YAML, with nothing guessed: unknown keys and wrong types are refused by name."""

import dataclasses
import types
import typing
from typing import Any, Literal

import yaml

from cyclegan_hf.errors import nearest


class _Loader(yaml.SafeLoader):
    """Plain YAML, in which a mapping has each key once: PyYAML takes the last of several without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raise an error that names the second of two equal keys and its line."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be one word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key}` stands there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_MAX_VALUES = 10_000
"""Most values of a document, with those that aliases repeat: a short one can stand for more than memory holds."""


def parse(text: str) -> Any:
    """Parse YAML.

    Raises:
        yaml.YAMLError: If it is none, a mapping has a key twice, an alias stands inside what it repeats, or there are
            far too many values.
    """
    try:
        _count_values(yaml.compose(text, Loader=_Loader), {}, ())
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


def _count_values(node: yaml.Node | None, known: dict[int, int], inside: tuple[int, ...]) -> int:
    """Count the values of a node, each as often as aliases repeat it."""
    if id(node) in inside:
        raise yaml.YAMLError(f"an alias stands inside what it repeats{node.start_mark if node else ''}")
    if id(node) not in known:
        children: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_count_values(child, known, (*inside, id(node))) for child in children)
    if known[id(node)] > _MAX_VALUES:
        raise yaml.YAMLError(f"it holds more than {_MAX_VALUES} values")
    return known[id(node)]


def build(cls: type, content: Any, key: str = "") -> Any:
    """Build an instance of a dataclass from a mapping.

    Args:
        cls: The dataclass; its fields may be dataclasses in their turn.
        content: What YAML read.
        key: The mapping's place in the file, for messages: empty, or ending with a dot.

    Raises:
        ValueError: For an unknown key (with the nearest valid one) or a value of another type.
    """
    if not isinstance(content, dict):
        raise ValueError(f"`{key.rstrip('.')}` must be a mapping, got {content!r}.")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for name in content:
        if name not in names:
            raise ValueError(f"Unknown key `{key}{name}`{nearest(str(name), names)}")
    return cls(**{name: _value(hints[name], value, f"{key}{name}") for name, value in content.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    """`value` as the type `hint` asks, or a `ValueError` that names `key`."""
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, f"{key}.")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # X | None, or X | list[X] | None
        if value is None:
            return None
        lists = [arg for arg in args if typing.get_origin(arg) is list]
        return _value(lists[0] if lists and isinstance(value, list) else args[0], value, key)
    if origin is Literal:
        if value is False and "no" in args:
            return "no"  # YAML 1.1's reading of a bare no
        if value in args:
            return value
        raise ValueError(f"`{key}` must be one of {', '.join(map(repr, args))}, got {value!r}.")
    if origin is tuple and isinstance(value, list) and len(value) == len(args):
        return tuple(_value(arg, item, key) for arg, item in zip(args, value, strict=True))
    if origin is list and isinstance(value, list):
        return [_value(args[0], item, key) for item in value]
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # also YAML 1.1's reading of 2e-4 as a string
        except (TypeError, ValueError):
            pass
    if origin is dict and isinstance(value, dict):
        return value
    if hint in (int, str, bool) and type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ValueError(f"`{key}` must be {wanted}, got {value!r}.")


def plain(value: Any) -> Any:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
