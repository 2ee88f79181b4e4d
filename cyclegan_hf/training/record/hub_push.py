"""Pushes of a run to the Hub, beside its training: they neither stop it nor wait in it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.errors import HubError, ask_hub
from cyclegan_hf.hub.upload import Target, open_repo
from cyclegan_hf.pipelines.push import MARKER, push_pipeline
from cyclegan_hf.saved_format import INDEX_NAME
from cyclegan_hf.training.hub_config import HubConfig


logger = logging.getLogger(__name__)

SNAPSHOTS = ".push-*.tmp"
"""Links to a checkpoint's files in the run's folder: the checkpoint may be removed before it is pushed."""

OPEN_SECONDS = 10
"""How long a run's start waits for the Hub to answer; a refusal takes it a second."""
STOP_SECONDS = 20
"""How long a run that was stopped waits for its push: schedulers kill what has not ended 30 s after a SIGTERM."""

_given_up = threading.Event()


@dataclass
class _Job:
    """One checkpoint to push.

    Attributes:
        name: The checkpoint's.
        snapshot: Its files.
        known: Whether the Hub is known to lack it; else it is asked first.
    """

    name: str
    snapshot: Path
    known: bool = True


class Publisher:
    """Pushes checkpoints from a thread, and the finished pipeline at the end. It does nothing where nothing is wanted.

    A push that fails is tried again with the next one and at the end, and costs the run a warning.

    Args:
        config: What is wanted.
        output_dir: The run's folder.
        is_main: Whether this is the process that pushes.
    """

    def __init__(self, config: HubConfig, output_dir: Path, is_main: bool) -> None:
        self.config = config
        self.output_dir = output_dir
        self.active = config.push_to_hub and is_main
        self.repo_id = config.hub_model_id or output_dir.resolve().name
        self._waiting: deque[_Job] = deque()
        self._failed: list[_Job] = []
        self._change = threading.Condition()
        self._current: _Job | None = None
        self._thread: threading.Thread | None = None
        self._began = False
        self._refusal: HubError | None = None

    def open(self) -> None:
        """Make the repository, so that a wrong token or name is said before hours of training.

        The run does not wait for a Hub that does not answer: the repository is then made in the background.

        Raises:
            ValueError: The Hub refused within `OPEN_SECONDS`; a later refusal is a warning.
        """
        if not self.active:
            return
        disable_progress_bars()  # they would be drawn across the training's
        opener = threading.Thread(target=self._open, name="open repository", daemon=True)
        opener.start()
        opener.join(OPEN_SECONDS)
        with self._change:
            self._began = True
            if self._refusal is not None:
                raise self._refusal
        if opener.is_alive():
            logger.warning(
                "%s: the Hub has not answered for %d s. The run begins; its pushes will be tried.",
                self.repo_id,
                OPEN_SECONDS,
            )

    def _open(self) -> None:
        private = self.config.hub_private_repo or None
        try:
            self.repo_id = open_repo(Target(repo_id=self.repo_id, private=private, marker=MARKER), asks=True)
        except HubError as error:
            with self._change:
                if not error.temporary and not self._began:
                    self._refusal = error
                    return
            if error.temporary:
                logger.warning("%s. The run begins; its pushes will be tried.", error)
            else:
                logger.warning("%s. The run goes on, and its pushes will fail until that is mended.", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Wait for what is under way where the run ends by an error: the process would take the thread with it."""
        if isinstance(error, Exception):
            self.wait(f"The run has failed ({one_line(error, 300)}). ")

    def catch_up(self, checkpoints: Sequence[Path]) -> None:
        """Have those checkpoints of an earlier process pushed that the repository lacks, where it is to have all.

        Args:
            checkpoints: Their folders, from the oldest to the newest.
        """
        if self.active and self.config.hub_strategy == "all":
            for folder in checkpoints:
                self.checkpoint(folder, known=False)

    def checkpoint(self, folder: Path, known: bool = True) -> None:
        """Have a checkpoint pushed in the background, where the strategy says so.

        Args:
            folder: The checkpoint.
            known: Whether the Hub is known to lack it; else it is asked first.
        """
        if not self.active or self.config.hub_strategy == "end" or not folder.name.startswith("checkpoint-"):
            return
        snapshot = self.output_dir / SNAPSHOTS.replace("*", folder.name)
        step = int(folder.name.removeprefix("checkpoint-"))
        try:
            _link(folder, snapshot)
            for grid in (self.output_dir / "samples").glob(f"{step:07d}-*.png"):
                shutil.copyfile(grid, snapshot / f"grid-{grid.name.partition('-')[2]}")
        except (OSError, shutil.Error) as error:  # a full disk is the training's to notice
            logger.warning("%s is not pushed: %s", folder.name, one_line(error, 300))
            return
        with self._change:
            again = self._failed + list(self._waiting)
            if self.config.hub_strategy == "checkpoint":  # only the newest counts
                for job in again:
                    _remove(job)
                again = []
            self._failed, self._waiting = [], deque([*again, _Job(folder.name, snapshot, known)])
            self._change.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="push", daemon=True)
            self._thread.start()

    def wait(self, because: str = "", seconds: float | None = STOP_SECONDS) -> None:
        """Wait for the pushes under way, and say which of them were given up; Ctrl-C gives them up at once.

        Args:
            because: What the log is told first, where there is something to wait for.
            seconds: How long to wait at most; `None` waits until the Hub has answered or its time limits are over.
        """
        if not self.active:
            return
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._change:
            if self._open_jobs():
                limit = "" if seconds is None else f", at most {seconds:g} s"
                logger.info("%sWaiting for the push to %s%s.", because, self.repo_id, limit)
            try:
                while self._open_jobs() and (deadline is None or time.monotonic() < deadline):
                    self._change.wait(1)
            finally:
                if jobs := self._open_jobs():
                    self._give_up(jobs)

    def _open_jobs(self) -> list[_Job]:
        return [*([self._current] if self._current else []), *self._waiting]

    def _give_up(self, jobs: list[_Job]) -> None:
        _given_up.set()
        names = ", ".join(job.name for job in jobs)
        logger.warning(
            "Not pushed to %s: %s. It is saved; go on with the run, or push it: cyclegan-hf push %s %s%s",
            self.repo_id,
            names,
            self.output_dir / jobs[-1].name,
            self.repo_id,
            " --training-state" if self.config.hub_strategy == "checkpoint" else "",
        )

    def finish(self) -> None:
        """Push the finished pipeline, after what is under way or has failed.

        Raises:
            ValueError: It could not be pushed, though the run is complete; the message says how to push it.
        """
        if not self.active:
            return
        with self._change:
            if self.config.hub_strategy == "all":
                self._waiting.extendleft(reversed(self._failed))
                self._failed = []
                self._change.notify_all()
        self.wait(seconds=None)
        try:
            published = self._push(self.output_dir, "End of training", last=True)
        except ValueError as error:
            raise ValueError(
                f"The run is complete in {self.output_dir}, but could not be pushed: {error}. Once that is mended: "
                f"cyclegan-hf push {self.output_dir} {self.repo_id}"
            ) from error
        logger.info("Pushed: %s", published)
        for job in self._failed:
            if self.config.hub_strategy == "all":
                logger.warning("%s was not pushed; %s has it.", job.name, self.output_dir)
            _remove(job)

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._waiting:
                    self._change.wait()
                job = self._current = self._waiting.popleft()
            failed: list[_Job] = []
            try:
                if job.known or self._lacks(job.name):
                    logger.info("Pushed %s: %s", job.name, self._push(job.snapshot, job.name, last=False))
                _remove(job)
            except Exception as error:  # whatever it is, the run goes on
                logger.warning("%s was not pushed: %s. It is tried again later.", job.name, one_line(error, 500))
                failed.append(job)
                if isinstance(error, HubError) and error.temporary:  # no better for the others
                    with self._change:
                        failed += self._waiting
                        self._waiting.clear()
            finally:
                with self._change:
                    self._failed += failed
                    self._current = None
                    self._change.notify_all()

    def _lacks(self, name: str) -> bool:
        """Whether the repository has no checkpoint of that name."""
        present = ask_hub(lambda: HfApi().list_repo_files(self.repo_id), self.repo_id, writing=True)
        return f"{name}/{INDEX_NAME}" not in present

    def _push(self, folder: Path, message: str, last: bool) -> object:
        name = "last-checkpoint" if self.config.hub_strategy == "checkpoint" else message
        return push_pipeline(
            folder,
            self.repo_id,
            private=self.config.hub_private_repo or None,
            license=self.config.hub_license,
            commit_message=message,
            variants=("fp16",) if last else (),
            check=last,
            subfolders=[] if last else [(name, folder)],
        )


def _link(folder: Path, snapshot: Path) -> None:
    """Copy a folder without its bytes, where the file system has links."""
    shutil.rmtree(snapshot, ignore_errors=True)
    try:
        shutil.copytree(folder, snapshot, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(snapshot, ignore_errors=True)
        shutil.copytree(folder, snapshot)


def _remove(job: _Job) -> None:
    shutil.rmtree(job.snapshot, ignore_errors=True)


def leave(code: int) -> NoReturn:
    """End this process. A push that was given up does not hold it: its threads would be waited for at exit."""
    if _given_up.is_set():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
