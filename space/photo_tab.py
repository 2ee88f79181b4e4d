"""The tab that translates one photo, and its endpoint."""

import time
from pathlib import Path
from typing import Any

import gradio as gr
from checkpoints import Checkpoint
from example_pictures import example_files
from PIL import Image
from settings import LONG_SIDES
from shelf import Shelf
from theme import SCROLL_TO_RESULT
from uploads import Refusal, difference_map, limit_size, open_photo, save_png, save_preview, told


EXTRAS = {"cycle": "The way back", "difference": "Where it changed"}
MODEL_QUEUE = {"concurrency_id": "model", "concurrency_limit": 1}


def examples_of(checkpoint: Checkpoint) -> list[list[str]]:
    """The pictures of the model's domains that come with the page: (file, direction)."""
    return [
        [str(path), direction]
        for direction, (source, _) in checkpoint.domains.items()
        for path in example_files(source)
    ]


def direction_choice(checkpoint: Checkpoint, **settings: Any) -> gr.Radio:
    choices = [(label, name) for name, label in checkpoint.labels.items()]
    return gr.Radio(choices, value=choices[0][1], label="Direction", **settings)


def extras_of(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """What can be shown besides the translation; the way back only where the model knows one."""
    return [(label, name) for name, label in EXTRAS.items() if name != "cycle" or len(checkpoint.domains) == 2]


def photo_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Builds the tab; what it offers follows the model that is chosen."""
    first = shelf.first
    examples = examples_of(first)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photo = gr.Image(
                label="Your photo",
                alt_text="Your photo",
                sources=["upload", "webcam", "clipboard"],
                height=300,
                buttons=[],
                elem_id="photo",
            )
            direction = direction_choice(first, elem_id="direction")
            long_side = gr.Radio(
                [(label, name) for name, label in LONG_SIDES.items()],
                value="1024",
                label="Longest side, in pixels",
                info="Larger photos are shrunk, smaller ones keep their size.",
                elem_id="long-side",
            )
            extras = gr.CheckboxGroup(extras_of(first), label="Also show", elem_id="extras")
            button = gr.Button("Translate", variant="primary", size="lg", interactive=False, elem_id="translate")
            if examples:
                gallery = gr.Examples(
                    examples,
                    [photo, direction],
                    examples_per_page=len(examples),
                    visible_columns=[0],
                    label="Or translate an example",
                    elem_id="examples",
                    api_visibility="private",
                )
        with gr.Column(scale=3, min_width=300):
            slider = gr.ImageSlider(label="Before and after", buttons=["fullscreen"], max_height=560, elem_id="result")
            with gr.Row(equal_height=True):
                with gr.Column(min_width=220):
                    info = gr.Markdown("Choose a photo" + (" or an example." if examples else "."), elem_id="info")
                download = gr.DownloadButton(
                    "Download PNG", interactive=False, scale=0, min_width=190, elem_id="download"
                )
            with gr.Row():
                back = gr.Image(label=EXTRAS["cycle"], visible=False, buttons=["fullscreen"], elem_id="cycle")
                changed = gr.Image(
                    label=EXTRAS["difference"], visible=False, buttons=["fullscreen"], elem_id="difference"
                )
    png = gr.File(visible=False, label="Translation")  # what the endpoint returns

    def check(upload: dict[str, Any] | None) -> dict[str, Any]:
        if upload is not None:
            open_photo(upload)
        return gr.update(interactive=upload is not None)

    def run(
        upload: dict[str, Any] | None, direction: str, long_side: str, model: str, cycle: bool = False
    ) -> tuple[Image.Image, list[Image.Image], Path]:
        checkpoint = shelf.find(model)
        before = open_photo(upload)
        before = limit_size(before, long_side, checkpoint.most_pixels(before.width * before.height))
        (results,) = shelf.translate(checkpoint, [before], direction, cycle=cycle)
        return before, results, save_png(results[0], upload, checkpoint.domains[direction][1])

    def translate(photo: dict[str, Any] | None, direction: str, long_side: str, model: str) -> str:
        """Translates a photo from one domain to the other, such as from summer to winter.

        Args:
            photo: a JPEG, PNG, WebP, AVIF, GIF (its first frame), BMP or TIFF file.
            direction: a2b is from the model's domain a to domain b, b2a the way back. By default the first of the two.
            long_side: pixels of the result's longest side; larger photos are shrunk, smaller ones keep their size.
            model: one of the page's models, which the endpoint `models` lists with their domains.

        Returns:
            The translation as a PNG file.
        """
        return str(run(photo, direction, long_side, model)[2])

    def show(
        upload: dict[str, Any] | None, direction: str, long_side: str, extras: list[str], model: str
    ) -> tuple[Any, ...]:
        start = time.perf_counter()
        try:
            before, results, path = run(upload, direction, long_side, model, "cycle" in extras)
        except Refusal as refusal:
            return gr.skip(), told(refusal), gr.skip(), gr.skip(), gr.skip()
        after = results[0]
        label = shelf.find(model).labels[direction]
        facts = f"**{label}** · {after.width} × {after.height} pixels · {time.perf_counter() - start:.1f} s"
        pair = tuple(
            save_preview(picture, path.with_name(f"{name}.jpg"))
            for name, picture in (("before", before), ("after", after))
        )
        shown = {"back": gr.update(visible=False, value=None), "changed": gr.update(visible=False, value=None)}
        if "cycle" in extras:
            _, away = difference_map(before, results[1])
            facts += f" · there and back: {away:.1f} of 255 levels away"
            shown["back"] = gr.update(visible=True, value=save_preview(results[1], path.with_name("back.jpg")))
        if "difference" in extras:
            heat, mean = difference_map(before, after)
            facts += f" · changed by {mean:.1f} of 255 levels on average"
            shown["changed"] = gr.update(visible=True, value=save_preview(heat, path.with_name("changed.jpg")))
        return pair, facts, gr.update(value=path, interactive=True), shown["back"], shown["changed"]

    def follow(model: str) -> list[Any]:
        checkpoint = shelf.find(model)
        updates = [direction_choice(checkpoint), gr.CheckboxGroup(extras_of(checkpoint), value=[])]
        if examples:
            fits = examples_of(checkpoint) == examples
            updates.append(gr.Dataset(visible=fits))
        return updates

    # Files reach the functions unopened (`preprocess=False`): Gradio's own errors on a bad one show paths.
    inputs, outputs = [photo, direction, long_side, extras, model], [slider, info, download, back, changed]
    private = {"preprocess": False, "api_visibility": "private"}
    on_page = {**MODEL_QUEUE, **private, "show_progress_on": slider}
    photo.change(check, photo, button, show_progress="hidden", concurrency_limit=4, **private).failure(
        lambda: None, None, photo, **private
    )
    button.click(show, inputs, outputs, **on_page).success(None, js=SCROLL_TO_RESULT)
    followers = [direction, extras] + ([gallery.dataset] if examples else [])
    model.change(follow, model, followers, show_progress="hidden", **private)
    gr.on(
        [], translate, [photo, direction, long_side, model], png, api_name="translate", preprocess=False, **MODEL_QUEUE
    )
    if examples:
        gallery.load_input_event.then(show, inputs, outputs, **on_page).success(None, js=SCROLL_TO_RESULT)
