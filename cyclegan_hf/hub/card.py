"""Model cards: what a model on the Hub says of itself, as Markdown with metadata."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from yaml import YAMLError

from cyclegan_hf import __version__
from cyclegan_hf.errors import one_line
from cyclegan_hf.metrics.figures import ARROWS, FIGURES, FURTHER


PLACEHOLDER = "path/or/hub-id/of/this/model"
"""What a card calls its model until it is pushed."""
TAGS = ("cyclegan", "image-to-image", "diffusers", "unpaired-image-translation")
NO_LICENSE = "# license: yours to add; it depends on the pictures that this model was trained on"

_CALL = re.compile(rf'from_pretrained\(("{re.escape(PLACEHOLDER)}")?(?=[,)])')
_SIGNATURE = re.compile(r"\n*<!-- cyclegan_hf wrote this card: (\w+) -->\s*\Z")
_METRICS = re.compile(r"^## Metrics\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The facts that a pipeline's card is written from.

    Attributes:
        domain_a, domain_b: The domains' names.
        directions: Those that there is a generator for.
        rows: The card's table, in order.
        notes: Further paragraphs, as Markdown.
        metrics: What `metrics.json` holds: `protocol`, and the figures of `a2b` and `b2a`.
        signals: What the training's detectors of known failures saw at its end, by name; unset, that is unknown.
        grids: Files of sample grids beside the card.
        datasets: Hub ids of the training pictures.
        base_model: Hub id of the model that the training started from.
        license: The model's, as the Hub spells it.
    """

    domain_a: str
    domain_b: str
    directions: Sequence[str] = ("a2b", "b2a")
    rows: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    metrics: Mapping[str, Any] | None = None
    signals: Mapping[str, str] | None = None
    grids: Sequence[str] = ()
    datasets: Sequence[str] = ()
    base_model: str | None = None
    license: str | None = None

    @property
    def title(self) -> str:
        """Return `summer ↔ winter`, or an arrow if there is one direction."""
        match list(self.directions):
            case ["a2b"]:
                return f"{self.domain_a} → {self.domain_b}"
            case ["b2a"]:
                return f"{self.domain_b} → {self.domain_a}"
        return f"{self.domain_a} ↔ {self.domain_b}"


def pipeline_card(facts: CardFacts) -> str:
    """Return a pipeline's card. Its metadata follow the Hub's documentation, "Model Cards"."""
    a, b = facts.domain_a, facts.domain_b
    data = ModelCardData(
        license=facts.license,
        library_name="cyclegan_hf",
        pipeline_tag="image-to-image",
        datasets=list(facts.datasets) or None,
        base_model=facts.base_model,
        tags=list(TAGS),
        model_name=facts.title if facts.metrics else None,
        eval_results=eval_results(facts.metrics, a, b, facts.datasets) if facts.metrics else None,
    )
    first = "a2b" if "a2b" in facts.directions else "b2a"
    source, target = (a, b) if first == "a2b" else (b, a)
    back = " and back" if len(facts.directions) == 2 else ""
    parts = [
        _front_matter(data),
        f"# {facts.title}\n",
        f"A CycleGAN ([Zhu et al. 2017](https://arxiv.org/abs/1703.10593)) that translates pictures of *{source}* "
        f"into *{target}*{back}, trained on unpaired\npictures.\n",
        _pictures(facts.grids),
        f"""## How to use it

With the library `cyclegan_hf`, {__version__} or newer:

```python
from cyclegan_hf import CycleGANPipeline

pipe = CycleGANPipeline.from_pretrained("{PLACEHOLDER}")
result = pipe("photo.jpg", direction="{source}2{target}").images[0]
result.save("translation.png")
```
""",
        f"## Details\n\n{_table(facts.rows)}" if facts.rows else "",
        facts.notes,
        metrics_section(facts.metrics, a, b) if facts.metrics else "",
        _limits(facts),
    ]
    return signed("\n".join(filter(None, parts)))


def bare_facts(domain_a: str, domain_b: str, generators: Mapping[str, Any]) -> CardFacts:
    """Return what is known of a pipeline without its training.

    Args:
        domain_a: Name of domain A.
        domain_b: Name of domain B.
        generators: By name, `generator_a2b` and `generator_b2a`, those that there are.
    """
    rows = {f"{name}: {row}": fact for name, part in generators.items() for row, fact in architecture(part).items()}
    directions = [name.removeprefix("generator_") for name in generators]
    return CardFacts(domain_a=domain_a, domain_b=domain_b, directions=directions, rows=rows)


def network_card(network: Any) -> str:
    """Return the card of a single network.

    Args:
        network: A diffusers model with a configuration.
    """
    name, module = type(network).__name__, type(network).__module__
    data = ModelCardData(library_name="cyclegan_hf", pipeline_tag="image-to-image", tags=list(TAGS))
    kind = "generator" if name.endswith("Generator") else "discriminator"
    return signed(f"""{_front_matter(data)}
# {name}

A CycleGAN's {kind} ([Zhu et al. 2017](https://arxiv.org/abs/1703.10593)) alone. With the library `cyclegan_hf`, {__version__} or newer:

```python
from {module} import {name}

network = {name}.from_pretrained("{PLACEHOLDER}")
```

{_table(architecture(network))}""")  # noqa: E501


def architecture(network: Any) -> dict[str, str]:
    """Return table rows with a network's class, arguments and parameters."""
    arguments = ", ".join(f"{key}={value}" for key, value in network.config.items() if not key.startswith("_"))
    count = sum(parameter.numel() for parameter in network.parameters())
    return {"network": f"{type(network).__name__}({arguments})", "parameters": f"{count:,}"}


def eval_results(
    metrics: Mapping[str, Any], domain_a: str, domain_b: str, datasets: Sequence[str] = ()
) -> list[EvalResult]:
    """Return the metrics of a `metrics.json` for the card's `model-index`, each with its protocol.

    Args:
        metrics: What the file holds.
        domain_a: Name of domain A.
        domain_b: Name of domain B.
        datasets: Hub ids of the pictures.
    """
    protocol = dict(metrics.get("protocol", {}))
    split = protocol.get("split")
    results = []
    for direction, name, value in _figures(metrics):
        source, target = (domain_a, domain_b) if direction == "a2b" else (domain_b, domain_a)
        results.append(
            EvalResult(
                task_type="image-to-image",
                task_name=f"{source} → {target}",
                dataset_type=datasets[0] if datasets else f"{domain_a}2{domain_b}",
                dataset_name=f"{domain_a} and {domain_b}",
                dataset_config=direction,
                dataset_split=split if isinstance(split, str) else None,
                metric_type=name,
                metric_name=f"{name} ({source} → {target})",
                metric_value=value,
                dataset_args={"protocol": protocol} if protocol else None,
            )
        )
    return results


def metrics_section(metrics: Mapping[str, Any], domain_a: str, domain_b: str) -> str:
    """Return the metrics of a `metrics.json` as a table with spreads, with the protocol below."""
    figures = {(direction, name): f"{value:.4g}" for direction, name, value in _figures(metrics)}
    for direction, name, value in _figures(dict(metrics.get("spread") or {})):
        if (direction, name) in figures:
            figures[direction, name] += f" ± {value:.2g}"
    if not figures:
        return ""
    lines = ["## Metrics", "", f"| | {domain_a} → {domain_b} | {domain_b} → {domain_a} |", "|---|---|---|"]
    for name in dict.fromkeys(name for _, name in figures):
        cells = [figures.get((way, name), "") for way in ("a2b", "b2a")]
        lines.append(f"| {name}{_arrow(name)} | {' | '.join(cells)} |")
    if any(compared := [_against_untouched(metrics, way) for way in ("a2b", "b2a")]):
        lines.append(f"| kid minus that of the untouched inputs [95 %] ↓ | {' | '.join(compared)} |")
    protocol = [f"- {key}: {_plain(value)}" for key, value in dict(metrics.get("protocol", {})).items()]
    return "\n".join([*lines, "", *(["Protocol:", "", *protocol, ""] if protocol else [])])


def published_card(
    text: str,
    repo_id: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    grids: Sequence[str] = (),
    domains: tuple[str, str] = ("a", "b"),
    revision: str | None = None,
    subfolder: str | None = None,
    license: str | None = None,
) -> str:
    """Return a card as it is pushed: with the Hub id in its code and the metrics and images that go with it.

    What its author wrote stays, but for a section "Metrics", which follows `metrics`. A card that nobody has touched
    is signed anew.

    Args:
        text: The card.
        repo_id: Where the model goes.
        metrics: What `metrics.json` holds.
        grids: Files of sample grids.
        domains: Names of domains A and B.
        revision: The branch, where it is not the main one.
        subfolder: Where in the repository the card's model lies.
        license: The model's, where the card has another or none.

    Raises:
        ValueError: The card's metadata are not what a card may have.
    """
    untouched, text = is_untouched(text), _SIGNATURE.sub("", text)
    try:
        card = ModelCard(text)
        data: Any = card.data  # a `ModelCardData`
        data.license = license or data.license
        if metrics and (results := eval_results(metrics, *domains, _list(data.datasets))):
            data.eval_results = results
            data.model_name = data.model_name or f"{domains[0]} ↔ {domains[1]}"
        metadata = data.to_yaml(line_break="\n")
    except (ValueError, TypeError, AttributeError, YAMLError) as error:
        raise ValueError(
            f"README.md: its metadata, between the lines `---`, cannot be read ({one_line(error)})"
        ) from error
    body = card.text.lstrip("\n")
    place = f', subfolder="{subfolder}"' if subfolder else ""
    place += f', revision="{revision}"' if revision and revision != "main" else ""
    body = _CALL.sub(f'from_pretrained("{repo_id}"{place}', body, count=1)
    body = _before_first_section(body, _pictures([name for name in grids if name not in body]))
    if metrics:
        section = metrics_section(metrics, *domains)
        body = _METRICS.sub("", body).rstrip("\n") + "\n\n" + section
    text = f"---\n{metadata}\n---\n\n{body}"
    return signed(text) if untouched else text


def signed(text: str) -> str:
    """Add the comment by which [`is_untouched`] recognises a card."""
    text = text.rstrip("\n") + "\n"
    return f"{text}\n<!-- cyclegan_hf wrote this card: {_digest(text)} -->\n"


def is_untouched(text: str) -> bool:
    """Return whether a card is as this library wrote it, so that replacing it loses nobody's edits."""
    found = _SIGNATURE.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def with_section(text: str, section: str) -> str:
    """Add a section at the end of a card; an untouched card stays recognised as such."""
    longer = f"{_SIGNATURE.sub('', text).rstrip()}\n\n{section}"
    return signed(longer) if is_untouched(text) else longer


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]


def _front_matter(data: ModelCardData) -> str:
    comment = "" if data.license else f"\n{NO_LICENSE}"
    return f"---\n{data.to_yaml()}{comment}\n---\n"


def _figures(metrics: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Yield direction, name and value of every finite number."""
    return [
        (direction, name, value)
        for direction in ("a2b", "b2a")
        for name, value in dict(metrics.get(direction) or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def _against_untouched(metrics: Mapping[str, Any], way: str) -> str:
    """Return a direction's KID minus that of the untouched inputs, with its paired bootstrap interval."""
    entry = dict(metrics.get("against_untouched") or {}).get(way, {}).get("kid", {})
    if not entry.get("interval"):
        return ""
    low, high = entry["interval"]
    return f"{entry['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _arrow(name: str) -> str:
    """Return an arrow for the better direction if a name is one of this library's metrics."""
    figure = (FIGURES | FURTHER).get(name)
    return f" {ARROWS[figure.better]}" if figure and figure.better != "neither" else ""


def _pictures(grids: Sequence[str]) -> str:
    """Return the sample grids, one per line."""
    caption = "Pictures, their translations, and the way back"
    return "".join(f"![{caption}]({name})\n\n" for name in grids)


def _table(rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""])


def _limits(facts: CardFacts) -> str:
    """Say what to expect of any CycleGAN, and what this one's training saw."""
    lines = [
        "## Limits",
        "",
        "Colours and textures change well, shapes hardly; what the training pictures never showed is translated by",
        "guesswork. Details may be invented: nothing that such a picture shows is evidence of anything.",
        "",
    ]
    if facts.signals is None:
        lines.append("Whether its training showed known failures is not recorded.")
    elif facts.signals:
        lines += ["At the end of its training, the detectors of known failures saw:", ""]
        lines += [f"- {name}: {message}." for name, message in facts.signals.items()]
    else:
        lines.append(
            "At the end of its training, the detectors of known failures (identity collapse, colour inversion,\n"
            "checkerboards, tinted whites and greys, halos, signals hidden in cycles, discriminators out of balance)\n"
            "saw none."
        )
    return "\n".join([*lines, ""])


def _before_first_section(body: str, addition: str) -> str:
    """Insert a text before the first section, or at the end."""
    if not addition:
        return body
    start = re.search(r"^## |^```", body, re.MULTILINE)
    place = start.start() if start else len(body)
    return f"{body[:place].rstrip()}\n\n{addition}{body[place:]}"


def _list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _plain(value: Any) -> str:
    """Format a value of a protocol in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
