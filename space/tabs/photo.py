"""The tab that translates one photo, and its endpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from checkpoints import Checkpoint, title_case
from example_results import ExampleResults, examples_for
from photo_job import PhotoStep, UnreadablePhoto, translate_photo
from progress import Clock, Jobs, plain_status, status
from settings import LONG_SIDES
from shelf import Shelf
from shipped_examples import Example
from theme import SCROLL_TO_RESULT
from uploads import (
    Refusal,
    difference_map,
    direction_of,
    escaped,
    new_folder,
    plain_name,
    save_preview,
    shown_copy,
    told,
    uploaded_file,
)

from tabs.direction import direction_choice


EXTRAS = {"cycle": "The way back", "difference": "Where it changed"}
MIDDLE = (50.0, 50.01)  # in turn: the slider only moves when its position is another one than the last


def extras_of(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Return what can be shown besides the translation; the way back only if the model has one."""
    return [(label, name) for name, label in EXTRAS.items() if name != "cycle" or len(checkpoint.domains) == 2]


def ends(checkpoint: Checkpoint, direction: str) -> str:
    """Return the captions at the slider's ends."""
    source, target = (escaped(title_case(name)) for name in checkpoint.domains[direction])
    return f"<div class='ends'><span>{source}</span><span>{target}</span></div>"


def photo_tab(shelf: Shelf, model: gr.Dropdown, results: ExampleResults, page: gr.Blocks) -> None:
    """Build the tab; what it offers follows the model that is chosen.

    Args:
        shelf: the models.
        model: the choice among them.
        results: the examples' translations.
        page: whose first sight the tab is.
    """
    first = shelf.first
    examples = examples_for(first)
    opening = (examples[0], results.ready(first, examples[0])) if examples else None
    with gr.Row(elem_id="stage"):
        with gr.Column(scale=3, min_width=300):
            slider = gr.ImageSlider(
                (str(opening[0].path), str(opening[1])) if opening and opening[1] else None,
                label="Before and after",
                show_label=False,
                buttons=["fullscreen"],
                max_height=540,
                elem_id="result",
            )
            direction_shown = opening[0].direction if opening else next(iter(first.domains))
            captions = gr.HTML(ends(first, direction_shown), padding=False, elem_id="ends")
            with gr.Row(equal_height=True, elem_id="below"):
                with gr.Column(min_width=150, scale=3):
                    info = gr.HTML(
                        plain_status(
                            "An example: drag the line. Now choose your photo." if opening else "Choose a photo."
                        ),
                        padding=False,
                        elem_id="info",
                    )
                download = gr.DownloadButton("Download", interactive=False, scale=1, min_width=120, elem_id="download")
            with gr.Row():
                back = gr.Image(label=EXTRAS["cycle"], visible=False, buttons=["fullscreen"], elem_id="cycle")
                changed = gr.Image(
                    label=EXTRAS["difference"], visible=False, buttons=["fullscreen"], elem_id="difference"
                )
        with gr.Column(scale=2, min_width=300, elem_id="controls"):
            photo = gr.Image(
                label="Your photo",
                alt_text="Your photo",
                sources=["upload", "webcam", "clipboard"],
                height=200,
                buttons=[],
                elem_id="photo",
            )
            direction = direction_choice(first, elem_id="direction")
            with gr.Row():
                button = gr.Button(
                    "Translate", variant="primary", size="lg", interactive=False, scale=3, elem_id="translate"
                )
                stop = gr.Button("Stop", size="lg", visible=False, scale=1, min_width=80, elem_id="stop-photo")
            with gr.Accordion("Options", open=False, elem_id="options"):
                long_side = gr.Radio(
                    [(label, name) for name, label in LONG_SIDES.items()],
                    value="1024",
                    label="Longest side, in pixels",
                    info="Larger photos are shrunk, smaller ones keep their size.",
                    elem_id="long-side",
                )
                extras = gr.CheckboxGroup(extras_of(first), label="Also show", elem_id="extras")
            gallery = gr.Dataset(
                components=[gr.Image(visible=False, render=False)],
                samples=thumbnails(results, first, examples),
                samples_per_page=max(1, len(examples)),
                type="index",
                label="Examples: one click",
                visible=bool(examples),
                elem_id="examples",
            )
    png = gr.File(visible=False, label="Translation")  # what the endpoint returns
    job = gr.State(0)
    jobs = Jobs()

    def translate(photo: dict[str, Any] | None, direction: str, long_side: str, model: str) -> str:
        """Translate a photo from one domain to the other, such as from summer to winter.

        Args:
            photo: a JPEG, PNG, WebP, AVIF, GIF (its first frame), BMP or TIFF file.
            direction: a2b is from the model's domain a to domain b, b2a the way back; the domains' names do too, such
                as summer2winter. By default the first of the two.
            long_side: pixels of the result's longest side, as a number, or original; larger photos are shrunk, smaller
                ones keep their size.
            model: one of the page's models, which the endpoint `models` lists with their domains.

        Returns:
            The translation as a PNG file.
        """
        *_, step = translate_photo(shelf, uploaded_file(photo), direction, long_side, model)
        return str(save_png(shelf.find(model), step, photo, direction))

    def show(
        upload: dict[str, Any] | None,
        direction: str,
        long_side: str,
        extras: list[str],
        model: str,
        job: int,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        clock, steps = Clock(), None
        idle = {button: gr.update(value="Translate", interactive=upload is not None), stop: gr.update(visible=False)}
        if upload is None:
            yield idle
            return
        try:
            checkpoint, source = shelf.find(model), uploaded_file(upload)
            steps = translate_photo(shelf, source, direction, long_side, model, cycle="cycle" in extras)
            for step in steps:
                if not jobs.is_latest(request.session_hash, job):
                    yield {info: gr.skip()}  # Gradio repeats a job's last words when it ends
                    return
                if not step.results:
                    yield {info: working(step, clock)}
            shown = present(checkpoint, step, upload, direction, extras, clock)
        except Refusal as refusal:
            if jobs.is_latest(request.session_hash, job):
                bad = isinstance(refusal, UnreadablePhoto)
                another = {photo: None, button: gr.update(value="Translate", interactive=False)} if bad else {}
                yield idle | another | {info: plain_status(told(refusal))}
            return
        finally:
            if steps is not None:
                steps.close()  # frees the memory now
        pair, facts, path, more = shown
        yield idle | {
            slider: gr.update(value=pair, slider_position=MIDDLE[job % 2]),
            captions: ends(checkpoint, direction),
            info: status(facts),
            download: gr.update(value=path, interactive=True),
            back: gr.update(visible="back" in more, value=more.get("back")),
            changed: gr.update(visible="changed" in more, value=more.get("changed")),
        }

    def begin(upload: dict[str, Any] | None, request: gr.Request) -> dict[Any, Any]:
        number = jobs.start(request.session_hash)
        if upload is None:
            return {
                job: number,
                button: gr.update(value="Translate", interactive=False),
                stop: gr.update(visible=False),
            }
        return {
            job: number,
            button: gr.update(value="Translating …", interactive=False),
            stop: gr.update(visible=True),
            info: status("Translating …", 0),
        }

    def halt(request: gr.Request) -> dict[Any, Any]:
        jobs.start(request.session_hash)
        return {
            button: gr.update(value="Translate", interactive=True),
            stop: gr.update(visible=False),
            info: plain_status("Stopped."),
        }

    def show_example(index: int, model: str, request: gr.Request) -> dict[Any, Any]:
        number = jobs.start(request.session_hash)
        checkpoint = shelf.find(model)
        example = examples[index] if isinstance(index, int) and 0 <= index < len(examples) else examples[0]
        try:
            result = results.result(checkpoint, example)
        except Refusal as refusal:
            return {info: plain_status(told(refusal))}
        name = f"{example.path.stem}-{plain_name(checkpoint.domains[example.direction][1])}.jpg"
        copy = new_folder() / name
        copy.write_bytes(result.read_bytes())
        return {
            job: number,
            photo: str(example.path),
            direction: example.direction,
            slider: gr.update(value=(str(example.path), str(result)), slider_position=MIDDLE[number % 2]),
            captions: ends(checkpoint, example.direction),
            info: status(f"<b>{escaped(checkpoint.labels[example.direction])}</b> · an example"),
            download: gr.update(value=copy, interactive=True),
            back: gr.update(visible=False, value=None),
            changed: gr.update(visible=False, value=None),
            button: gr.update(value="Translate", interactive=True),
            stop: gr.update(visible=False),
        }

    def first_pair() -> tuple[Any, Any]:
        """Show the first example if its translation had to be computed."""
        try:
            result = results.result(first, examples[0])
        except Refusal:
            return gr.skip(), gr.skip()
        return (str(examples[0].path), str(result)), gr.Dataset(samples=thumbnails(results, first, examples))

    def follow(model: str) -> list[Any]:
        checkpoint = shelf.find(model)
        fits = bool(examples) and [e.key for e in examples_for(checkpoint)] == [e.key for e in examples]
        return [
            direction_choice(checkpoint),
            gr.CheckboxGroup(extras_of(checkpoint), value=[]),
            gr.Dataset(visible=fits),
            ends(checkpoint, next(iter(checkpoint.domains))),
            None,
            gr.update(value=None, interactive=False),
            plain_status("Choose a photo" + (" or an example." if fits else ".")),
        ]

    def replace_unseen(upload: dict[str, Any] | None) -> tuple[Any, Any]:
        """Give a photo that no browser shows, such as a TIFF, as a PNG of the same pixels."""
        enabled = gr.update(interactive=upload is not None)
        try:
            copy = shown_copy(uploaded_file(upload)) if upload else None
        except Refusal:
            return gr.skip(), enabled  # the translation says why
        return (str(copy) if copy else gr.skip()), enabled

    # Files reach the functions unopened (`preprocess=False`): Gradio's own errors on a bad one show paths.
    private = {"preprocess": False, "api_visibility": "private", "show_progress": "hidden"}
    free = {"concurrency_limit": None}  # the page's own line shares the device; see `turns`
    inputs = [photo, direction, long_side, extras, model, job]
    outputs = [photo, slider, captions, info, download, back, changed, button, stop]
    starts = [photo.input, direction.input, button.click]
    several = {"trigger_mode": "multiple", **free, **private}
    started = gr.on(starts, begin, photo, [job, button, stop, info], js=SCROLL_TO_RESULT, **several)
    started.then(show, inputs, outputs, **several)
    stop.click(halt, None, [button, stop, info], **free, **private)
    photo.change(replace_unseen, photo, [photo, button], **several)
    gallery.click(show_example, [gallery, model], [*outputs, direction, job], **several).then(
        None, js=SCROLL_TO_RESULT
    )
    if examples and not (opening and opening[1]):
        page.load(first_pair, None, [slider, gallery], **free, **private)
    model.change(follow, model, [direction, extras, gallery, captions, slider, download, info], **private)
    gr.on([], translate, [photo, direction, long_side, model], png, api_name="translate", preprocess=False, **free)


def thumbnails(results: ExampleResults, checkpoint: Checkpoint, examples: list[Example]) -> list[list[str]]:
    return [[str(results.thumbnail(checkpoint, example))] for example in examples]


def working(step: PhotoStep, clock: Clock) -> str:
    """Return the message shown while a photo waits or is translated."""
    if step.ahead:
        return status(f"Waiting for {step.ahead} other{'s' if step.ahead > 1 else ''} …", 0)
    if step.total <= 1:
        return status("Translating …", 0)
    return status(
        f"Translating … {step.done} of {step.total} pieces{clock.left(step.done, step.total)}", step.done / step.total
    )


def save_png(checkpoint: Checkpoint, step: PhotoStep, upload: dict[str, Any] | None, direction: str) -> Path:
    """Write the full-size result, named after the upload."""
    target = checkpoint.domains[direction_of(checkpoint.domains, direction)][1]
    stem = plain_name(str((upload or {}).get("orig_name") or "photo"))
    path = new_folder() / f"{stem}-{plain_name(target)}.png"
    step.results[0].save(path, compress_level=3)
    return path


def present(
    checkpoint: Checkpoint,
    step: PhotoStep,
    upload: dict[str, Any],
    direction: str,
    extras: list[str],
    clock: Clock,
) -> tuple[tuple[str, str], str, Path, dict[str, str]]:
    """Write what the page shows of a translation.

    Returns:
        The slider's pair, the line below it as HTML, the file to download, and the pictures asked for besides.
    """
    before, after = step.before, step.results[0]
    assert before is not None
    path = save_png(checkpoint, step, upload, direction)
    pair = tuple(
        str(save_preview(picture, path.with_name(f"{name}.jpg")))
        for name, picture in (("before", before), ("after", after))
    )
    facts = f"<b>{escaped(checkpoint.labels[direction])}</b> · {after.width} × {after.height} pixels"
    more = {}
    if "cycle" in extras:
        _, away = difference_map(before, step.results[1])
        facts += f" · there and back: {away:.1f} of 255 levels away"
        more["back"] = str(save_preview(step.results[1], path.with_name("back.jpg")))
    if "difference" in extras:
        heat, mean = difference_map(before, after)
        facts += f" · changed by {mean:.1f} of 255 levels on average"
        more["changed"] = str(save_preview(heat, path.with_name("changed.jpg")))
    return pair, f"{facts} · {clock.seconds:.1f} s", path, more  # type: ignore[return-value]
