"""The tab that tells what the models are, and the endpoint that lists them."""

import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import yaml
from checkpoints import Checkpoint, title_case
from shelf import Shelf
from uploads import Refusal, escaped


def models_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Build the tab; it shows the model that is chosen above the tabs."""
    first = shelf.first
    gr.HTML(model_list(shelf), visible=len(shelf.checkpoints) > 1, elem_id="model-list")
    figures = gr.HTML(figures_of(first), elem_id="figures")
    grid = gr.Image(
        shown_grid(first),
        label="Pictures, their translations, and the way back",
        show_label=False,
        visible=first.grid is not None,
        buttons=["fullscreen"],
        interactive=False,
        elem_id="grid",
    )
    with gr.Accordion("Details", open=False, elem_id="details"):
        facts = gr.HTML(facts_table(first), elem_id="facts")
    with gr.Accordion("Model card", open=False, visible=bool(first.card), elem_id="card") as cover:
        card = gr.Markdown(plain_markdown(first.card))
    with gr.Accordion("All figures", open=False, visible=bool(first.report), elem_id="report-md") as report_cover:
        report = gr.Markdown(plain_markdown(first.report))
    if shelf.any_model:
        with gr.Row(equal_height=True):
            field = gr.Textbox(
                label="Another model of the Hub",
                info="Its id, such as user/name. Only safetensors files are read.",
                max_length=200,
                elem_id="model-id",
                scale=3,
            )
            button = gr.Button("Use this model", elem_id="use-model", scale=0, min_width=180)

        def use(name: str) -> Any:
            try:
                checkpoint = shelf.find(str(name).strip()[:200])
            except Refusal as refusal:
                gr.Warning(refusal.message, title="No such model")  # an error would cover the list of models
                return gr.skip()
            known = {**shelf.checkpoints, checkpoint.name: checkpoint}
            return gr.Dropdown(model_choices(known), value=checkpoint.name)

        gr.on([button.click, field.submit], use, field, model, preprocess=False, api_visibility="private")

    def show(model: str) -> tuple[Any, ...]:
        checkpoint = shelf.find(model)
        return (
            figures_of(checkpoint),
            gr.Image(shown_grid(checkpoint), visible=checkpoint.grid is not None),
            facts_table(checkpoint),
            plain_markdown(checkpoint.card),
            gr.Accordion(visible=bool(checkpoint.card)),
            plain_markdown(checkpoint.report),
            gr.Accordion(visible=bool(checkpoint.report)),
        )

    def models() -> list[dict[str, Any]]:
        """List the models of this page: their names, what each direction translates, and the numbers of each.

        Returns:
            For each model its `name`, its `directions` (a2b, b2a, with what they translate) and its `metrics`.
        """
        return [
            {
                "name": checkpoint.name,
                "directions": {key: list(pair) for key, pair in checkpoint.domains.items()},
                "metrics": checkpoint.facts["metrics"],
            }
            for checkpoint in shelf.checkpoints.values()
        ]

    shown = [figures, grid, facts, card, cover, report, report_cover]
    model.change(show, model, shown, show_progress="hidden", preprocess=False, api_visibility="private")
    gr.api(models, api_name="models")


def model_choices(checkpoints: dict[str, Checkpoint]) -> list[tuple[str, str]]:
    """Return what the choice of a model shows: its name and what it translates."""
    return [(f"{name}: {checkpoint.title}", name) for name, checkpoint in checkpoints.items()]


def model_list(shelf: Shelf) -> str:
    """Return the page's models, each with a line that tells what it does."""
    rows = "".join(
        f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(checkpoint.headline)}"
        f"{' – and back' if len(checkpoint.domains) == 2 else ''}</td></tr>"
        for name, checkpoint in shelf.checkpoints.items()
    )
    return f"<table class='facts'>{rows}</table>"


def shown_grid(checkpoint: Checkpoint) -> str | None:
    return str(checkpoint.grid) if checkpoint.grid is not None else None


def figures_of(checkpoint: Checkpoint) -> str:
    """Return a model's five most telling figures as HTML: what is measured, in plain words."""
    cards = "".join(
        f"<div class='figure'><b>{escaped(value)}</b><span>{escaped(label)}</span><small>{escaped(note)}</small></div>"
        for value, label, note in list(telling_figures(checkpoint))[:5]
    )
    return f"<div class='figures'>{cards}</div>"


def telling_figures(checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """Yield (value, label, note) of what the model's files tell."""
    metrics = checkpoint.facts["metrics"]
    networks = checkpoint.facts["generators"].values()
    for direction, (_, target) in checkpoint.domains.items():
        if (share := number(metrics, direction, "taken_for_target")) is not None:
            notes = [
                f"{word} {value:.0%}"
                for word, kind in (("real photos", "real"), ("untouched", "untouched"))
                if (value := number(metrics, "baselines", direction, kind, "figures", "taken_for_target")) is not None
            ]
            yield f"{share:.0%}", f"of the results look like {target} to a classifier", " · ".join(notes)
    kept = [number(metrics, direction, "edge_agreement") for direction in checkpoint.domains]
    if found := [value for value in kept if value is not None]:
        yield f"{min(found):.0%}", "of the outlines are kept", "correlation of the edges"
    away = [number(metrics, direction, "cycle_l1") for direction in checkpoint.domains]
    if found := [value for value in away if value is not None]:
        yield f"{max(found):.1%}", "away from the photo after the way there and back", "mean difference of the pixels"
    values = sum(network["values"] for network in networks)
    yield (
        f"{values / 1e6:.1f} M",
        "weights in all",
        f"{len(checkpoint.domains)} direction{'s' if len(checkpoint.domains) > 1 else ''}",
    )
    for key, processor in checkpoint.facts["pictures"].items():
        if processor and processor.get("size"):
            yield (
                " × ".join(map(str, processor["size"])),
                "pixels in training",
                title_case(str(checkpoint.facts["domains"][key])),
            )


def number(values: Any, *keys: str) -> float | None:
    """Return a number from nested dictionaries, which may be a stranger's; `None` if it is not there."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return float(values) if isinstance(values, int | float) and not isinstance(values, bool) else None


def facts_table(checkpoint: Checkpoint) -> str:
    """Return a model's facts as HTML; whatever the model's files say is text and nothing else."""
    facts = checkpoint.facts
    rows: list[tuple[str, str]] = [("Model", checkpoint.name)]
    if facts["commit"]:
        rows.append(("Commit", facts["commit"][:12]))
    for name, network in facts["generators"].items():
        label = checkpoint.labels[name.removeprefix("generator_")]
        rows.append((label, f"{network['class']}, {network['values'] / 1e6:.1f} million weights, {network['dtype']}"))
    for key, processor in facts["pictures"].items():
        if processor and processor.get("size"):
            size = " × ".join(map(str, processor["size"]))
            rows.append((f"{title_case(str(facts['domains'][key]))}, training size", f"{size} pixels"))
    if conversion := facts.get("conversion"):
        networks = conversion["networks"]
        rows.append(("Files", f"{', '.join(network['source'] for network in networks)}, of the official code"))
        worst = max(network["max_difference"] for network in networks)
        rows.append(("Converted", f"at most {worst:.0e} away from what the official networks answer, of 2"))
        rows += [("Note", note.replace("`", "")) for note in conversion["notes"]]
    else:
        graphs = ", exported graphs (ONNX)" if checkpoint.has_graphs else ""
        rows.append(("Files", f"weights as safetensors{graphs}"))
    if licence := metadata(checkpoint).get("license"):
        rows.append(("Licence", plain(licence)))
    rows += [(title_case(key), plain(value)) for key, value in facts["training"].items() if value is not None]
    lines = "".join(f"<tr><th scope='row'>{escaped(key)}</th><td>{escaped(value)}</td></tr>" for key, value in rows)
    return f"<table class='facts'>{lines}</table>"


FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the text between the `---` lines at the start of a model's card."""
    found = FRONT_MATTER.match(checkpoint.card)
    try:
        content = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def plain_markdown(text: str) -> str:
    """Return a model's card or report as Markdown without images and HTML: it may load nothing from elsewhere.

    Links to other files of the model would lead nowhere, and become plain text.
    """
    text = FRONT_MATTER.sub("", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text).replace("![", "[")
    text = re.sub(r"\[([^\]]*)\]\((?!https?://)[^)]*\)", r"\1", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
