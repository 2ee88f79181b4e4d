"""The typed configuration of a run, and the strict YAML recipes that fill it.

A recipe is a YAML file with the groups of `TrainConfig`. Command-line flags override it: the run's own fields are flat
(`--max-train-steps`), the others dotted (`--data.a`). Network blocks are diffusers `config.json` fragments and are
edited in the recipe, not by flag.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

from cyclegan_hf.evaluation.validation_split import VALIDATION_SHARE
from cyclegan_hf.training.config_groups import (
    EmaConfig,
    EvaluationConfig,
    InitConfig,
    LossConfig,
    LrSchedulerConfig,
    OptimizerConfig,
    RunConfig,
    StageConfig,
)
from cyclegan_hf.training.data.config import DataConfig
from cyclegan_hf.training.hub_config import HubConfig
from cyclegan_hf.training.strict_yaml import build, parse, plain


_HOMES = [Path(__file__).parent, Path(__file__).parents[2] / "training"]
RECIPES = next((home / "recipes" for home in _HOMES if (home / "recipes").is_dir()), _HOMES[0] / "recipes")
"""The recipes: in an installed package beside this module, in a clone in `training/`."""


def _resnet() -> dict[str, Any]:
    return {"_class_name": "ResnetGenerator"}


def _patch() -> dict[str, Any]:
    return {"_class_name": "PatchDiscriminator"}


@dataclass(kw_only=True)
class TrainConfig:
    """Train a CycleGAN on two unpaired domains.

    For example:
        accelerate launch training/train.py --recipe few_images --data.a A --data.b B --output-dir runs/mine --dry-run
        accelerate launch training/train.py --recipe few_images --data.a A --data.b B --output-dir runs/mine
        accelerate launch training/train.py --output-dir runs/mine --resume-from-checkpoint latest

    Without a clone, `-m cyclegan_hf.training` takes the place of `training/train.py`.

    The flags to know first:
        --recipe NAME                    few_images for 100 to 1,000 images per domain, summer2winter for the paper's
        --data.a SOURCE, --data.b SOURCE folders of images (or archives, Hub datasets: docs/data-sources.md)
        --output-dir FOLDER              the finished pipeline, checkpoints, logs and sample grids
        --dry-run                        print steps, time per step and memory; train nothing
        --max-train-steps N              a shorter or longer run; the schedule scales with it
        --data.image-size N              side of the training crops: less memory if smaller
        --train-batch-size N             images of each domain per step
        --evaluation.steps N             score every N steps and keep the best weights in best/
        --resume-from-checkpoint latest  continue an interrupted run

    Networks are set in the recipe; every other setting is a flag below.
    """

    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr_scheduler: LrSchedulerConfig = field(default_factory=LrSchedulerConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    init: InitConfig = field(default_factory=InitConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    stages: StageConfig = field(default_factory=StageConfig)
    hub: Annotated[HubConfig, tyro.conf.arg(name="")] = field(default_factory=HubConfig)
    generator: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=_resnet)
    """Both generators, as a `config.json` fragment: `_class_name` and arguments."""
    generator_b2a: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)
    """Arguments of the generator from B to A that differ from `generator`; the channels are swapped."""
    discriminator: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=_patch)
    """Both discriminators, likewise."""

    @classmethod
    def from_yaml(cls, path: str | Path) -> "TrainConfig":
        """Read a recipe.

        Args:
            path: A YAML file with some of this class's groups; what it does not name keeps its default.

        Raises:
            ValueError: For an unknown key (with the nearest valid name), a value of the wrong type or out of range,
                or no YAML mapping.
        """
        try:
            content = parse(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"Expected a recipe at {path}, found no file.") from error
        except (OSError, UnicodeError) as error:
            raise ValueError(f"Expected a recipe at {path}, which cannot be read: {error}.") from error
        except yaml.YAMLError as error:
            raise ValueError(f"Expected YAML in {path}: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise ValueError(f"Expected a mapping of groups in {path}, got {type(content).__name__}.")
        data = content.get("data")
        if isinstance(data, dict) and "load_size" not in data and isinstance(size := data.get("image_size"), int):
            content["data"] = data | {"load_size": scaled_load_size(DataConfig(), size)}
        return build(cls, content)

    def without_places(self) -> "TrainConfig":
        """Return the same settings without the folders of this machine: what may be published."""
        run = dataclasses.replace(
            self.run,
            recipe=self.run.recipe and Path(self.run.recipe).stem,
            output_dir=RunConfig().output_dir,
            resume_from_checkpoint=None,
            allow_other_pictures=False,
            warm_start=None,
        )
        data = dataclasses.replace(self.data, a=None, b=None, test_a=None, test_b=None, pairs=None)
        name = self.evaluation.feature_network
        if Path(name).suffix:  # a file of this machine, and no published network
            name = EvaluationConfig().feature_network
        evaluation = dataclasses.replace(self.evaluation, feature_network=name, inception=None)
        return dataclasses.replace(self, run=run, data=data, evaluation=evaluation, hub=HubConfig())

    def to_yaml(self) -> str:
        """Return the whole configuration as YAML that `from_yaml` reads back."""
        groups = plain(dataclasses.asdict(self))
        for name in ("recipe_length", "kept", "dry_run"):  # of a command, and settled before anything is saved
            del groups["run"][name]
        return yaml.safe_dump(groups, sort_keys=False, allow_unicode=True, width=119)


def scaled_load_size(data: DataConfig, image_size: int) -> list[int]:
    """Return `load_size` in `data`'s proportion to the crops, for crops of another size: they are to show as much."""
    return [round(side * image_size / data.image_size) for side in data.load_size]


def with_validation_split(config: TrainConfig) -> TrainConfig:
    """Return the configuration with what `data.validation_share` is where it is not given.

    Streams, which hold nothing out unasked, are scored by their test images.
    """
    evaluation, data = config.evaluation, config.data
    if data.validation_share is not None:
        return config
    chooses = evaluation.epochs or evaluation.steps or evaluation.initial or config.stages.epochs
    by_validation = bool(chooses) and evaluation.split == "validation"
    if by_validation and data.streaming:
        return dataclasses.replace(config, evaluation=dataclasses.replace(evaluation, split="test"))
    share = VALIDATION_SHARE if by_validation else 0.0
    return dataclasses.replace(config, data=dataclasses.replace(data, validation_share=share))


def recipe_path(name: str) -> Path:
    """Return the file of a recipe, from its name or its path.

    Raises:
        ValueError: If there is no such recipe; the message names the nearest one.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in RECIPES.glob("*.yaml"))
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
        raise ValueError(f"There is no recipe {name!r}. {hint}")
    return path
