"""The model card that a run writes beside its weights, and the same facts for programs."""

import json
from pathlib import Path
from typing import Any

from cyclegan_hf.hub.card import PLACEHOLDER, CardFacts, pipeline_card, published_card
from cyclegan_hf.saved_format import read_json
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.record.provenance import Origins
from cyclegan_hf.training.record.samples import save_card_grids


FACTS_NAME = "training.json"
_FACTS = (
    *("step", "epoch", "seconds", "pictures", "batch_pictures", "seed", "mixed_precision", "num_processes", "device"),
    *("hardware", "threads", "compile", "parameters", "torch", "cyclegan_hf"),
)


def write_card(
    folder: Path,
    config: TrainConfig,
    facts: dict[str, Any],
    counts: dict[str, int | None],
    signals: dict[str, str] | None,
    origins: Origins,
) -> None:
    """Write the card, the recipe without places, and `training.json`.

    Args:
        folder: Where to.
        config: The resolved configuration.
        facts: What the checkpoint records of the run: step, seconds, precision, device, versions.
        counts: Training pictures of domains `"a"` and `"b"`, where they are known.
        signals: What the detectors of known failures see at present.
        origins: What the run started from.
    """
    (folder / "README.md").write_text(model_card(config, facts, counts, signals, origins), encoding="utf-8")
    (folder / "recipe.yaml").write_text(config.without_places().to_yaml(), encoding="utf-8")
    told = {name: facts[name] for name in _FACTS if name in facts}
    (folder / FACTS_NAME).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def complete_card(folder: Path, config: TrainConfig, pipeline: Any, pictures: dict[str, list[Path]]) -> None:
    """Draw the sample grids, and put them and the figures of `metrics.json` into the card.

    Args:
        folder: The finished pipeline's, with its card.
        config: The resolved configuration.
        pipeline: Translates.
        pictures: The files that the grids of `"a2b"` and `"b2a"` show.
    """
    save_card_grids(pipeline, pictures, folder, max(map(max, config.data.load_sizes)))
    card = folder / "README.md"
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else None
    text = published_card(
        card.read_text(encoding="utf-8"),
        PLACEHOLDER,
        metrics=metrics,
        grids=sorted(path.name for path in folder.glob("grid*.jpg")),
        domains=(config.data.domain_a, config.data.domain_b),
    )
    card.write_text(text, encoding="utf-8")


def model_card(
    config: TrainConfig,
    facts: dict[str, Any],
    counts: dict[str, int | None],
    signals: dict[str, str] | None,
    origins: Origins,
) -> str:
    """Return the card as Markdown with metadata: what the model translates, how it was trained, how to use it.

    Data sets and a model that the run started from are named where they are on the Hub; folders of this machine are
    not. The licence is left to whoever publishes the model, as a comment in the metadata says: it depends on the
    pictures.

    Args:
        config: The resolved configuration.
        facts: What the checkpoint records of the run: step, seconds, precision, device, versions.
        counts: Training pictures of domains `"a"` and `"b"`, where they are known.
        signals: What the detectors of known failures see at present; unset, nobody looked.
        origins: What the run started from.
    """
    data, run, losses, optimizer = config.data, config.run, config.losses, config.optimizer
    a, b = data.domain_a, data.domain_b
    pictures = run.train_batch_size * run.gradient_accumulation_steps * facts["num_processes"]
    hardware = f"{facts['num_processes']} × {facts.get('hardware', facts['device'])} ({facts['threads']} threads)"
    rows = {
        "generators": _network(config.generator, facts, "generator_a2b"),
        "discriminators": _network(config.discriminator, facts, "discriminator_b"),
        "pictures": f"{_number(counts['a'])} of {a}, {_number(counts['b'])} of {b}",
        "data": origins.in_words(),
        "crops": f"{data.image_size} × {data.image_size} pixels, loaded at {data.load_size[0]} to {data.load_size[1]}",
        "trained": f"{facts['step']} steps of {pictures}",
        "weights": f"average with decay {config.ema.decay}" if config.ema.decay else "as trained, without an average",
        "losses": f"{losses.adversarial}, cycle {losses.lambda_a:g} / {losses.lambda_b:g}, identity "
        f"{losses.lambda_identity:g} of these",
        "optimiser": f"Adam {optimizer.learning_rate:g} ({optimizer.adam_beta1:g}, {optimizer.adam_beta2:g}), "
        f"{config.lr_scheduler.type} rate",
        "compute": f"{facts['seconds'] / 3600:.2f} hours on {hardware}",
        "precision": facts["mixed_precision"].replace("no", "fp32"),
        "software": f"cyclegan_hf {facts['cyclegan_hf']}, torch {facts['torch']}, seed {run.seed}",
    }
    return pipeline_card(
        CardFacts(
            domain_a=a,
            domain_b=b,
            rows=rows,
            notes="`recipe.yaml` beside this card holds every setting.\n",
            signals=signals,
            datasets=origins.datasets,
            base_model=origins.base_model,
            license=config.hub.hub_license,
        )
    )


def _number(count: int | None) -> str:
    return "an unknown number" if count is None else f"{count:,}"


def _network(block: dict[str, Any], facts: dict[str, Any], name: str) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in block.items() if key != "_class_name")
    count = facts.get("parameters", {}).get(name)
    return f"{block['_class_name']}({arguments}){f', {count:,} parameters each' if count else ''}"
