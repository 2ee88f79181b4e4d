"""Small pipelines and pictures to evaluate."""

from pathlib import Path
from typing import Any

import torch

from cyclegan_hf import CycleGANPipeline, ResnetGenerator
from cyclegan_hf.evaluation.describe import SetSettings
from cyclegan_hf.evaluation.evaluator import Evaluator
from cyclegan_hf.evaluation.pictures import Pictures, PictureSet, find_pictures, fitted_reader
from cyclegan_hf.evaluation.results import Settings


NAMES = {"a": "summer", "b": "winter"}


def pipeline(seed: int = 0, directions: tuple[str, ...] = ("a2b", "b2a"), **arguments: Any) -> CycleGANPipeline:
    """Random generators of some hundred weights."""
    torch.manual_seed(seed)
    generators = {
        f"generator_{way}": ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1, **arguments).eval()
        for way in directions
    }
    return CycleGANPipeline(**generators, domain_a="summer", domain_b="winter")


def pictures_in(folder: Path, size: int | None = None) -> Pictures:
    """The pictures of a folder of domains."""
    inputs, references, independent = find_pictures(folder, NAMES)
    files = {key: [*inputs[key], *references[key]] for key in inputs}
    read, words = fitted_reader(files, size, common=True)
    return Pictures(
        {key: PictureSet(list(paths), f"pictures of {key}") for key, paths in inputs.items()},
        {key: PictureSet(list(paths), f"real pictures of {key}") for key, paths in references.items()},
        read,
        words,
        independent,
    )


def evaluator(folder: Path, resamples: int = 20, **arguments: Any) -> Evaluator:
    """On the pictures of a folder of domains."""
    return Evaluator(pictures_in(folder), Settings(sets=SetSettings(resamples=resamples)), **arguments)
