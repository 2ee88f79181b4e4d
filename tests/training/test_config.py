"""Recipes: strict reading, faithful writing."""

import dataclasses
import shutil
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from cyclegan_hf.training.builders import build_networks, image_processors
from cyclegan_hf.training.config import RECIPES, TrainConfig, recipe_path


def read(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return TrainConfig.from_yaml(path)


def test_what_a_recipe_does_not_name_keeps_its_default(tmp_path: Path) -> None:
    config = read(tmp_path, "losses: {lambda_a: 3}")
    assert config.losses.lambda_a == 3.0
    assert config == dataclasses.replace(TrainConfig(), losses=dataclasses.replace(TrainConfig().losses, lambda_a=3.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimiser: {learning_rate: 1}", "Unknown key `optimiser`; did you mean `optimizer`?"),
        ("losses: {smoothness: 1}", "Unknown key `losses.smoothness`; expected one of adaptive"),
        ("losses: {lamda_a: 1}", "Unknown key `losses.lamda_a`; did you mean `lambda_a`?"),
        ("run: {max_training_steps: 1}", "Unknown key `run.max_training_steps`; did you mean `max_train_steps`?"),
        ("1: {}", "Unknown key `1`"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {train_batch_size: two}", "`run.train_batch_size` must be int, got 'two'."),
        ("run: {train_batch_size: 2.0}", "`run.train_batch_size` must be int, got 2.0."),
        ("run: {train_batch_size: true}", "`run.train_batch_size` must be int, got True."),
        ("run: {compile: 1}", "`run.compile` must be bool, got 1."),
        ("run: {max_train_steps: 1e3}", "`run.max_train_steps` must be int, got '1e3'."),
        (
            "run: {report_to: wandbee}",
            "`run.report_to` must be one of 'tensorboard', 'wandb', 'trackio', 'none', got 'wandbee'.",
        ),
        ("data: {domain_a: 2017}", "`data.domain_a` must be str, got 2017."),
        ("data: {load_size: 286}", "`data.load_size` must be tuple[int, int], got 286."),
        ("data: {load_size: [286, 286, 286]}", "`data.load_size` must be tuple[int, int], got [286, 286, 286]."),
        ("data: {load_size: [286, big]}", "`data.load_size` must be int, got 'big'."),
        ("optimizer: {learning_rate: fast}", "`optimizer.learning_rate` must be float, got 'fast'."),
        ("optimizer: {learning_rate: true}", "`optimizer.learning_rate` must be float, got True."),
        ("optimizer: {learning_rate: null}", "`optimizer.learning_rate` must be float, got None."),
        ("losses: 10", "`losses` must be a mapping, got 10."),
        ("losses:", "`losses` must be a mapping, got None."),
        ("generator: ResnetGenerator", "`generator` must be dict"),
        ("- a list", "Expected a mapping of groups in"),
        ("", "Expected a mapping of groups in"),
        ("losses: {lambda_a: ", "Expected YAML in"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {seed: 1}\nrun: {seed: 2}", "`run` stands there twice"),
        ("losses:\n  lambda_a: 1\n  lambda_a: 2", "`lambda_a` stands there twice"),
    ],
)
def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, text)
    assert f"line {text.count(chr(10)) + 1}, column" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {train_batch_size: 0}", "`train_batch_size` must be at least 1, got 0."),
        ("run: {gradient_accumulation_steps: 0}", "`gradient_accumulation_steps` must be at least 1, got 0."),
        ("run: {max_train_steps: 0}", "`max_train_steps` must be at least 1, got 0."),
        ("run: {logging_steps: 0}", "`logging_steps` must be at least 1, got 0."),
        ("run: {checkpoints_total_limit: 0}", "`checkpoints_total_limit` must be at least 1, got 0."),
        ("run: {seed: -1}", "`seed` must be at least 0, got -1."),
        ("data: {image_size: 0}", "`data.image_size` must be at least 1, got 0."),
        ("data: {image_size: 256, load_size: [200, 300]}", "`data.load_size` must be [smallest, largest]"),
        ("data: {load_size: [300, 286]}", "`data.load_size` must be [smallest, largest]"),
        (
            "data: {image_size: 28, load_size: [28, 28], image_size_b: 32, load_size_b: [30, 32]}",
            "`data.load_size_b` must",
        ),
        ("data: {validation_share: 1}", "`data.validation_share` must be in [0, 1), got 1.0."),
        ("data: {rotation: 181}", "`data.rotation` must be in [0, 180], got 181.0."),
        ("data: {posterize_bits: 9}", "`data.posterize_bits` must be in [0, 8], got 9."),
        ("data: {limit: 0}", "`data.limit` must be at least 1, got 0."),
        ("data: {domain_a: b}", "`data.domain_a` and `data.domain_b` must be two different names"),
        ("losses: {lambda_b: -1}", "`losses.lambda_b` must be at least 0, got -1.0."),
        ("losses: {lambda_b: .nan}", "`losses.lambda_b` must be at least 0, got nan."),
        ("optimizer: {learning_rate: -1.0}", "`optimizer.learning_rate` must be at least 0, got -1.0."),
        ("optimizer: {adam_beta2: 1}", "`optimizer.adam_beta2` must be in [0, 1), got 1.0."),
        ("lr_scheduler: {decay: -1}", "`lr_scheduler.decay` must be at least 0, got -1."),
        ("ema: {decay: 1}", "`ema.decay` must be in [0, 1), got 1.0."),
        ("init: {gain: -1}", "`init.gain` must be at least 0, got -1.0."),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(message)


def test_what_yaml_reads_otherwise_than_it_looks(tmp_path: Path) -> None:
    config = read(tmp_path, "{optimizer: {learning_rate: 2e-4}, run: {mixed_precision: no}, losses: {lambda_a: 7}}")
    assert config.optimizer.learning_rate == 0.0002  # YAML 1.1: a string, for want of a dot
    assert config.run.mixed_precision == "no"  # a boolean
    assert isinstance(config.losses.lambda_a, float)  # an integer


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a recipe at .*none.yaml, found no file"):
        TrainConfig.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="which cannot be read"):
        TrainConfig.from_yaml(tmp_path)
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"picture.yaml, which cannot be read"):
        TrainConfig.from_yaml(tmp_path / "picture.yaml")


def different(hint: Any, value: Any) -> Any:
    """Another valid value of that type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return next(choice for choice in args if choice != value)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            value = (300, 300) if typing.get_origin(args[0]) is tuple else None if args[0] is str else 0
        return different(args[0], value)
    if origin is tuple:
        return tuple(item + 100 for item in value)
    if origin is list:
        return [*value, 7 if args[0] is int else different(args[0], None)]
    match value:
        case bool():
            return not value
        case int():
            return value + 3 if hint is int else 0.125
        case float():
            return value / 2 + 0.001
        case dict():
            return value | {"norm_type": "batch", "block_out_channels": [4, 8]}
        case _:
            return f"été {value}: 'no'"


def test_every_field_survives_writing_and_reading(tmp_path: Path) -> None:
    config = TrainConfig()
    for group in dataclasses.fields(config):
        part = getattr(config, group.name)
        if isinstance(part, dict):
            setattr(config, group.name, different(dict, part))
            continue
        for name, hint in typing.get_type_hints(type(part)).items():
            setattr(part, name, different(hint, getattr(part, name)))
    config.evaluation.steps = 0  # not beside `epochs`
    config.data.input_range = [0.0, 4095.0]
    config.run.recipe_length, config.run.kept, config.run.dry_run = None, [], False  # of a command, never written
    assert not any(getattr(config, f.name) == getattr(TrainConfig(), f.name) for f in dataclasses.fields(config))
    assert read(tmp_path, config.to_yaml()) == config
    assert read(tmp_path, TrainConfig().to_yaml()) == TrainConfig()


def test_the_published_recipe_names_no_place_of_this_machine(tmp_path: Path) -> None:
    config = TrainConfig()
    config.data.a, config.data.test_b, config.run.output_dir = "/home/me/a", "/home/me/b", "/home/me/run"
    config.run.warm_start = config.run.resume_from_checkpoint = "/home/me/old"
    config.run.recipe = "/home/me/mine.yaml"
    assert "/home/me" not in config.without_places().to_yaml()
    assert config.without_places().run.recipe == "mine"
    assert config.data.a == "/home/me/a"


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_builds_its_networks(name: str) -> None:
    config = TrainConfig.from_yaml(recipe_path(name))
    networks = build_networks(config)
    assert [processor.size for processor in image_processors(config)] == [(s, s) for s in config.data.image_sizes]
    assert len(networks.generators) == len(networks.discriminators) == 2


def test_the_papers_recipe_is_the_papers() -> None:
    config = TrainConfig.from_yaml(recipe_path("summer2winter"))
    networks = build_networks(config)
    counts = [sum(p.numel() for p in network.parameters()) for network in vars(networks).values()]
    assert counts == [11_378_179, 11_378_179, 2_764_737, 2_764_737]
    assert (config.run.train_batch_size, config.run.num_train_epochs, config.run.image_pool_size) == (1, 200, 50)
    assert (config.data.image_size, config.data.load_size, config.data.resize_mode) == (256, (286, 286), "squash")
    assert (config.losses.lambda_a, config.losses.lambda_b, config.losses.lambda_identity) == (10, 10, 0.5)
    assert (config.optimizer.learning_rate, config.optimizer.adam_beta1, config.ema.decay) == (2e-4, 0.5, 0)
    assert (config.lr_scheduler.unit, config.lr_scheduler.constant, config.lr_scheduler.decay) == ("epoch", 100, 100)


def test_a_recipe_is_a_name_or_a_path(tmp_path: Path) -> None:
    assert recipe_path("summer2winter") == RECIPES / "summer2winter.yaml"
    mine = tmp_path / "mine.yaml"
    shutil.copy(RECIPES / "summer2winter.yaml", mine)
    assert TrainConfig.from_yaml(recipe_path(str(mine))) == TrainConfig.from_yaml(recipe_path("summer2winter"))
    with pytest.raises(ValueError, match=r"There is no recipe 'sumer2winter'. Did you mean 'summer2winter'\?"):
        recipe_path("sumer2winter")
    with pytest.raises(ValueError, match=r"There is no recipe 'xyz'. There are: .*summer2winter"):
        recipe_path("xyz")


def test_a_recipe_names_only_what_it_decides() -> None:
    for path in RECIPES.glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"a", "b", "test_a", "test_b"}.isdisjoint(recipe.get("data", {})), path.name
        assert {"output_dir", "resume_from_checkpoint", "recipe"}.isdisjoint(recipe.get("run", {})), path.name
