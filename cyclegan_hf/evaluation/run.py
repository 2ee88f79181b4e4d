"""Run an evaluation from the command line: load, measure, write the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.evaluation.describe import SetSettings
from cyclegan_hf.evaluation.evaluator import Evaluator, PairMeasure
from cyclegan_hf.evaluation.gallery import Gallery
from cyclegan_hf.evaluation.markdown import report_markdown
from cyclegan_hf.evaluation.networks import DEFAULT_NETWORK, find_network, on_device
from cyclegan_hf.evaluation.pictures import (
    Pictures,
    PictureSet,
    check_folders,
    find_pictures,
    fitted_reader,
    overlap,
)
from cyclegan_hf.evaluation.protocol import precision_of, protocol_of
from cyclegan_hf.evaluation.report import (
    check_output,
    document,
    read_report,
    write_comparison,
    write_report,
)
from cyclegan_hf.evaluation.results import Settings
from cyclegan_hf.evaluation.run_logs import read_logs
from cyclegan_hf.evaluation.subjects import Subject, load_subject
from cyclegan_hf.image_processor import Rounding
from cyclegan_hf.metrics.artifacts import alike
from cyclegan_hf.metrics.dino import load_dino
from cyclegan_hf.metrics.lpips import load_lpips
from cyclegan_hf.metrics.weights import file_hash


logger = logging.getLogger(__name__)

Split = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """An evaluation to run; the fields are the flags of the command."""

    models: list[str | None]
    data: Path
    output: Path
    reference: Path | None = None
    weights: str = "saved"
    revision: str | None = None
    subfolder: str | None = None
    directions: tuple[str, ...] = ("a2b", "b2a")
    split: Split = "test"
    tried: int | None = None
    limit: int | None = None
    image_size: int | None = None
    rounding: Rounding = "nearest"
    feature_network: str = DEFAULT_NETWORK
    inception: str | None = None
    lpips: Path | None = None
    dino: Path | None = None
    resamples: int = 500
    seed: int = 0
    gallery: int = 48
    batch_size: int = 4
    device: torch.device | str = "cpu"
    fast: bool = False


def run(task: Task) -> tuple[str, int]:
    """Measure, and write the report.

    Returns:
        The tables as Markdown, and how many pictures could not be read.

    Raises:
        ValueError: If something is wrong with the models, the pictures or the settings; nothing is written then.
        OSError: If the report cannot be written.
    """
    check_output(task.output)
    check_folders(task.data, task.reference)
    several = len(task.models) > 1
    subject, alike_names = _checked(task)
    model_names = _unique(alike_names)
    if several:
        subject = _load(task, task.models[0])
    network, facts = find_network(task.feature_network, task.inception)
    measures, extras = _pair_measures(task)
    names = {domain: subject.pipeline.config[f"domain_{domain}"] for domain in ("a", "b")}
    pictures = _pictures(task, names, subject.pipeline)
    sets = SetSettings(seed=task.seed, resamples=task.resamples)
    evaluator = Evaluator(
        pictures,
        Settings(sets=sets, batch_size=task.batch_size, rounding=task.rounding),
        None if network is None else on_device(network, task.device),
        measures,
        _progress,
    )
    evaluator.directions = [way for way in evaluator.directions if way in task.directions]
    if not evaluator.directions:
        raise ValueError(f"{task.data}: no pictures for {' or '.join(task.directions)}")
    with logging_redirect_tqdm(), whole_folder(task.output.absolute(), replace=True) as folder:
        reports: dict[str, dict[str, Any]] = {}
        galleries: dict[str, tuple[str, Gallery]] = {}
        for number, (model, name) in enumerate(zip(task.models, model_names, strict=True)):
            if number:  # the model before goes
                subject = _load(task, model)
            place = name.replace("/", "--") if several else "."  # a Hub id is one folder
            own = folder / place
            own.mkdir(exist_ok=True)
            gallery = Gallery(own, task.gallery)
            scores = evaluator(subject.pipeline, subject.judges, gallery.keep)
            gallery.thin(scores)
            known = subject.facts | {"name": name}
            computed = {"device": torch.device(task.device).type, "precision": precision_of(subject.pipeline)}
            protocol = protocol_of(evaluator, facts, extras, known, computed) | {"domains": names}
            chosen = _chosen_by(pictures, subject)
            protocol |= {"split": "selection" if chosen else task.split}
            protocol |= {"tried": task.tried} if task.tried is not None else {}
            baselines = evaluator.baselines(subject.pipeline)
            reports[name] = document(protocol, scores, baselines, [*chosen, *evaluator.warnings()])
            write_report(own, reports[name], gallery, read_logs(subject.folder))
            galleries[name] = (place, gallery)
        if several:
            text = write_comparison(folder, reports, galleries)
        else:
            text = report_markdown(next(iter(reports.values())))
    left_out = {path for one in _all_sets(pictures) for path in one.left_out}
    return text, len(left_out)


def _chosen_by(pictures: Pictures, subject: Subject) -> list[str]:
    """Say which images the weights were chosen by: figures of these are no test figures, whatever their folder."""
    said = []
    for domain, files in pictures.inputs.items():
        if count := overlap(files.files, subject.selected_on.get(domain, [])):
            said.append(
                f"{count} of the {len(files.files)} images of {domain} chose these weights: the figures are not test "
                "figures; measure on images that took no part"
            )
    for line in said:
        logger.warning("%s", line)
    return said


def compare_reports(folders: list[Path], output: Path) -> str:
    """Compare saved reports.

    Returns:
        The comparison as Markdown.

    Raises:
        ValueError: If they are no reports, or of different protocols; nothing is written then.
    """
    check_output(output)
    names = _unique([folder.resolve().name for folder in folders])
    reports = {name: read_report(folder) for name, folder in zip(names, folders, strict=True)}
    with whole_folder(output.absolute(), replace=True) as folder:
        return write_comparison(folder, reports, {})


def _load(task: Task, model: str | None) -> Subject:
    return load_subject(
        model,
        weights=task.weights,
        revision=task.revision,
        subfolder=task.subfolder,
        device=task.device,
        fast=task.fast,
    )


def _checked(task: Task) -> tuple[Subject, list[str]]:
    """Return the last model and all names; load each in turn, so that a wrong one is refused before measuring."""
    names: list[str] = []
    kinds: list[tuple[int, ...]] = []
    for model in task.models:
        subject = _load(task, model)
        pipeline = subject.pipeline
        kinds.append(tuple(one.num_channels for one in (pipeline.image_processor_a, pipeline.image_processor_b)))
        names.append(subject.name)
        if kinds[-1] != kinds[0]:
            raise ValueError(
                f"{names[0]} and {names[-1]} cannot be compared: their pictures have {kinds[0]} and {kinds[-1]} "
                "channels"
            )
    return subject, names


def _pictures(task: Task, names: dict[str, str], pipeline: Any) -> Pictures:
    inputs, references, independent = find_pictures(task.data, names, task.reference, task.limit, task.split)
    files = {
        domain: [*inputs.get(domain, []), *references.get(domain, [])]
        for domain in dict.fromkeys([*inputs, *references])
    }
    sizes = [processor.size for processor in (pipeline.image_processor_a, pipeline.image_processor_b)]
    read, words = fitted_reader(files, task.image_size, common=sizes[0] == sizes[1])
    return Pictures(
        {domain: PictureSet(paths, f"pictures of {names[domain]}") for domain, paths in inputs.items()},
        {domain: PictureSet(paths, f"real pictures of {names[domain]}") for domain, paths in references.items()},
        read,
        words,
        independent,
    )


def _pair_measures(task: Task) -> tuple[dict[str, PairMeasure], dict[str, str]]:
    """Return further measures of an image and its translation, and the hashes of their weights."""
    measures: dict[str, PairMeasure] = {}
    extras = {}
    for name, path, load in (("lpips", task.lpips, load_lpips), ("dino_structure", task.dino, load_dino)):
        if path is not None:
            measures[name] = on_device(load(path), task.device)
            extras[name] = file_hash(path)
    if "lpips" in measures:  # DINO's brings pictures to its own size
        in_one_size = measures["lpips"]
        measures["lpips"] = lambda images, translations: in_one_size(*alike(images, translations))
    return measures, extras


def _progress(batches: Iterator[Any], total: int, what: str) -> Iterator[Any]:
    interval = 0.1 if sys.stderr.isatty() else 30  # seconds; a log file needs no ten lines a second
    with tqdm(total=total, unit="picture", desc=what, mininterval=interval, leave=False) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def _unique(names: list[str]) -> list[str]:
    """Return the names, with a number behind those that occur more than once."""
    found: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in found:
            candidate, number = f"{name}-{number}", number + 1
        found.append(candidate)
    return found


def _all_sets(pictures: Pictures) -> list[PictureSet]:
    return [*pictures.inputs.values(), *pictures.references.values()]
