"""The trainer: steps a run, records it, saves it."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

import torch
from tqdm.auto import tqdm

from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.errors import one_line
from cyclegan_hf.training import checkpointing
from cyclegan_hf.training.data.bad_images import share_bad_pictures
from cyclegan_hf.training.distributed import means_over_processes
from cyclegan_hf.training.epochs import summary
from cyclegan_hf.training.interruption import Interrupted, Interruption
from cyclegan_hf.training.optimizers import learning_rate_factor
from cyclegan_hf.training.record.card import complete_card
from cyclegan_hf.training.record.logs import Record, in_console, places, read_epochs, start_trackers
from cyclegan_hf.training.record.run_report import flat, metrics_document, out_of_patience, read_best, write_report
from cyclegan_hf.training.record.samples import save_grids
from cyclegan_hf.training.run import Run
from cyclegan_hf.training.run_environment import announcement
from cyclegan_hf.training.run_lock import run_lock
from cyclegan_hf.training.schedule import schedule_in_words, steps_without_rate


logger = logging.getLogger(__name__)


class Trainer(Run):
    """One CycleGAN training run (Zhu et al. 2017, section 4, in the official code's order).

    Args:
        config: The resolved configuration.
        checkpoint: The checkpoint to go on from.

    Raises:
        ValueError: If the configuration, the data or the checkpoint cannot work; nothing has been written then.
    """

    def train(self) -> None:
        """Run to the last step and leave the finished pipeline in the output folder.

        Raises:
            FloatingPointError: If a loss term is NaN or infinite; the last checkpoint is kept.
            ValueError: If too many pictures cannot be read.
            OSError: If something cannot be written.
        """
        with self.publisher:
            self._train()

    def _train(self) -> None:
        run = self.config.run
        self.publisher.open()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with run_lock(self.output_dir, wanted=self.accelerator.is_main_process):
            if self.accelerator.is_main_process:
                checkpointing.remove_leftovers(self.output_dir, begins=self.step == 0)
                self.publisher.catch_up(checkpointing.checkpoint_folders(self.output_dir))
            start_trackers(self.accelerator, run, self.step)
            record = Record(self.accelerator, self.output_dir, self.step)
            self._announce()
            if self.step == 0 and self.config.evaluation.initial:
                record.epoch(0, 0, {"evaluation": self._evaluate(record, 0)})
            with self._saved_on_error(), Interruption() as interruption:
                self._loop(record, interruption)
                self._finish()
            self.publisher.finish()

    def _announce(self) -> None:
        """Say what the run will do, and where it writes."""
        counts = (self.total_steps, self.batch_pictures, self.steps_per_epoch, self.step)
        logger.info("%s", announcement(self.config, self.accelerator, self._lengths(), *counts))
        logger.info("%s", schedule_in_words(self.config, self.total_steps, self.steps_per_epoch))
        if wasted := steps_without_rate(self.config.lr_scheduler, self.total_steps, self.steps_per_epoch):
            logger.warning(
                "The last %d of %d steps train at learning rate 0: `--lr-scheduler.constant` and "
                "`--lr-scheduler.decay` are shorter than the run.",
                *(wasted, self.total_steps),
            )
        logger.info("%s", places(self.config.run))

    def _loop(self, record: Record, interruption: Interruption) -> None:
        """Step to the last step, or until the evaluation's patience or a signal ends the run."""
        run = self.config.run
        full_rate = self.config.optimizer.learning_rate
        started = time.monotonic() - self.seconds
        with (
            closing(self.streams["a"]),
            closing(self.streams["b"]),
            tqdm(
                total=self.total_steps,
                initial=self.step,
                unit="step",
                desc="Training",
                mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds: a log file needs no ten lines a second
                disable=not self.accelerator.is_local_main_process,
            ) as bar,
        ):
            while self.step < self.total_steps:
                epoch = self.step // self.steps_per_epoch + 1
                factor = learning_rate_factor(self.config.lr_scheduler, epoch, self.step + 1, full_rate)
                factor *= self.plateau.factor if self.plateau else 1.0
                self._positions = {key: stream.position for key, stream in self.streams.items()}
                values = self.update(self.step + 1, factor, self.next_batch)
                for ema, generator in zip(self.ema, self.raw.generators, strict=False):
                    ema.update_parameters(generator)
                self.watch.add(values)
                self.step += 1
                self._positions = None
                self.seconds = time.monotonic() - started
                bar.update()
                last = self.step == self.total_steps
                logs = last or self._due(run.logging_steps)
                draws = self._due(run.validation_steps) or (last and run.validation_steps > 0)
                saves = self._due(run.checkpointing_steps)
                if logs:
                    values = means_over_processes(self.accelerator, values)
                    share_bad_pictures(self.streams)
                if logs or draws or saves or self.device.type == "cpu":  # elsewhere, a look at every step would stall
                    scalars = checkpointing.finite_numbers(values, self.step, self.output_dir)
                if logs:
                    record.scalars(self.step, scalars | {"learning_rate": factor * full_rate})
                    bar.set_postfix(in_console(scalars))
                if draws:
                    self._sample(record)
                    self.watch.look(self.step, self.pipeline())
                stopped = self._end_epoch(record, epoch, last)
                if saves:
                    self.save(f"checkpoint-{self.step}")
                if stopped and not last:
                    if run.validation_steps > 0 and not draws:
                        self._sample(record)
                    break
                if not last and (number := interruption.agreed(self.accelerator, self.step)):
                    self._stop(number, saved=saves)

    def save(self, name: str, metrics: dict[str, Any] | None = None) -> None:
        """Write a checkpoint of this step, and remove the oldest numbered ones above the limit."""
        share_bad_pictures(self.streams)
        processes = checkpointing.of_all_processes(self._process_state())
        if self.accelerator.is_main_process:
            self._write_checkpoint(name, processes, metrics)
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(
        self, name: str, processes: list[dict[str, Any]], metrics: dict[str, Any] | None = None
    ) -> None:
        checkpointing.save_checkpoint(
            self.output_dir / name,
            pipeline=self,
            config=self.config.to_yaml(),
            run=self._run_facts(),
            networks=vars(self.raw),
            state={
                "step": self.update.state_dict(),
                "ema": [ema.state_dict() for ema in self.ema],
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                "plateau": self.plateau.state_dict() if self.plateau else None,
                "processes": processes,
            },
            metrics=metrics,
        )
        self.publisher.checkpoint(self.output_dir / name)
        checkpointing.rotate(self.output_dir, self.config.run.checkpoints_total_limit)

    @contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        """Leave a checkpoint of the last whole step, whatever error ends the run in this context.

        The main process writes it alone: the others may be gone, or wait somewhere else. So it lacks their pools and
        random numbers. Losses that are not finite are left out: the weights behind them are no good either.
        """
        try:
            yield
        except FloatingPointError:
            raise
        except Exception as error:
            folder = self.output_dir / f"checkpoint-{self.step}"
            if self.accelerator.is_main_process and self.step > 0 and not folder.exists():
                state = self._process_state()
                for stream in state["streams"].values():
                    stream["bad"]["faults"] = {}  # the resumed run counts anew: what could not be read may be back
                try:
                    self._write_checkpoint(folder.name, [state])
                except Exception as second:  # a full disk, a lost GPU: the first error is the one to tell
                    logger.warning("Step %d could not be saved: %s", self.step, one_line(second, 300))
                else:
                    logger.warning(
                        "%s: saved step %d in %s; go on with `--resume-from-checkpoint latest`.",
                        *(type(error).__name__, self.step, folder),
                    )
            raise

    def _sample(self, record: Record) -> None:
        if not self.accelerator.is_main_process:
            return
        with torch.compiler.set_stance("force_eager"):  # few pictures of many sizes: not worth compiling for
            grids = save_grids(
                self.pipeline(),
                self.sample_pictures,
                self.output_dir / "samples",
                self.step,
                max(map(max, self.config.data.load_sizes)),
                identity=self.raw.generator_a2b.config.in_channels == self.raw.generator_a2b.config.out_channels,
            )
        record.images(self.step, grids)

    def _end_epoch(self, record: Record, epoch: int, last: bool) -> bool:
        """Record what an epoch came to, and score the weights, where either is due; returns whether to end the run."""
        whole = self.step % self.steps_per_epoch == 0
        groups = self._epoch_groups(whole) if whole or last else {}
        evaluation, stops = self.config.evaluation, False
        by_epoch = evaluation.epochs > 0 and (last or (whole and epoch % evaluation.epochs == 0))
        if by_epoch or self._due(evaluation.steps) or (last and evaluation.steps > 0):
            scores = self._evaluate(record, epoch)
            stops = out_of_patience(evaluation, self.output_dir, self.step)
            if stops and not groups:
                groups = self._epoch_groups(whole)
            groups["evaluation"] = scores
        if groups:
            record.epoch(self.step, epoch, groups)
        return stops

    def _epoch_groups(self, whole: bool) -> dict[str, dict[str, Any]]:
        """Return the record of an epoch, or of its part so far."""
        groups: dict[str, dict[str, Any]] = {}
        for split, means in self.watch.end_epoch(self.step, whole, self.pipeline()).items():
            groups |= {split: summary(means, self.config.losses, self.step), f"{split}_terms": means}
        return groups | {"weights": self.update.end_epoch() if whole else {}}

    def _evaluate(self, record: Record, epoch: int) -> dict[str, Any]:
        """Score the pipeline as it stands, and keep it as `best/` where none before was better."""
        scores, metric = self.watch.score(self.pipeline()), self.config.evaluation.metric
        record.scalars(self.step, flat(scores))
        if self.plateau:
            self.plateau.update(scores[metric])
        best = read_best(self.output_dir)
        better = best is None or scores[metric] < best[metric]
        logger.info("Epoch %d: %s %.4g%s.", epoch, metric, scores[metric], ", the best so far" if better else "")
        self.accelerator.wait_for_everyone()  # all have read what is written now
        if better:
            images = self.watch.scored_images()
            document = metrics_document(self.watch.protocol(), scores, self.step, epoch, True, images)
            self.save(checkpointing.BEST_FOLDER, document)
        return scores

    def _stop(self, number: int, saved: bool) -> NoReturn:
        """Leave a checkpoint of this step, and the loop."""
        if not saved:
            self.save(f"checkpoint-{self.step}")
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.publisher.wait()
        self.accelerator.wait_for_everyone()
        place = f"step {self.step} of {self.total_steps}, which is saved"
        raise Interrupted(f"Stopped at {place}: go on with `--resume-from-checkpoint latest`.", number)

    def _finish(self) -> None:
        """Leave the finished pipeline, with its report, at the root of the output folder."""
        checkpointing.check_finite(vars(self.raw))
        pipeline = self.pipeline()
        if self.watch.recent.count > 0:
            self.watch.look(self.step, pipeline)
        if self.accelerator.is_main_process:
            with whole_folder(self.output_dir) as temporary:
                self.save_pretrained(temporary)
                write_report(temporary, self.config, self.watch, read_epochs(self.output_dir), self.step, pipeline)
                complete_card(temporary, self.config, pipeline, self.sample_pictures)
            for warning in self.watch.signals.unsaid():
                logger.warning("At the end, %s.", warning)
            logger.info("Done: %d steps. The pipeline is in %s.", self.step, self.output_dir)
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.wait_for_everyone()

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0
