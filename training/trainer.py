"""The trainer: builds a run from its configuration, steps it, records it, saves it."""

import logging
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import nn
from tqdm.auto import tqdm

from cyclegan_hf import __version__
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.storage import whole_folder
from training import checkpointing
from training.builders import build_networks, image_processors, mixes_batch
from training.card import model_card
from training.config import TrainConfig
from training.data.sources import list_pictures
from training.data.streams import DomainDataset, DomainStream
from training.ema import EmaModel
from training.image_pool import ImagePool
from training.objectives import GeneratorObjective, Networks, discriminator_objective, generator_objective
from training.optimizers import learning_rate_factor, make_optimizer
from training.samples import choose_samples, save_grids
from training.tracking import Record
from training.warm_start import load_weights


logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]


class Trainer:
    """One CycleGAN training run (Zhu et al. 2017, section 4, in the official code's order).

    Args:
        config: The resolved configuration.
        checkpoint: The checkpoint to go on from.

    Raises:
        ValueError: If the configuration, the data or the checkpoint cannot work; nothing has been written then.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None = None) -> None:
        self.config = config
        run = config.run
        self.output_dir = Path(run.output_dir)
        self.pictures = {key: list_pictures(getattr(config.data, key), f"data.{key}") for key in ("a", "b")}
        self.sample_pictures = self._choose_samples()
        set_seed(run.seed)
        networks = build_networks(config)
        if run.warm_start and checkpoint is None:
            load_weights(networks, run.warm_start)

        self.accelerator = Accelerator(
            mixed_precision=run.mixed_precision,
            log_with=None if run.report_to == "none" else run.report_to,
            project_dir=self.output_dir,
            # Every process follows its own batch norm statistics: sent around, they would change between two forwards
            # of one backward.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.device = self.accelerator.device
        if self.device.type == "cpu":
            if self.accelerator.mixed_precision == "fp16":  # accelerate would train in fp32 without a word
                raise ValueError("`mixed_precision: fp16` needs a GPU; a processor takes bf16 or no.")
            processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            torch.set_num_threads(run.num_threads or max(1, len(os.sched_getaffinity(0)) // processes))
        self.together = not mixes_batch(networks)
        self.layout = torch.channels_last if run.channels_last else torch.contiguous_format
        self.raw = networks  # as they are saved: before anything wraps them
        for network in [*networks.generators, *networks.discriminators]:
            nn.Module.to(network.train(), self.device, memory_format=self.layout)
        self.ema = [EmaModel(generator, config.ema.decay) for generator in networks.generators if config.ema.decay > 0]
        self.optimizer_g = make_optimizer(networks.generators, config.optimizer)
        self.optimizer_d = make_optimizer(networks.discriminators, config.optimizer)
        self.pools = {
            "a": ImagePool(run.image_pool_size, 2 * run.seed),
            "b": ImagePool(run.image_pool_size, 2 * run.seed + 1),
        }

        processes = self.accelerator.num_processes
        self.batch_pictures = run.train_batch_size * run.gradient_accumulation_steps * processes
        self.steps_per_epoch = math.ceil(max(map(len, self.pictures.values())) / self.batch_pictures)
        self.total_steps = run.max_train_steps or run.num_train_epochs * self.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        positions = {"a": 0, "b": 0}
        if checkpoint is not None:
            positions = self._resume(checkpoint)
        self.streams = {
            key: DomainStream(
                DomainDataset(self.pictures[key], processor, config.data, run.seed, domain),
                run.train_batch_size,
                positions[key],
                self.accelerator.process_index,
                processes,
            )
            for domain, (key, processor) in enumerate(zip(("a", "b"), image_processors(config), strict=True))
        }
        self.networks = self._prepare(networks)
        self.optimizer_g = self.accelerator.prepare_optimizer(self.optimizer_g)
        self.optimizer_d = self.accelerator.prepare_optimizer(self.optimizer_d)

    def train(self) -> None:
        """Run to the last step and leave the finished pipeline in the output folder.

        Raises:
            FloatingPointError: If a loss term is NaN or infinite; the last checkpoint is kept.
            ValueError: If too many pictures cannot be read.
            OSError: If something cannot be written.
        """
        run = self.config.run
        self.output_dir.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            checkpointing.remove_leftovers(self.output_dir)
        self._start_trackers()
        record = Record(self.accelerator, self.output_dir, self.step)
        self._announce()
        started = time.monotonic() - self.seconds
        with tqdm(
            total=self.total_steps,
            initial=self.step,
            unit="step",
            desc="Training",
            mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds: a log file needs no ten lines a second
            disable=not self.accelerator.is_local_main_process,
        ) as bar:
            while self.step < self.total_steps:
                epoch = self.step // self.steps_per_epoch + 1
                factor = learning_rate_factor(self.config.lr_scheduler, epoch, self.step + 1)
                self._set_learning_rate(factor)
                batches = [self._next_batch() for _ in range(run.gradient_accumulation_steps)]

                objectives = self._generator_step(batches)
                losses = self._discriminator_step(batches, objectives)
                for ema, generator in zip(self.ema, self.raw.generators, strict=False):
                    ema.update_parameters(generator)

                self.step += 1
                self.seconds = time.monotonic() - started
                bar.update()
                last = self.step == self.total_steps
                logs = last or self._due(run.logging_steps)
                draws = self._due(run.validation_steps) or (last and run.validation_steps > 0)
                saves = self._due(run.checkpointing_steps)
                if logs or draws or saves or self.device.type == "cpu":  # elsewhere, a look at every step would stall
                    scalars = self._scalars(objectives, losses)
                if logs:
                    rate = factor * self.config.optimizer.learning_rate
                    record.scalars(self.step, scalars | {"learning_rate": rate})
                    bar.set_postfix({"cycle": f"{scalars['cycle_a'] + scalars['cycle_b']:.3f}"})
                if draws:
                    self._sample(record)
                if saves:
                    self.save()
        self._finish()

    def save(self) -> None:
        """Write a checkpoint of this step, and remove the oldest ones above the limit."""
        if self.accelerator.is_main_process:
            folder = self.output_dir / f"checkpoint-{self.step}"
            checkpointing.save_checkpoint(
                folder,
                pipeline=self,
                config=self.config.to_yaml(),
                run=self._run_facts(),
                networks=vars(self.raw),
                state={
                    "optimizer_g": self.optimizer_g.state_dict(),
                    "optimizer_d": self.optimizer_d.state_dict(),
                    "ema": [ema.state_dict() for ema in self.ema],
                    "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                    "pools": {key: pool.state_dict() for key, pool in self.pools.items()},
                    "random": checkpointing.random_state(),
                },
            )
            checkpointing.rotate(self.output_dir, self.config.run.checkpoints_total_limit)
        self.accelerator.wait_for_everyone()

    def save_pretrained(self, folder: Path) -> None:
        """Write the pipeline and its card, as a checkpoint's root holds them."""
        self.pipeline().save_pretrained(folder)
        card = model_card(self.config, self._run_facts(), {key: len(files) for key, files in self.pictures.items()})
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "recipe.yaml").write_text(self.config.without_places().to_yaml(), encoding="utf-8")

    def pipeline(self) -> CycleGANPipeline:
        """The pipeline as it stands: averaged generators where EMA is on."""
        generators = [ema.module for ema in self.ema] or self.raw.generators
        processor_a, processor_b = image_processors(self.config)
        return CycleGANPipeline(
            *generators,
            domain_a=self.config.data.domain_a,
            domain_b=self.config.data.domain_b,
            image_processor_a=processor_a,
            image_processor_b=processor_b,
        )

    def _generator_step(self, batches: list[Batch]) -> list[GeneratorObjective]:
        """One step of both generators, with the discriminators held still."""
        for discriminator in self.raw.discriminators:
            discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad()
        objectives = []
        for batch in batches:
            with self.accelerator.autocast():
                objective = generator_objective(
                    self.networks, batch["a"], batch["b"], self.config.losses, self.together
                )
            self.accelerator.backward(objective.loss / len(batches))
            objectives.append(objective._replace(loss=objective.loss.detach()))
        self.optimizer_g.step()
        for discriminator in self.raw.discriminators:
            discriminator.requires_grad_(True)
        return objectives

    def _discriminator_step(
        self, batches: list[Batch], objectives: list[GeneratorObjective]
    ) -> dict[str, torch.Tensor]:
        """One step of both discriminators, on the pictures that the generators drew before their own step."""
        self.optimizer_d.zero_grad()
        total = dict.fromkeys(("discriminator_a", "discriminator_b"), torch.zeros((), device=self.device))
        for batch, objective in zip(batches, objectives, strict=True):
            for key, fake in (("b", objective.fake_b), ("a", objective.fake_a)):
                judge = f"discriminator_{key}"
                with self.accelerator.autocast():
                    loss = discriminator_objective(
                        getattr(self.networks, judge),
                        batch[key],
                        self.pools[key].query(fake),
                        self.config.losses,
                        self.together,
                    )
                self.accelerator.backward(loss / len(batches))
                total[judge] = total[judge] + loss.detach() / len(batches)
        self.optimizer_d.step()
        return total

    def _next_batch(self) -> Batch:
        return {
            key: next(stream).to(self.device, non_blocking=True, memory_format=self.layout)
            for key, stream in self.streams.items()
        }

    def _set_learning_rate(self, factor: float) -> None:
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = factor * self.config.optimizer.learning_rate

    def _scalars(self, objectives: list[GeneratorObjective], losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """This step's terms as numbers, on every process."""
        terms = {"generator": [objective.loss for objective in objectives]}
        terms |= {name: [objective.terms[name] for objective in objectives] for name in objectives[0].terms}
        values = {name: torch.stack(parts).detach().mean() for name, parts in terms.items()} | losses
        numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
        wrong = [f"{name} = {number}" for name, number in numbers.items() if not math.isfinite(number)]
        if wrong:
            kept = checkpointing.checkpoint_folders(self.output_dir)
            last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise FloatingPointError(f"Step {self.step}: {', '.join(wrong)}; stopped, {last}.")
        return numbers

    def _sample(self, record: Record) -> None:
        if not self.accelerator.is_main_process:
            return
        with torch.compiler.set_stance("force_eager"):  # few pictures of many sizes: not worth compiling for
            grids = save_grids(
                self.pipeline(),
                self.sample_pictures,
                self.output_dir / "samples",
                self.step,
                max(self.config.data.load_size),
                identity=self.raw.generator_a2b.config.in_channels == self.raw.generator_a2b.config.out_channels,
            )
        record.images(self.step, grids)

    def _finish(self) -> None:
        """Leave the finished pipeline at the root of the output folder."""
        if self.accelerator.is_main_process:
            checkpointing.check_finite(vars(self.raw))
            with whole_folder(self.output_dir) as temporary:
                self.save_pretrained(temporary)
            logger.info("Done: %d steps. The pipeline is in %s.", self.step, self.output_dir)
        self.accelerator.end_training()

    def _prepare(self, networks: Networks) -> Networks:
        """The networks as they are called: compiled, and wrapped where there are several processes."""
        if self.config.run.compile:
            for network in [*networks.generators, *networks.discriminators]:
                network.compile()
        if self.accelerator.num_processes == 1:
            return networks
        return Networks(**{name: self.accelerator.prepare_model(network) for name, network in vars(networks).items()})

    def _resume(self, checkpoint: Path) -> dict[str, int]:
        """Take over a checkpoint; returns the streams' positions."""
        run, state = checkpointing.load_checkpoint(checkpoint, vars(self.raw))
        if len(state["ema"]) != len(self.ema):
            raise ValueError(
                f"`ema.decay` cannot be {self.config.ema.decay:g}: {checkpoint} was trained "
                f"{'with' if state['ema'] else 'without'} an average of the weights."
            )
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.optimizer_d.load_state_dict(state["optimizer_d"])
        for ema, saved in zip(self.ema, state["ema"], strict=True):
            ema.load_state_dict(saved)
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for key, pool in self.pools.items():
            pool.load_state_dict(state["pools"][key])
            pool.images = [image.to(self.device) for image in pool.images]
        checkpointing.set_random_state(state["random"])
        self.step, self.seconds = run["step"], run["seconds"]
        for name, now in self._circumstances().items():
            if run.get(name, now) != now:
                logger.warning(
                    "Resumed with other %s (%s, was %s): the result will differ from an unbroken run's.",
                    name,
                    now,
                    run[name],
                )
        return run["positions"]

    def _run_facts(self) -> dict[str, Any]:
        """What a checkpoint records of the run besides its weights."""
        return {
            "step": self.step,
            "epoch": self.step // self.steps_per_epoch + 1,
            "seconds": self.seconds,
            "positions": {key: stream.position for key, stream in self.streams.items()},
            **self._circumstances(),
            "cyclegan_hf": __version__,
        }

    def _circumstances(self) -> dict[str, Any]:
        """What must not change for a resumed run to end as an unbroken one."""
        run = self.config.run
        return {
            "pictures": {key: len(files) for key, files in self.pictures.items()},
            "batch_pictures": self.batch_pictures,
            "seed": run.seed,
            "image_pool_size": run.image_pool_size,
            "compile": run.compile,
            "channels_last": run.channels_last,
            "mixed_precision": self.accelerator.mixed_precision,
            "num_processes": self.accelerator.num_processes,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _choose_samples(self) -> dict[str, list[Path]]:
        """The first pictures of each domain, by name: of the test folders where there are any."""
        chosen = {}
        for key, direction in (("a", "a2b"), ("b", "b2a")):
            folder = getattr(self.config.data, f"test_{key}")
            files = self.pictures[key] if folder is None else list_pictures(folder, f"data.test_{key}")
            chosen[direction] = choose_samples(files, self.config.run.num_validation_images)
        return chosen

    def _start_trackers(self) -> None:
        if self.config.run.report_to != "none":
            self.accelerator.init_trackers("logs")

    def _announce(self) -> None:
        run = self.config.run
        logger.info(
            "%s pictures of %s, %s of %s; %d steps of %d pictures (%d an epoch) from step %d; %d process(es) on %s, "
            "%s%s%s, %d threads, pid %d",
            len(self.pictures["a"]),
            self.config.data.domain_a,
            len(self.pictures["b"]),
            self.config.data.domain_b,
            self.total_steps,
            self.batch_pictures,
            self.steps_per_epoch,
            self.step,
            self.accelerator.num_processes,
            self.device,
            {"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision),
            ", compiled" if run.compile else "",
            ", channels last" if run.channels_last else "",
            torch.get_num_threads(),
            os.getpid(),
        )
