"""A run: all its parts, built from its configuration or a checkpoint, and what a checkpoint keeps of them."""

import logging
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import nn

from cyclegan_hf import __version__
from cyclegan_hf.errors import one_line
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.training import checkpointing
from cyclegan_hf.training.builders import build_networks, image_processors, mixes_batch, num_channels
from cyclegan_hf.training.config import TrainConfig, with_validation_split
from cyclegan_hf.training.data.normalization import Statistics, dataset_statistics
from cyclegan_hf.training.data.order import Share
from cyclegan_hf.training.data.pairs import Pairs, find_pairs
from cyclegan_hf.training.data.sources import load_sources, without_backgrounds
from cyclegan_hf.training.data.streams import open_stream
from cyclegan_hf.training.distributed import (
    check_agreement,
    make_accelerator,
    warn_of_batch_norm,
)
from cyclegan_hf.training.ema import EmaModel
from cyclegan_hf.training.epochs import known_steps_in_epoch, steps_in_epoch
from cyclegan_hf.training.objectives import Networks
from cyclegan_hf.training.optimizers import Plateau
from cyclegan_hf.training.record.card import write_card
from cyclegan_hf.training.record.hub_push import Publisher
from cyclegan_hf.training.record.monitor import Watch
from cyclegan_hf.training.record.provenance import Origins
from cyclegan_hf.training.record.samples import sample_pictures
from cyclegan_hf.training.run_environment import (
    check_checkpoint,
    circumstances,
    compare_circumstances,
    differences,
    inventory,
)
from cyclegan_hf.training.schedule import fit_schedule
from cyclegan_hf.training.scores import check_evaluation
from cyclegan_hf.training.step import Batch, TrainingStep
from cyclegan_hf.training.warm_start import load_weights


logger = logging.getLogger(__name__)


class Run:
    """The parts of a training run, and their state.

    Args:
        config: The resolved configuration.
        checkpoint: The checkpoint to go on from.

    Attributes:
        config: The configuration, with its validation split.
        output_dir: The folder of the run.
        sources: The images of both domains; `train`, `validation` and `test`.
        raw: The four networks as they are saved.
        ema: The averaged generators; empty where EMA is off.
        update: One training step.
        watch: Means of the losses, scores and failure checks.
        publisher: Pushes to the Hub.
        processors: The image processors of A and B.
        streams: The endless batches of both domains, by `a` and `b`.
        step: Steps made.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the whole run.

    Raises:
        ValueError: If the configuration, the data or the checkpoint cannot work; nothing has been written then.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None = None) -> None:
        self.config = config = with_validation_split(config)
        run = config.run
        self.output_dir = Path(run.output_dir)
        self.sources = load_sources(config.data)
        self.origins = Origins(config)
        check_evaluation(config, self.sources)
        set_seed(run.seed % 2**32)  # NumPy takes no larger one
        networks = build_networks(config)
        if run.warm_start and checkpoint is None:
            load_weights(networks, run.warm_start)
        self.sources = without_backgrounds(self.sources, config.data)  # may take long: after what can fail at once
        self.pictures = self.sources.train
        self.sample_pictures = sample_pictures(self.sources, run.num_validation_images)

        self.accelerator = make_accelerator(run)
        self.device = self.accelerator.device
        self.layout = torch.channels_last if run.channels_last else torch.contiguous_format
        self.raw = networks  # as they are saved: before anything wraps them
        for network in [*networks.generators, *networks.discriminators]:
            nn.Module.to(network.train(), self.device, memory_format=self.layout)
        self.ema = [EmaModel(generator, config.ema.decay) for generator in networks.generators if config.ema.decay > 0]
        self.update = TrainingStep(
            self._prepare(networks), networks, config, self.accelerator, together=not mixes_batch(networks)
        )
        self.watch = Watch(config, self.sources, networks, self.accelerator)
        self.publisher = Publisher(config.hub, self.output_dir, self.accelerator.is_main_process)
        schedule, rate = config.lr_scheduler, config.optimizer.learning_rate
        self.plateau = Plateau(schedule, rate) if schedule.type == "plateau" else None

        processes = self.accelerator.num_processes
        self.batch_pictures = run.train_batch_size * run.gradient_accumulation_steps * processes
        if stretched := fit_schedule(config, known_steps_in_epoch(config, self.sources, self.batch_pictures)):
            logger.info("%s", stretched)
        self.steps_per_epoch = steps_in_epoch(config, self.sources, self.batch_pictures)
        self.total_steps = run.max_train_steps or run.num_train_epochs * self.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        positions = {"a": 0, "b": 0}
        self._positions: dict[str, int] | None = None  # of the streams before a step that is not whole yet
        self._stream_states: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
        self.statistics: Statistics | None = None
        if checkpoint is not None:
            try:
                positions = self._resume(checkpoint)
            except (KeyError, TypeError, AttributeError, IndexError) as error:  # of the files' inner parts
                raise ValueError(
                    f"{checkpoint} cannot be resumed from: its files are not a run's "
                    f"({type(error).__name__}: {one_line(error, 200)})."
                ) from error
        elif config.data.normalization == "dataset":
            self.statistics = dataset_statistics(self.pictures, config.data, num_channels(config))
        self.processors = image_processors(config, self.statistics)
        rank = self.accelerator.process_index
        share = Share(rank=rank, num_processes=processes, batch_size=run.train_batch_size)
        self.streams = {
            key: open_stream(
                self.sources, key, processor, config.data, run.seed, share, positions[key], self._stream_states[key]
            )
            for key, processor in zip(("a", "b"), self.processors, strict=True)
        }
        self.pairs = (
            Pairs(find_pairs(Path(config.data.pairs)), config.data.image_size, run.seed, rank)
            if config.data.pairs and config.losses.lambda_pairs > 0
            else None
        )
        check_agreement(config, self.step, self.sources.fingerprint)
        warn_of_batch_norm(self.accelerator, networks, run)

    def save_pretrained(self, folder: Path) -> None:
        """Write the pipeline and its card, as a checkpoint's root holds them."""
        self.pipeline().save_pretrained(folder)
        signals = self.watch.signals.present()
        write_card(folder, self.config, self._run_facts(), self._lengths(), signals, self.origins)

    def pipeline(self) -> CycleGANPipeline:
        """Return the current pipeline, with averaged generators if EMA is on."""
        generators = [ema.module for ema in self.ema] or self.raw.generators
        processor_a, processor_b = self.processors
        return CycleGANPipeline(
            *generators,
            domain_a=self.config.data.domain_a,
            domain_b=self.config.data.domain_b,
            image_processor_a=processor_a,
            image_processor_b=processor_b,
        )

    def next_batch(self) -> Batch:
        """Return the next images of both domains, and of a pair where there are some, on this process's device."""
        batch = self.pairs.draw(self.streams["a"].position) if self.pairs is not None else {}
        batch |= {key: next(stream) for key, stream in self.streams.items()}
        return {
            key: pictures.to(self.device, non_blocking=True, memory_format=self.layout)
            for key, pictures in batch.items()
        }

    def _prepare(self, networks: Networks) -> Networks:
        """Compile the networks, and wrap them for several processes."""
        if self.config.run.compile:
            for network in [*networks.generators, *networks.discriminators]:
                # Few shapes, each compiled for itself: a second picture size, as of unequal domains, would otherwise
                # be made symbolic, and simplifying the padded shapes takes longer than any training step.
                network.compile(dynamic=False)
        if self.accelerator.num_processes == 1:
            return networks
        return Networks(**{name: self.accelerator.prepare_model(network) for name, network in vars(networks).items()})

    def _resume(self, checkpoint: Path) -> dict[str, int]:
        """Take over a checkpoint; returns the streams' positions."""
        run, state = checkpointing.load_checkpoint(checkpoint, vars(self.raw))
        check_checkpoint(checkpoint, run, state, self.config)
        self.statistics = run.get("statistics")
        self.origins.base_model = run.get("base_model", self.origins.base_model)  # its folder may be gone by now
        self.update.load_state_dict(state["step"])
        for ema, saved in zip(self.ema, state["ema"], strict=True):
            ema.load_state_dict(saved)
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.plateau and state["plateau"]:
            self.plateau.load_state_dict(state["plateau"])
        self._stream_states = {key: [process["streams"][key] for process in state["processes"]] for key in ("a", "b")}
        if (rank := self.accelerator.process_index) < len(state["processes"]):
            self._load_process_state(state["processes"][rank])
        self.step, self.seconds = run["step"], run["seconds"]
        began = TrainConfig.from_yaml(checkpoint / checkpointing.STATE_FOLDER / checkpointing.CONFIG_NAME)
        changes = differences(self.config, began)
        compare_circumstances(run, self._circumstances(), self.config.run.allow_other_pictures, changes)
        self.config.run.allow_other_pictures = False  # said of this checkpoint, not of the next one
        return run["positions"]

    def _process_state(self) -> dict[str, Any]:
        """Return the state of this process alone, which has seen its own images."""
        return {
            "step": self.update.process_state(),
            "watch": self.watch.state_dict(),
            "buffers": {name: dict(network.named_buffers()) for name, network in vars(self.raw).items()},
            "random": checkpointing.random_state(),
            "streams": {key: stream.state_dict() for key, stream in self.streams.items()},
        }

    def _load_process_state(self, state: dict[str, Any]) -> None:
        self.update.load_process_state(state["step"], self.device)
        self.watch.load_state_dict(state["watch"])
        for name, buffers in state["buffers"].items():
            for key, buffer in getattr(self.raw, name).named_buffers():
                buffer.copy_(buffers[key])
        checkpointing.set_random_state(state["random"])

    def _run_facts(self) -> dict[str, Any]:
        """Return what a checkpoint records of the run besides its weights."""
        return {
            "step": self.step,
            "epoch": self.step // self.steps_per_epoch + 1,
            "seconds": self.seconds,
            "positions": self._positions or {key: stream.position for key, stream in self.streams.items()},
            "statistics": self.statistics,
            "base_model": self.origins.base_model,
            **self._circumstances(),
            **inventory(self.device, self.raw),
            "cyclegan_hf": __version__,
        }

    def _circumstances(self) -> dict[str, Any]:
        return circumstances(self.config, self.accelerator, self.sources, self.batch_pictures)

    def _lengths(self) -> dict[str, int | None]:
        return {key: self.sources.length(key) for key in ("a", "b")}
