"""Checks of numbers in a configuration."""

from typing import Any


def check_least(config: Any, prefix: str, least: dict[str, int]) -> None:
    """Refuse numbers below what their fields allow; those that are not set are left alone.

    Args:
        config: The dataclass that holds the fields.
        prefix: The group's place in a recipe, for messages: empty, or ending with a dot.
        least: The lowest value of each field.

    Raises:
        ValueError: If a field is lower, or not a number.
    """
    for name, limit in least.items():
        value = getattr(config, name)
        if value is not None and not value >= limit:  # written so that NaN is refused too
            raise ValueError(f"`{prefix}{name}` must be at least {limit}, got {value}.")
