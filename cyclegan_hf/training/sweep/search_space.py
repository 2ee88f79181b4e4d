"""What a sweep searches: from `--search` to Optuna's distributions, and from a trial's values to a configuration.

Keys are full (`losses.lambda_a`); those that share their values are joined (`losses.lambda_a+losses.lambda_b`).
"""

import dataclasses
import json
import math
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from cyclegan_hf.errors import nearest
from cyclegan_hf.training.builders import build_networks
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.strict_yaml import build, parse, plain


BLOCKS = ("generator", "generator_b2a", "discriminator")
"""Groups whose keys are arguments of a class, not fields of the configuration."""
_SCORED = (
    "a",
    "b",
    "test_a",
    "test_b",
    "test_share",
    "validation_share",
    "validation_fold",
    "split_seed",
    "limit",
    "image_size",
)
FIXED = {
    *(f"data.{name}" for name in (*_SCORED, "image_size_b", "resize_mode", "domain_a", "domain_b")),
    *(f"run.{name}" for name in ("recipe", "output_dir", "resume_from_checkpoint", "mixed_precision", "report_to")),
    "stages.metric",
}
"""What all trials have in common, besides `evaluation`: the pictures that are scored, and what a process has once."""


def search_space(searches: list[str], config: TrainConfig) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each key or joined keys; every end and value has been tried on the configuration.

    Args:
        searches: `key=low:high`, `key=low:high:log` or `key=value,value`, the values in YAML; `key+key=…` gives both
            the same value.
        config: What the trials have in common.

    Raises:
        ValueError: For an unknown key (with the nearest valid one), a wrong form or range, or a value that the
            configuration refuses.
    """
    space: dict[str, BaseDistribution] = {}
    named: list[str] = []
    for search in searches:
        name, equals, values = search.partition("=")
        if not equals or not values:
            raise ValueError(f"`--search` must be key=low:high, key=low:high:log or key=value,value, got {search!r}.")
        joined = [_full_key(part, config) for part in name.split("+")]
        named += joined
        if len(set(named)) < len(named):
            raise ValueError(f"`--search` must name each key once, got {', '.join(named)}.")
        keys = "+".join(joined)
        space[keys] = _range(keys, values, config) if ":" in values else _choices(keys, values, config)
    return space


def with_values(config: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """Return the configuration with a trial's values.

    Raises:
        ValueError: If the configuration refuses one.
    """
    content = plain(dataclasses.asdict(config))
    for key, value in ((key, value) for keys, value in values.items() for key in keys.split("+")):
        group, _, name = key.partition(".")
        content[group][name] = yaml.safe_load(value) if isinstance(value, str) else value
    return build(TrainConfig, content)


def own_values(config: TrainConfig, space: dict[str, BaseDistribution]) -> dict[str, Any] | None:
    """Return the configuration's own values, if the search has them all."""
    current, values = flat(config), {}
    for keys, distribution in space.items():
        own = [_encoded(current[key]) for key in keys.split("+") if key in current]
        if len(own) < len(keys.split("+")) or own.count(own[0]) < len(own):
            return None
        match distribution:
            case CategoricalDistribution(choices=choices):
                inside = own[0] in choices
            case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
                inside = own[0] is not None and low <= own[0] <= high
        if not inside:
            return None
        values[keys] = own[0]
    return values


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its full key."""
    groups = plain(dataclasses.asdict(config))
    return {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}


def _full_key(name: str, config: TrainConfig) -> str:
    """Return the key as a recipe has it: flags have dashes, and leave `run` out."""
    key = name.strip().replace("-", "_")
    key = key if "." in key else f"run.{key}"
    group = key.partition(".")[0]
    known = list(flat(config))
    if key not in known and group not in BLOCKS:
        meant = [full for full in known if full.partition(".")[2] == key.rpartition(".")[2]]  # another group's
        hint = f"; did you mean `{meant[0]}`?" if meant else nearest(key, known)
        raise ValueError(f"`--search` names an unknown key `{name}`{hint}")
    if group == "evaluation" or key in FIXED:
        raise ValueError(f"`--search` cannot vary `{key}`: trials are compared by the same pictures and metric.")
    return key


def _range(keys: str, text: str, config: TrainConfig) -> BaseDistribution:
    low_text, _, rest = text.partition(":")
    high_text, _, scale = rest.partition(":")
    log = scale == "log"
    low, high = _number(low_text), _number(high_text)
    if scale not in ("", "log") or not -math.inf < low < high < math.inf or (log and low <= 0):
        raise ValueError(
            f"`--search {keys}` must be low:high, or low:high:log with low above 0, in rising numbers, got {text!r}."
        )
    low, high = _settled(keys, low, config), _settled(keys, high, config)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _choices(keys: str, text: str, config: TrainConfig) -> BaseDistribution:
    try:
        values = parse(f"[{text}]")
    except yaml.YAMLError:
        values = []
    choices = [_encoded(_settled(keys, value, config)) for value in values]
    if len(set(choices)) < max(2, len(choices)):
        raise ValueError(f"`--search {keys}` must list two or more different values, got {text!r}.")
    return CategoricalDistribution(choices)


def _settled(keys: str, value: Any, config: TrainConfig) -> Any:
    """Return a value as the configuration takes it: of the field's own type."""
    changed = with_values(config, {keys: value})
    if any(key.partition(".")[0] in BLOCKS for key in keys.split("+")):
        build_networks(changed)  # only the classes know their arguments
    return flat(changed)[keys.partition("+")[0]]


def _encoded(value: Any) -> Any:
    """Return a value as Optuna keeps it: lists as text, which `with_values` reads again."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _number(text: str) -> int | float:
    """Return the number, or NaN, which fails every comparison."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return math.nan
