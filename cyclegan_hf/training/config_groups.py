"""The groups of a run's configuration but for the data's and the Hub's. Field docstrings become `--help`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import tyro

from cyclegan_hf.training.limits import check_least


@dataclass(kw_only=True)
class RunConfig:
    """The run itself."""

    recipe: str | None = None
    """Name of a recipe in training/recipes, or the path of a YAML file."""
    output_dir: str = "runs/cyclegan"
    """Folder of the run: the finished pipeline at its root, checkpoints, logs and samples in it."""
    num_train_epochs: int = 200
    """Passes over the longer domain. The flag replaces a recipe's `max_train_steps`, and stretches the learning rate
    schedule in proportion, unless `--lr-scheduler` flags set it."""
    max_train_steps: int | None = None
    """Optimiser steps in all; overrides the epochs. The schedule is stretched in the same way."""
    steps_per_epoch: int | None = None
    """Steps that count as an epoch; unset, a pass over the longer domain. For streams of unknown length."""
    train_batch_size: int = 1
    """Pictures of each domain a step, on each process."""
    gradient_accumulation_steps: int = 1
    """Batches whose gradients are averaged before one optimiser step."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Arithmetic of the networks; unset, the launcher decides."""
    fast: bool = True
    """In a run of 300 steps or 10 epochs and more, on hardware that computes in bf16: that, compiled networks, and
    channels innermost on GPUs. `mixed_precision` stays where it is given, by the launcher too (its `no` is what it
    says unasked). `--no-fast` is fp32, neither compiled nor in another layout, whatever the recipe and the launcher
    say; other flags beside it win."""
    compile: bool = False
    """Compile the networks (one to three minutes at the start)."""
    channels_last: bool = False
    """Memory layout of the networks and pictures: channels innermost."""
    num_threads: int | None = None
    """Processor threads of each process (`accelerate launch` leaves one); unset, the cores are shared out."""
    ddp_timeout: int = 1800
    """Seconds that a process waits for the others before the run ends: longer than an evaluation and a save take."""
    seed: int = 0
    """Seed of the initialisation, the shuffles, the augmentation and the pools."""
    image_pool_size: int = 50
    """Past translations kept for each discriminator; 0 shows it the newest ones only."""
    image_pool_rule: Literal["half", "past"] = "half"
    """What a full pool shows: the new translation half of the time (the official code), or always a past one."""
    logging_steps: int = 10
    """Steps between two lines of the log."""
    validation_steps: int = 500
    """Steps between two sample grids; 0 draws none."""
    num_validation_images: int = 4
    """Pictures of each domain in a sample grid."""
    checkpointing_steps: int = 500
    """Steps between two checkpoints; 0 keeps only the finished pipeline."""
    checkpoints_total_limit: int | None = None
    """Checkpoints kept; the oldest go first."""
    resume_from_checkpoint: str | None = None
    """`latest`, or the path of a checkpoint of this run: goes on where it stopped. `auto` is `latest`, or a new run
    where there is no checkpoint yet."""
    allow_other_pictures: bool = False
    """Go on from a checkpoint although the sources' pictures are not those that the run began with."""
    warm_start: str | None = None
    """Weights to start from: a folder or Hub id of ours, or a folder of official `*_net_G_A.pth` files."""
    dry_run: bool = False
    """Print what would be trained (sources, parameters, steps, schedule), with the time per step and the memory of a
    few measured steps. Writes nothing."""
    report_to: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Tracker for scalars and samples. The JSONL log is always written."""
    recipe_length: tyro.conf.Suppress[tuple[Literal["epoch", "step"], int] | None] = None
    """What the schedule was written for, until it is stretched to the run's length."""
    kept: tyro.conf.Suppress[list[str]] = field(default_factory=list)
    """Settings that flags gave and `fast` leaves alone, until it has chosen."""

    def __post_init__(self) -> None:
        positive = [
            *("num_train_epochs", "max_train_steps", "steps_per_epoch", "train_batch_size"),
            *("gradient_accumulation_steps", "num_threads", "ddp_timeout", "logging_steps", "num_validation_images"),
            "checkpoints_total_limit",
        ]
        check_least(self, "", dict.fromkeys(positive, 1))
        natural = ["seed", "image_pool_size", "validation_steps", "checkpointing_steps"]
        check_least(self, "", dict.fromkeys(natural, 0))


@dataclass(kw_only=True)
class LossConfig:
    """The objective: which terms, and their weights. A weight of 0 leaves its term out."""

    adversarial: Literal["lsgan", "vanilla", "hinge", "wgan", "relativistic"] = "lsgan"
    """Least squares (Mao et al. 2017; the paper's), binary cross-entropy (Goodfellow et al. 2014), hinge (Lim & Ye
    2017), Wasserstein (Arjovsky et al. 2017; with `lambda_penalty`) or relativistic average (Jolicoeur-Martineau
    2018)."""
    lambda_gan: float = 1.0
    """Weight of the adversarial terms."""
    lambda_a: float = 10.0
    """Weight of the cycle A → B → A."""
    lambda_b: float = 10.0
    """Weight of the cycle B → A → B."""
    lambda_identity: float = 0.5
    """Weight of the identity terms as a share of `lambda_a` and `lambda_b`."""
    lambda_feature: float = 0.0
    """Weight of the distance between the discriminator's features of a translation and of a real picture."""
    feature_matching: Literal["elementwise", "mean"] = "elementwise"
    """Features compared place by place, or their means over the batch (Salimans et al. 2016, section 3.1)."""
    lambda_edge: float = 0.0
    """Weight of the distance between the Sobel gradients of a picture and of its translation."""
    lambda_color: float = 0.0
    """Weight of the distance between the low-pass colours of a picture and of its translation."""
    lambda_tv: float = 0.0
    """Weight of the total variation of the translations: against noise and pixel patterns, at the cost of texture."""
    lambda_quantization: float = 1.0
    """Weight of the codebook and commitment loss, where the generators quantise."""
    lambda_penalty: float = 0.0
    """Weight of the gradient penalty in the discriminators' loss (Gulrajani et al. 2017; 10 there)."""
    lambda_pairs: float = 0.0
    """Weight of the distance from the known target, for pictures of `data.pairs`; one direction a step, in turn."""
    lambda_source: float = 0.0
    """Share of the discriminators' lesson that is telling their domain's pictures from the other domain's real ones:
    what sets the domains apart, beside what gives a translation away. 0 leaves it out (the paper)."""
    discriminator_augmentation: list[Literal["flip", "light", "color", "translation", "cutout"]] = field(
        default_factory=list
    )
    """What is done at random to all pictures that a discriminator sees, where few would be learnt by heart: any of
    `flip`, `light`, `color`, `translation`, `cutout` (Zhao et al. 2020)."""
    discriminator_scale: float = 0.5
    """Factor on the discriminators' losses: 0.5 halves them (the paper), 1 leaves the sum of real and fake."""
    patch_share: float = 0.7
    """Weight of the patch scores where a discriminator has a global score too, which gets the rest."""
    identity_warmup_steps: int = 0
    """Steps over which the identity weight rises from 0."""
    cycle_warmup_steps: int = 0
    """Steps over which the cycle weights rise from 0."""
    adaptive: Literal["none", "dwa"] = "none"
    """`dwa`: the weights are multiplied by factors that follow how fast each term falls (Liu et al. 2019)."""

    def __post_init__(self) -> None:
        least = [f.name for f in dataclasses.fields(self) if f.type in ("float", "int", float, int)]
        check_least(self, "losses.", dict.fromkeys(least, 0))
        for name in ("patch_share", "lambda_source"):
            if getattr(self, name) > 1:
                raise ValueError(f"`losses.{name}` must be in [0, 1], got {getattr(self, name)}.")


@dataclass(kw_only=True)
class OptimizerConfig:
    """Adam, for the generators and for the discriminators."""

    learning_rate: float = 2e-4
    """Step size."""
    discriminator_learning_rate: float | None = None
    """Step size of the discriminators; unset, the generators'."""
    adam_beta1: float = 0.5
    """Decay of the first moment."""
    adam_beta2: float = 0.999
    """Decay of the second moment."""
    discriminator_adam_beta1: float | None = None
    """Decay of the discriminators' first moment; unset, the generators'."""
    discriminator_adam_beta2: float | None = None
    """Decay of the discriminators' second moment; unset, the generators'."""
    adam_epsilon: float = 1e-8
    """Added to the second moment's root."""
    separate: bool = False
    """An optimiser for each of the four networks; otherwise one for both generators and one for both discriminators.
    The arithmetic differs only where gradients are clipped: each optimiser's together."""
    max_grad_norm: float | None = None
    """Gradients of one optimiser are scaled down to this Euclidean norm; unset, never."""
    discriminators_first: bool = False
    """Step the discriminators before the generators; the paper's code does after."""
    discriminator_steps: int = 1
    """Discriminator steps for one generator step, each on pictures of its own."""

    def __post_init__(self) -> None:
        least = {"learning_rate": 0, "discriminator_learning_rate": 0, "adam_epsilon": 0, "max_grad_norm": 0}
        check_least(self, "optimizer.", least | {"discriminator_steps": 1})
        for name in ("adam_beta1", "adam_beta2", "discriminator_adam_beta1", "discriminator_adam_beta2"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`optimizer.{name}` must be in [0, 1), got {value}.")


@dataclass(kw_only=True)
class LrSchedulerConfig:
    """The learning rate over time, the same factor for all optimisers."""

    type: Literal["constant", "linear", "linear_epoch_start", "step", "cosine", "cosine_restarts", "plateau"] = (
        "linear"
    )
    """`linear`: constant, then linear to 0, as the official code until July 2020 and its copies of 2025.
    `linear_epoch_start`: as the code in between, which steps at an epoch's start: the decay begins one epoch early and
    the last epoch trains at rate 0. `step`: times `gamma` every `period`. `cosine`: `constant`, then half a cosine
    over `decay` down to `min_learning_rate`. `cosine_restarts`: half cosines of `period`, `period` × `period_factor`
    and so on (Loshchilov & Hutter 2017). `plateau`: times `gamma` when the evaluation metric has not improved
    `patience` times."""
    unit: Literal["epoch", "step"] = "epoch"
    """What `constant`, `decay` and `period` count."""
    constant: int = 100
    """Epochs (or steps) at the full rate."""
    decay: int = 100
    """Epochs (or steps) over which the rate falls."""
    period: int = 50
    """Epochs (or steps) between two steps, or of the first half cosine."""
    period_factor: int = 1
    """By what each half cosine is longer than the one before."""
    gamma: float = 0.1
    """Factor of a step down."""
    patience: int = 5
    """Evaluations without an improvement that `plateau` waits for."""
    min_learning_rate: float = 0.0
    """Where the cosines end, and what `plateau` does not go below; of the generators, in proportion elsewhere."""

    def __post_init__(self) -> None:
        check_least(self, "lr_scheduler.", {"constant": 0, "decay": 0, "period": 1, "period_factor": 1})
        check_least(self, "lr_scheduler.", {"gamma": 0, "patience": 0, "min_learning_rate": 0})


@dataclass(kw_only=True)
class EmaConfig:
    """The exponential moving average of the generators' weights: what is saved and shown, where it is on."""

    decay: float = 0.0
    """Decay a step; 0 is off (the paper), 0.999 averages over about the last 1,000 steps."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"`ema.decay` must be in [0, 1), got {self.decay}.")


@dataclass(kw_only=True)
class InitConfig:
    """Initialisation of all four networks."""

    type: Literal["normal", "xavier", "kaiming", "orthogonal", "torch"] = "normal"
    """Distribution of the weights; `torch` leaves each layer's own."""
    gain: float = 0.02
    """Standard deviation of `normal`, gain of `xavier` and `orthogonal`."""

    def __post_init__(self) -> None:
        check_least(self, "init.", {"gain": 0})


@dataclass(kw_only=True)
class EvaluationConfig:
    """Scores of the translations in training: they choose `best/`, feed `lr_scheduler.type: plateau`, end a run."""

    epochs: int = 0
    """Epochs between two evaluations, and one after the last step; 0 is off."""
    steps: int = 0
    """The same in steps, instead of `epochs`; 0 is off."""
    metric: Literal["kid", "fd", "gms", "fid", "swd"] = "kid"
    """Lower is better: kernel distance, Fréchet distance (`fid` of a file, `fd` of an EfficientNet) or sqrt(FD / IS)
    of the feature network's features, or sliced Wasserstein distance of patches (needs no network)."""
    patience: int | None = None
    """Evaluations without a better one after which the run ends; unset, it goes on to its last step."""
    split: Literal["test", "validation"] = "validation"
    """Whose images are translated and scored. The best by the test images has no test figure any more."""
    num_images: int = 100
    """Most pictures of each domain that are translated, and that they are compared with; spread evenly by name."""
    image_size: int | None = None
    """Height and width of the pictures that are scored; unset, those of training."""
    feature_network: str = "efficientnet-lite2"
    """Whose features are compared: `efficientnet-lite2` or `efficientnet-lite0` (extra `features`), `none`, or any
    network's TorchScript file: images `(B, 3, H, W)` in [0, 1] to features and logits. Discriminators train against
    Lite0, so choose by another."""
    inception: str | None = None
    """FID's Inception instead: `auto` fetches its published weights (96 MB), or their file."""
    initial: bool = False
    """Score the weights that the run starts from too."""

    def __post_init__(self) -> None:
        least = {"epochs": 0, "steps": 0, "patience": 1, "num_images": 2, "image_size": 1}
        check_least(self, "evaluation.", least)
        if self.epochs and self.steps:
            raise ValueError(
                f"`evaluation.epochs` and `evaluation.steps` exclude one another, got {self.epochs} and {self.steps}."
            )


@dataclass(kw_only=True)
class StageConfig:
    """Stages: runs one after the other, each from the best weights of the one before. One entry a stage."""

    batch_sizes: list[int] = field(default_factory=list)
    """`train_batch_size` of each stage; no entry, no stages."""
    epochs: list[int] = field(default_factory=list)
    """`num_train_epochs` of each stage; `max_train_steps` cuts each one short."""
    evaluation_epochs: list[int] = field(default_factory=list)
    """`evaluation.epochs` of each stage."""
    seed: int | None = None
    """Seed of the first stage, from which the others' are drawn; unset, `seed`."""
    metric: Literal["kid", "fd", "gms", "fid", "swd"] = "kid"
    """What the best is chosen by; see `evaluation.metric`."""
    keep_start: bool = False
    """From the second stage on, the weights that a stage starts from are a candidate too."""

    def __post_init__(self) -> None:
        lists = {name: getattr(self, name) for name in ("batch_sizes", "epochs", "evaluation_epochs")}
        if len({len(values) for values in lists.values()}) > 1:
            names, lengths = ", ".join(f"`stages.{name}`" for name in lists), [len(v) for v in lists.values()]
            raise ValueError(f"{names} must have one entry a stage each, got {', '.join(map(str, lengths))} entries.")
        for name, values in lists.items():
            if any(value < 1 for value in values):
                raise ValueError(f"`stages.{name}` must hold numbers of at least 1, got {values}.")
        check_least(self, "stages.", {"seed": 0})
