"""The tab that tells what the models are, and the endpoint that lists them."""

import re
from typing import Any

import gradio as gr
import yaml
from checkpoints import Checkpoint, title_case
from shelf import Shelf
from uploads import Refusal, escaped


def models_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Builds the tab; it shows the model that is chosen above the tabs."""
    facts = gr.HTML(facts_table(shelf.first), elem_id="facts")
    with gr.Accordion("Model card", open=False, visible=bool(shelf.first.card), elem_id="card") as cover:
        card = gr.Markdown(card_text(shelf.first))
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
                gr.Warning(refusal.message)  # an error would cover the list of models
                return gr.skip()
            return gr.Dropdown([*dict.fromkeys([*shelf.checkpoints, checkpoint.name])], value=checkpoint.name)

        gr.on([button.click, field.submit], use, field, model, preprocess=False, api_visibility="private")

    def show(model: str) -> tuple[str, str, Any]:
        checkpoint = shelf.find(model)
        return facts_table(checkpoint), card_text(checkpoint), gr.Accordion(visible=bool(checkpoint.card))

    def models() -> list[dict[str, Any]]:
        """Lists the models of this page: their names, what each direction translates, and the numbers of each.

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

    model.change(show, model, [facts, card, cover], show_progress="hidden", preprocess=False, api_visibility="private")
    gr.api(models, api_name="models")


def facts_table(checkpoint: Checkpoint) -> str:
    """A model's facts and numbers as HTML; whatever the model's files say is text and nothing else."""
    facts = checkpoint.facts
    rows: list[tuple[str, str]] = [("Model", checkpoint.name)]
    if facts["commit"]:
        rows.append(("Commit", facts["commit"][:12]))
    for name, network in facts["generators"].items():
        label = checkpoint.labels[name.removeprefix("generator_")]
        rows.append((label, f"{network['class']}, {network['values'] / 1e6:.1f} million values, {network['dtype']}"))
    for key, processor in facts["pictures"].items():
        if processor and processor.get("size"):
            size = " × ".join(map(str, processor["size"]))
            rows.append((f"{title_case(str(facts['domains'][key]))} was learned at", f"{size} pixels"))
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
    for key, label in checkpoint.labels.items():
        numbers = facts["metrics"].get(key)
        if isinstance(numbers, dict) and numbers:
            rows.append((f"Measured, {label}", plain(numbers)))
    if facts["metrics"].get("protocol"):
        rows.append(("Measured how", plain(facts["metrics"]["protocol"])))
    lines = "".join(f"<tr><th scope='row'>{escaped(key)}</th><td>{escaped(value)}</td></tr>" for key, value in rows)
    return f"<table class='facts'>{lines}</table>"


FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """What stands between the lines `---` at the beginning of a model's card."""
    found = FRONT_MATTER.match(checkpoint.card)
    try:
        content = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def card_text(checkpoint: Checkpoint) -> str:
    """A model's card as Markdown without pictures and HTML: a stranger's text may load nothing from elsewhere."""
    text = FRONT_MATTER.sub("", checkpoint.card)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text).replace("![", "[")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
