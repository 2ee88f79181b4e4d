"""The subject of an evaluation: a pipeline, its discriminators, and what is known of both."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from cyclegan_hf.errors import one_line
from cyclegan_hf.evaluation.evaluator import Judge
from cyclegan_hf.hub.locate import find_folder, is_model_on_hub
from cyclegan_hf.losses.relativistic import PATCH_SHARE, dual_head_score
from cyclegan_hf.metrics.weights import file_hash, weight_hashes
from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_feature import FeatureDiscriminator
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.saved_format import GENERATORS, RUN_NAME, STATE_FOLDER, read_json


logger = logging.getLogger(__name__)

_RECORDS = ("metrics.json", "training.json")
_DISCRIMINATORS = {
    "DualHeadDiscriminator": DualHeadDiscriminator,
    "FeatureDiscriminator": FeatureDiscriminator,
    "PatchDiscriminator": PatchDiscriminator,
    "PixelDiscriminator": PixelDiscriminator,
}


@dataclass
class Subject:
    """One model to evaluate.

    Attributes:
        name: What it is called in tables.
        pipeline: The `CycleGANPipeline`.
        judges: By domain, its discriminator and the adversarial loss that it was trained with.
        facts: What is known of the weights, for the protocol.
        folder: Where it lies, of the Hub in its cache; logs of its training are looked for around it.
        selected_on: By domain, the hashes of the images that the weights were chosen by, if they were.
    """

    name: str
    pipeline: CycleGANPipeline
    judges: dict[str, tuple[Judge, str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    selected_on: dict[str, list[str]] = field(default_factory=dict)


def load_subject(
    model: str | None,
    *,
    weights: str = "saved",
    revision: str | None = None,
    subfolder: str | None = None,
    device: torch.device | str = "cpu",
    fast: bool = False,
) -> Subject:
    """Load what is to be evaluated.

    Args:
        model: Folder or Hub id of a pipeline or checkpoint; `None` for the bundled weights.
        weights: `"saved"`, the pipeline's own (averaged ones, where the run averaged), or `"raw"`, a checkpoint's
            weights as they train.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        device: Where to compute.
        fast: Fit precision and layout to the hardware.

    Raises:
        ValueError: If there is no such pipeline, or it holds no raw weights and these are asked for.
        HubError: If it cannot be had from the Hub.
    """
    of_hub = model is not None and is_model_on_hub(model)
    folder = find_folder(model, list(GENERATORS), subfolder=subfolder, revision=revision)
    pipeline = CycleGANPipeline.from_pretrained(folder)
    if of_hub:
        _fetch_state(str(model), _commit(folder, subfolder), subfolder, raw=weights == "raw")
    state = folder / STATE_FOLDER if (folder / STATE_FOLDER / RUN_NAME).is_file() else None
    recipe = _recipe(state)
    name = "bundled" if model is None else model if of_hub else Path(model).absolute().name
    facts: dict[str, Any] = {"name": name, "weights": "saved"}
    averaged = recipe.get("ema", {}).get("decay", 0) > 0
    if weights == "raw":
        if state is None:
            raise ValueError(f"{model or name}: expected a checkpoint with raw weights in {STATE_FOLDER}/, found none")
        _load_raw(pipeline, state)
        facts["weights"] = "raw"
    elif averaged:
        facts["weights"] = "averaged"
    if revision is not None:
        facts["revision"] = revision
    if of_hub:
        facts["commit"] = _commit(folder, subfolder)
        records = _hub_records(str(model), facts["commit"], subfolder)
    else:
        records = [folder / name for name in _RECORDS] if state is None else [state / "run.json"]
    selected_on: dict[str, list[str]] = {}
    for file in dict.fromkeys([*records, folder / "metrics.json"]):
        known = read_json(file) if file.is_file() else {}
        selected_on = selected_on or _selected_on(known)
        if file not in records:
            continue
        facts |= {key: known[key] for key in ("step", "epoch") if key in known and key not in facts}
    facts["sha256"] = _raw_hashes(pipeline, state) if weights == "raw" and state is not None else weight_hashes(folder)
    pipeline.to(device)
    if fast:
        pipeline.optimize()
    judges = _judges(pipeline, state, recipe, device) if state is not None else {}
    return Subject(name, pipeline, judges, facts, folder, selected_on)


def _selected_on(known: dict[str, Any]) -> dict[str, list[str]]:
    """Return the images that chose a run's best weights from `metrics.json`; for older ones each set's hash."""
    if isinstance(found := known.get("selected_on"), dict):
        return {domain: list(found[domain]) for domain in ("a", "b") if domain in found}
    protocol = known.get("protocol", {})
    if not str(protocol.get("selection", "")).startswith("the best"):
        return {}
    pictures = protocol.get("pictures", {})
    return {domain: [entry["fingerprint"]] for domain, entry in pictures.items() if "fingerprint" in entry}


def _commit(folder: Path, subfolder: str | None) -> str:
    """Return the commit of a folder in the Hub's cache."""
    return folder.parents[len(PurePosixPath(subfolder).parts) - 1].name if subfolder else folder.name


def _fetch_state(repo_id: str, commit: str, subfolder: str | None, raw: bool) -> None:
    """Fetch of a repository's training state, if it has one, what an evaluation looks at: not its optimizers."""
    from cyclegan_hf.hub.download import RepoFiles
    from cyclegan_hf.hub.errors import HubError

    names = ["run.json", "config.yaml", "discriminator_*.safetensors"]
    if raw:
        names.append("generator_*.safetensors")
    try:
        RepoFiles(repo_id, revision=commit).find(
            *(str(PurePosixPath(subfolder or "", STATE_FOLDER, name)) for name in names)
        )
    except HubError as error:
        if raw:
            raise
        logger.warning("%s: its discriminators cannot judge (%s)", repo_id, one_line(error, 200))


def _hub_records(repo_id: str, commit: str, subfolder: str | None) -> list[Path]:
    """Download what a repository tells about its training; warn if that fails."""
    from cyclegan_hf.hub.download import RepoFiles
    from cyclegan_hf.hub.errors import HubError

    try:
        found = RepoFiles(repo_id, revision=commit).find(
            *(str(PurePosixPath(subfolder or "", name)) for name in _RECORDS)
        )
    except HubError as error:
        logger.warning("%s: step and epoch are not known (%s)", repo_id, one_line(error, 200))
        return []
    return [found[name] for name in sorted(found)]  # metrics.json before training.json


def _recipe(state: Path | None) -> dict[str, Any]:
    if state is None:
        return {}
    try:
        content = yaml.safe_load((state / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(
            f"{state / 'config.yaml'}: expected a checkpoint's recipe ({one_line(error, 200)})"
        ) from error
    return content if isinstance(content, dict) else {}


def _load_raw(pipeline: CycleGANPipeline, state: Path) -> None:
    for name in GENERATORS:
        generator, file = getattr(pipeline, name), state / f"{name}.safetensors"
        if generator is None:
            continue
        try:
            generator.load_state_dict(load_file(file))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{file}: expected the raw weights of `{name}` ({one_line(error, 200)})") from error


def _raw_hashes(pipeline: CycleGANPipeline, state: Path) -> dict[str, str]:
    there = [name for name in GENERATORS if getattr(pipeline, name) is not None]
    return {name: file_hash(state / f"{name}.safetensors")[:16] for name in there}


def _judges(
    pipeline: CycleGANPipeline, state: Path, recipe: dict[str, Any], device: torch.device | str
) -> dict[str, tuple[Judge, str]]:
    """Load a checkpoint's discriminators; warn if that fails."""
    judges = {}
    losses = recipe.get("losses", {})
    for domain in ("a", "b"):
        processor = pipeline.image_processor_a if domain == "a" else pipeline.image_processor_b
        block = {key: value for key, value in recipe.get("discriminator", {}).items() if not key.startswith("_")}
        try:
            network: Any = _DISCRIMINATORS[recipe["discriminator"]["_class_name"]](
                **block | {"in_channels": processor.num_channels}
            )
            network.load_state_dict(load_file(state / f"discriminator_{domain}.safetensors"))
        except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
            logger.warning("discriminator_%s cannot judge: %s", domain, one_line(error, 200))
            continue
        share = losses.get("patch_share", PATCH_SHARE)
        judge = _judge(torch.nn.Module.to(network, device).eval(), processor, share)
        judges[domain] = (judge, losses.get("adversarial", "lsgan"))
    return judges


def _judge(network: Any, processor: Any, patch_share: float) -> Judge:
    @torch.no_grad()
    def judge(images: torch.Tensor) -> torch.Tensor:
        prepared = processor.batches(list(images), batch_size=len(images))
        (batch,) = prepared
        output = network(torch.from_numpy(batch.pixel_values).to(network.device))
        patches, whole = output.prediction.float(), output.global_logits
        score = patches.flatten(1).mean(1) if whole is None else dual_head_score(patches, whole.float(), patch_share)
        return score.cpu()

    return judge
