"""The tab that translates many photos, and its endpoint."""

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr
from archives import Member, file_list, is_zip, members, safe_stem
from photo_job import PhotoStep, translate_photo
from PIL import Image
from progress import Clock, plain_status, status
from settings import JOB_SECONDS, LONG_SIDES, MAX_BATCH, MAX_BATCH_PIXELS
from shelf import Shelf
from uploads import Refusal, direction_of, new_folder, pixels_of, plain_name, save_preview, told, uploaded_file

from tabs.direction import direction_choice


PREVIEWS, PREVIEW_SIDE, GAP = 60, 384, 6
STOPPED = "Stopped: these are the ones that were done."
STOPPED_EMPTY = "Stopped before the first photo was done."
JOB_QUEUE = {"concurrency_id": "jobs", "concurrency_limit": 1}


@dataclass
class Batch:
    """What became of the photos so far.

    Attributes:
        total: photos that were sent.
        done: names of those that were translated.
        refused: name and reason of the others.
        previews: (file, caption) of the first results, before and after side by side.
        archive: the zip file with the results.
        ended: why it ended early.
        share: of the photo that is being translated, in [0, 1).
    """

    total: int
    done: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    previews: list[tuple[Path, str]] = field(default_factory=list)
    archive: Path | None = None
    ended: str = ""
    share: float = 0.0

    @property
    def seen(self) -> float:
        """Photos that are finished, with the share of the one that is not."""
        return len(self.done) + len(self.refused) + self.share

    def __str__(self) -> str:
        lines = [f"{len(self.done)} of {self.total} translated. {self.ended}".strip()]
        return "\n".join(lines + [f"{name[:80]}: {reason}" for name, reason in self.refused[:100]])


def sent_photos(uploads: list[dict[str, Any]] | None) -> list[Member | Path]:
    """Return the uploads: photos, and zip files, which are opened later."""
    if not uploads:
        raise Refusal("Choose photos or a zip file first.")
    found: list[Member | Path] = []
    for upload in uploads if isinstance(uploads, list) else [uploads]:
        path = uploaded_file(upload, "Choose photos or a zip file first.")
        name = str(upload.get("orig_name") or path.name)
        found.append(path if is_zip(path) else Member(name, PurePosixPath(safe_stem(name).name), path))
    return found


def translate_all(
    shelf: Shelf,
    uploads: list[dict[str, Any]] | None,
    direction: str,
    long_side: str,
    model: str,
    stopped: Callable[[], bool] = lambda: False,
    previews: int = PREVIEWS,
) -> Iterator[Batch]:
    """Translate photos and the photos inside zip files; yields after each what there is by then.

    One that cannot be translated costs a line in the report, and the others go on. What was done by then is also the
    result of a batch that is stopped, or that takes too long.

    Args:
        shelf: the models.
        uploads: photos and zip files.
        direction: `"a2b"` or `"b2a"`.
        long_side: one of `LONG_SIDES`.
        model: its name on the page.
        stopped: asked before each photo.
        previews: how many results are also written for the page to show.

    Raises:
        Refusal: nothing can be done at all.
    """
    checkpoint = shelf.find(model)
    sent = sent_photos(uploads)
    direction = direction_of(checkpoint.domains, direction)
    pixels_of(long_side)
    total = sum(len(file_list(each)) if isinstance(each, Path) else 1 for each in sent)
    if total > MAX_BATCH:
        raise Refusal(f"These are {total} files. {MAX_BATCH} at once are the most.")
    domain = plain_name(checkpoint.domains[direction][1])
    clock, pixels = Clock(), 0
    batch, names, folder = Batch(total), set[str](), new_folder()
    finished = False
    try:
        with zipfile.ZipFile(folder / f"{domain}.zip", "w", zipfile.ZIP_STORED) as archive:  # PNG is packed already
            for member in flat(sent):
                if stopped():
                    batch.ended = STOPPED
                    break
                if clock.seconds > JOB_SECONDS or pixels > MAX_BATCH_PIXELS:
                    batch.ended = "That was as much as one batch may take: send the others again."
                    break
                try:
                    if isinstance(member.content, Refusal):
                        raise member.content
                    for step in translate_photo(shelf, member.content, direction, long_side, model):
                        batch.share = step.done / step.total * 0.99 if step.total else 0.0
                        if not step.results:
                            yield batch
                        if stopped():
                            break
                except Refusal as refusal:
                    batch.share = 0.0
                    batch.refused.append((member.name, refusal.message))
                    yield batch
                    continue
                batch.share = 0.0
                if not step.results:
                    continue
                result = step.results[0]
                pixels += result.width * result.height
                name = free_name(member.stem, domain, names)
                with archive.open(name, "w") as file:
                    result.save(file, "PNG", compress_level=3)
                batch.done.append(name)
                if len(batch.previews) < previews:
                    preview = save_preview(side_by_side(step), folder / f"{len(batch.done)}.jpg", 2 * PREVIEW_SIDE)
                    batch.previews.append((preview, name))
                yield batch
        if not batch.done:
            reasons = "; ".join(f"{name[:80]}: {reason}" for name, reason in batch.refused[:3])
            raise Refusal(f"None of these files could be translated. {reasons}" if reasons else STOPPED_EMPTY)
        batch.archive = folder / f"{domain}.zip"
        finished = True
        yield batch
    finally:  # also when the visitor leaves
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)


def side_by_side(step: PhotoStep) -> Image.Image:
    """Return a photo and its translation in one image, small enough for a gallery."""
    halves = [picture.convert("RGB") for picture in (step.before, step.results[0]) if picture is not None]
    for half in halves:
        half.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    width, height = halves[0].size
    pair = Image.new("RGB", (2 * width + GAP, height), "white")
    for index, half in enumerate(halves):
        pair.paste(half, (index * (width + GAP), 0))
    return pair


def flat(sent: list[Member | Path]) -> Iterator[Member]:
    for each in sent:
        if isinstance(each, Path):
            yield from members(each)
        else:
            yield each


def free_name(stem: PurePosixPath, domain: str, taken: set[str]) -> str:
    """Return a name in the zip that no other result has, also where capitals do not count."""
    for number in range(1, len(taken) + 2):
        name = f"{stem}-{domain}{f'-{number}' if number > 1 else ''}.png"
        if name.lower() not in taken:
            break
    taken.add(name.lower())
    return name


def batch_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Build the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            files = gr.File(
                label="Photos, or a zip file of photos",
                file_count="multiple",
                file_types=["image", ".zip"],
                height=200,
                elem_id="files",
            )
            direction = direction_choice(shelf.first, elem_id="batch-direction")
            long_side = gr.Radio(
                [(label, name) for name, label in LONG_SIDES.items()],
                value="512",
                label="Longest side, in pixels",
                info="Larger photos are shrunk, smaller ones keep their size.",
                elem_id="batch-long-side",
            )
            with gr.Row():
                button = gr.Button(
                    "Translate all", variant="primary", scale=3, interactive=False, elem_id="translate-all"
                )
                stop = gr.Button("Stop", visible=False, scale=1, min_width=80, elem_id="stop-batch")
        with gr.Column(scale=3, min_width=300):
            bar = gr.HTML(plain_status(f"Up to {MAX_BATCH} photos at once."), elem_id="batch-progress")
            gallery = gr.Gallery(
                label="Before and after", columns=2, height=400, object_fit="contain", buttons=[], elem_id="gallery"
            )
            report = gr.Textbox(label="Report", lines=2, max_lines=8, interactive=False, elem_id="report")
            download = gr.DownloadButton("Download all (zip)", interactive=False, elem_id="download-all")
    archive = gr.File(visible=False, label="Translations")
    running, stopping = set[str](), set[str]()  # sessions

    def show(
        uploads: list[dict[str, Any]] | None, direction: str, long_side: str, model: str, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        clock, session = Clock(), str(request.session_hash)
        running.add(session)
        idle = {button: gr.update(value="Translate all", interactive=True), stop: gr.update(visible=False)}
        shown = 0
        try:
            for batch in translate_all(shelf, uploads, direction, long_side, model, lambda: session in stopping):
                if batch.archive is not None:
                    yield idle | {
                        bar: status(f"{len(batch.done)} of {batch.total} translated · {clock.seconds:.0f} s", 1),
                        gallery: batch.previews,
                        report: str(batch),
                        download: gr.update(value=batch.archive, interactive=True),
                    }
                    continue
                text = f"{len(batch.done) + len(batch.refused)} of {batch.total} photos"
                text += clock.left(batch.seen, batch.total)
                update = {
                    bar: status(text, batch.seen / batch.total),
                    report: f"{batch}{clock.left(batch.seen, batch.total)}",
                }
                if len(batch.previews) > shown:
                    shown = len(batch.previews)
                    update[gallery] = list(batch.previews)
                yield update
        except Refusal as refusal:
            stopped = refusal.message == STOPPED_EMPTY
            text = refusal.message if stopped else told(refusal)
            yield idle | {bar: plain_status(text), report: text}
        finally:
            running.discard(session)
            stopping.discard(session)

    def begin(uploads: list[dict[str, Any]] | None) -> dict[Any, Any]:
        return {
            button: gr.update(value="Translating …", interactive=False),
            stop: gr.update(visible=True),
            bar: status("Waiting for its turn …", 0),
            gallery: None,
            report: "",
            download: gr.update(value=None, interactive=False),
        }

    def halt(request: gr.Request) -> dict[Any, Any]:
        if request.session_hash in running:
            stopping.add(str(request.session_hash))
            return {bar: plain_status("Stopping …"), gone: gr.skip()}
        return {  # it still waits in the queue, from which it is taken
            bar: plain_status(STOPPED_EMPTY),
            report: STOPPED_EMPTY,
            button: gr.update(value="Translate all", interactive=True),
            stop: gr.update(visible=False),
            gone: time.monotonic(),
        }

    def translate_batch(
        files: list[dict[str, Any]] | None, direction: str, long_side: str, model: str
    ) -> tuple[str, str]:
        """Translate many photos from one domain to the other.

        Args:
            files: picture files, zip files of pictures, or both.
            direction: a2b is from the model's domain a to domain b, b2a the way back; the domains' names do too, such
                as summer2winter.
            long_side: pixels of each result's longest side, as a number, or original; larger photos are shrunk,
                smaller ones keep their size.
            model: one of the page's models, which the endpoint `models` lists with their domains.

        Returns:
            A zip file with the translations as PNG files, and a report of what could not be translated.
        """
        *_, batch = translate_all(shelf, files, direction, long_side, model, previews=0)
        return str(batch.archive), str(batch)

    gone = gr.State(0.0)  # changes when a batch that still waits is given up
    private = {"preprocess": False, "api_visibility": "private"}
    quiet = {**private, "show_progress": "hidden"}
    inputs = [files, direction, long_side, model]
    outputs = [bar, gallery, report, download, button, stop]
    files.change(lambda files: gr.Button(interactive=bool(files)), files, button, **quiet)
    started = button.click(begin, files, outputs, concurrency_limit=None, **quiet)
    run = started.then(show, inputs, outputs, **JOB_QUEUE, **quiet)
    stop.click(halt, None, [*outputs, gone], concurrency_limit=None, **quiet)
    gone.change(None, None, None, cancels=[run], api_visibility="private")
    model.change(lambda name: direction_choice(shelf.find(name)), model, direction, **quiet)
    gr.on([], translate_batch, inputs, [archive, report], api_name="translate_batch", preprocess=False, **JOB_QUEUE)
