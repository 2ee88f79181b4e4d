"""The protocol behind metrics: saved with them, and checked before reports are compared."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from cyclegan_hf import __version__
from cyclegan_hf.evaluation.evaluator import LOOKED_AT, Evaluator
from cyclegan_hf.evaluation.pictures import fingerprint
from cyclegan_hf.metrics.image_features import ImageFeatures
from cyclegan_hf.metrics.inception import inception_score_splits, kid_subset_size


SUBJECT = ("model", "software", "selection", "metric", "split", "reference_split", "tried")
"""Parts of a protocol that may differ between reports that are compared: they are what is compared, or told apart."""


def protocol_of(
    evaluator: Evaluator,
    network: dict[str, str] | None,
    extras: dict[str, str],
    model: dict[str, Any],
    computed: dict[str, Any],
) -> dict[str, Any]:
    """Return the protocol of a finished evaluation.

    Args:
        evaluator: Which made it.
        network: Name and hash of the feature network.
        extras: Hashes of further measures' weights, by their names.
        model: What is known of the weights.
        computed: Device and precision.

    Returns:
        The protocol. What can change no more than last digits is under `software`, such as threads and batch size;
        the precision there can change more: see `differences`.
    """
    sets, pictures = evaluator.settings.sets, evaluator.pictures
    protocol: dict[str, Any] = {
        "pictures": {
            domain: _counts(pictures.inputs.get(domain)) for domain in ("a", "b") if domain in pictures.inputs
        },
        "reference": {
            domain: _counts(pictures.references[domain]) | {"independent": pictures.independent.get(domain, True)}
            for domain in ("a", "b")
            if domain in pictures.references
        },
        "image_size": {domain: list(size) for domain, size in sorted(evaluator.sizes.items())},
        "resize": pictures.resize,
        "rounding": evaluator.settings.rounding,
        "seed": sets.seed,
        "swd": {
            "levels": sets.levels,
            "patch": 7,
            "patches": sets.patches,
            "projections": sets.projections,
        },
        "signs_on": LOOKED_AT if evaluator.settings.signs else 0,
        "bootstrap": {"resamples": sets.resamples, "over": "pictures", "spread": "half of the central 68 %"},
        "feature_network": network,
    }
    if network is not None:
        protocol["kid"] = (
            {"estimator": "unbiased, all images at once"}
            if isinstance(evaluator.network, ImageFeatures)
            else {
                "subsets": sets.kid_subsets,
                "subset_size": {
                    way: kid_subset_size(len(pictures.inputs[way[0]].files), len(pictures.references[way[2]].files))
                    for way in evaluator.directions
                },
            }
        )
        protocol["inception_score"] = {
            "splits": {
                way: inception_score_splits(len(pictures.inputs[way[0]].files), sets.splits)
                for way in evaluator.directions
            },
        }
    if thinned := _thinned(evaluator):
        protocol["swd"]["patches_of_large_sets"] = thinned
    if extras:
        protocol["extras"] = extras
    last_digits = {"threads": torch.get_num_threads(), "batch_size": evaluator.settings.batch_size}
    return protocol | {
        "model": model,
        "software": software() | computed | last_digits,
    }


def precision_of(pipeline: Any) -> str:
    """Return what a pipeline's generators compute in, such as `"float32"`."""
    generators = [pipeline.generator_a2b, pipeline.generator_b2a]
    return " and ".join(sorted({str(one.dtype).removeprefix("torch.") for one in generators if one is not None}))


def software() -> dict[str, str]:
    """Return the versions of the software that computes the metrics."""
    found = {"cyclegan_hf": __version__, "python": platform.python_version()}
    for name in ("torch", "torchmetrics", "kornia", "numpy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """List where two protocols differ so that metrics can't be compared, as `key: value against value`."""
    return _unequal(_measuring(one), _measuring(other), "")


def software_differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """List where the software of two protocols differs: metrics may differ in the last digits."""
    ours, theirs = (
        # the precision is no matter of last digits
        {key: value for key, value in protocol.get("software", {}).items() if key != "precision"}
        for protocol in (one, other)
    )
    return _unequal(ours, theirs, "")


def check_same(protocols: dict[str, dict[str, Any]]) -> None:
    """Refuse to compare reports of different protocols.

    Args:
        protocols: By the reports' names, at least two.

    Raises:
        ValueError: If they differ; the message names the keys.
    """
    (first, expected), *others = protocols.items()
    for name, protocol in others:
        if wrong := differences(expected, protocol):
            more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            raise ValueError(
                f"{first} and {name} cannot be compared, their protocols differ: {'; '.join(wrong[:4])}{more}"
            )


def _measuring(protocol: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal in reports that are compared."""
    same = {key: value for key, value in protocol.items() if key not in SUBJECT}
    return same | {"precision": protocol.get("software", {}).get("precision")}


def _thinned(evaluator: Evaluator) -> dict[str, int]:
    """Return the patches per image of sets with fewer than `swd.patches`, such as `{"reference b": 26}`."""
    kinds = {"pictures": evaluator.pictures.inputs, "reference": evaluator.pictures.references}
    found = {
        f"{kind} {domain}": evaluator.patches(files) for kind, sets in kinds.items() for domain, files in sets.items()
    }
    return {name: patches for name, patches in found.items() if patches < evaluator.settings.sets.patches}


def _counts(files: Any) -> dict[str, Any]:
    return {"count": len(files.files), "left_out": len(files.left_out), "fingerprint": fingerprint(files.files)}


def _unequal(one: Any, other: Any, place: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in dict.fromkeys([*one, *other])
            for line in _unequal(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if one == other else [f"{place}: {_brief(one)} against {_brief(other)}"]


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
