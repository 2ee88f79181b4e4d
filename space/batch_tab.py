"""The tab that translates many photos, and its endpoint."""

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr
from archives import Member, file_list, members, safe_stem
from photo_tab import direction_choice
from settings import JOB_SECONDS, LONG_SIDES, MAX_BATCH, MAX_BATCH_PIXELS
from shelf import Shelf
from uploads import Refusal, limit_size, new_folder, plain_name, read_photo, save_preview, told, uploaded_file


PREVIEWS, PREVIEW_SIDE = 60, 512
JOB_QUEUE = {"concurrency_id": "jobs", "concurrency_limit": 1}


@dataclass
class Batch:
    """What became of the photos so far.

    Attributes:
        total: photos that were sent.
        done: names of those that were translated.
        refused: name and reason of the others.
        previews: (file, caption) of the first results.
        archive: the zip file with the results.
        ended: whether it is complete, and why it ended early.
    """

    total: int
    done: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    previews: list[tuple[Path, str]] = field(default_factory=list)
    archive: Path | None = None
    ended: str = ""

    def __str__(self) -> str:
        lines = [f"{len(self.done)} of {self.total} translated. {self.ended}".strip()]
        return "\n".join(lines + [f"{name[:80]}: {reason}" for name, reason in self.refused[:100]])


def sent_photos(uploads: list[dict[str, Any]] | None) -> list[Member | Path]:
    """The uploads: photos, and zip files, which are opened later."""
    if not uploads:
        raise Refusal("Choose photos or a zip file first.")
    found: list[Member | Path] = []
    for upload in uploads if isinstance(uploads, list) else [uploads]:
        path = uploaded_file(upload, "Choose photos or a zip file first.")
        name = str(upload.get("orig_name") or path.name)
        found.append(path if zipfile.is_zipfile(path) else Member(name, PurePosixPath(safe_stem(name).name), path))
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
    """Translates photos and the photos inside zip files; yields after each what there is by then.

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
    if direction not in checkpoint.domains:
        raise Refusal(f"The direction must be one of {', '.join(checkpoint.domains)}.")
    if long_side not in LONG_SIDES:
        raise Refusal(f"The longest side must be one of {', '.join(LONG_SIDES)}.")
    total = sum(len(file_list(each)) if isinstance(each, Path) else 1 for each in sent)
    if total > MAX_BATCH:
        raise Refusal(f"These are {total} files. {MAX_BATCH} at once are the most.")
    domain = plain_name(checkpoint.domains[direction][1])
    deadline, pixels = time.monotonic() + JOB_SECONDS, 0
    batch, names, folder = Batch(total), set[str](), new_folder()
    finished = False
    try:
        with zipfile.ZipFile(folder / f"{domain}.zip", "w", zipfile.ZIP_STORED) as archive:  # PNG is packed already
            for member in flat(sent):
                if stopped():
                    batch.ended = "Stopped: these are the ones that were done."
                    break
                if time.monotonic() > deadline or pixels > MAX_BATCH_PIXELS:
                    batch.ended = "That was as much as one batch may take: send the others again."
                    break
                try:
                    if isinstance(member.content, Refusal):
                        raise member.content
                    photo = read_photo(member.content)
                    photo = limit_size(photo, long_side, checkpoint.most_pixels(photo.width * photo.height))
                    ((result,),) = shelf.translate(checkpoint, [photo], direction)
                except Refusal as refusal:
                    batch.refused.append((member.name, refusal.message))
                    yield batch
                    continue
                pixels += result.width * result.height
                name = free_name(member.stem, domain, names)
                with archive.open(name, "w") as file:
                    result.save(file, "PNG", compress_level=3)
                batch.done.append(name)
                if len(batch.previews) < previews:
                    preview = save_preview(result, folder / f"{len(batch.done)}.jpg", PREVIEW_SIDE)
                    batch.previews.append((preview, name))
                yield batch
        if not batch.done:
            reasons = "; ".join(f"{name[:80]}: {reason}" for name, reason in batch.refused[:3])
            raise Refusal(f"None of these files could be translated. {reasons}" if reasons else "Stopped.")
        batch.archive = folder / f"{domain}.zip"
        finished = True
        yield batch
    finally:  # also when the visitor leaves
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)


def flat(sent: list[Member | Path]) -> Iterator[Member]:
    for each in sent:
        if isinstance(each, Path):
            yield from members(each)
        else:
            yield each


def free_name(stem: PurePosixPath, domain: str, taken: set[str]) -> str:
    """A name in the zip that no other result has, also where capitals do not count."""
    for number in range(1, len(taken) + 2):
        name = f"{stem}-{domain}{f'-{number}' if number > 1 else ''}.png"
        if name.lower() not in taken:
            break
    taken.add(name.lower())
    return name


def batch_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Builds the tab."""
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
                button = gr.Button("Translate all", variant="primary", interactive=False, elem_id="translate-all")
                stop = gr.Button("Stop", elem_id="stop-batch")
        with gr.Column(scale=3, min_width=300):
            gallery = gr.Gallery(label="Results", columns=3, height=420, buttons=[], elem_id="gallery")
            report = gr.Textbox(
                f"Up to {MAX_BATCH} photos at once.",
                label="Report",
                lines=2,
                max_lines=8,
                interactive=False,
                elem_id="report",
            )
            download = gr.DownloadButton("Download all (zip)", interactive=False, elem_id="download-all")
    archive = gr.File(visible=False, label="Translations")
    gone = gr.State(0)  # goes up when a batch that still waits is given up
    running, stopping = set[str](), set[str]()  # sessions

    def show(
        uploads: list[dict[str, Any]] | None,
        direction: str,
        long_side: str,
        model: str,
        request: gr.Request,
        progress: Any = None,
    ) -> Iterator[tuple[Any, ...]]:
        progress = progress or gr.Progress()
        start, session = time.monotonic(), str(request.session_hash)
        running.add(session)
        try:
            for batch in translate_all(shelf, uploads, direction, long_side, model, lambda: session in stopping):
                seen = len(batch.done) + len(batch.refused)
                if batch.archive is None:
                    left = (time.monotonic() - start) / seen * (batch.total - seen)
                    progress((seen, batch.total), desc=f"about {left:.0f} s left", unit="photos")
                    yield gr.skip(), str(batch), gr.skip()
                else:
                    yield batch.previews, str(batch), gr.DownloadButton(value=batch.archive, interactive=True)
        except Refusal as refusal:
            yield gr.skip(), told(refusal), gr.skip()
        finally:
            running.discard(session)
            stopping.discard(session)

    def halt(gone: int, request: gr.Request) -> tuple[str, int]:
        if request.session_hash in running:
            stopping.add(request.session_hash)
            return "Stopping after this photo …", gone
        return "Stopped.", gone + 1

    def translate_batch(
        files: list[dict[str, Any]] | None, direction: str, long_side: str, model: str
    ) -> tuple[str, str]:
        """Translates many photos from one domain to the other.

        Args:
            files: picture files, zip files of pictures, or both.
            direction: a2b is from the model's domain a to domain b, b2a the way back.
            long_side: pixels of each result's longest side; larger photos are shrunk, smaller ones keep their size.
            model: one of the page's models, which the endpoint `models` lists with their domains.

        Returns:
            A zip file with the translations as PNG files, and a report of what could not be translated.
        """
        *_, batch = translate_all(shelf, files, direction, long_side, model, previews=0)
        return str(batch.archive), str(batch)

    private = {"preprocess": False, "api_visibility": "private"}
    inputs = [files, direction, long_side, model]
    files.change(lambda files: gr.Button(interactive=bool(files)), files, button, show_progress="hidden", **private)
    run = button.click(show, inputs, [gallery, report, download], show_progress_on=gallery, **JOB_QUEUE, **private)
    stop.click(halt, gone, [report, gone], show_progress="hidden", api_visibility="private")
    gone.change(None, None, None, cancels=[run], api_visibility="private")
    model.change(lambda name: direction_choice(shelf.find(name)), model, direction, show_progress="hidden", **private)
    gr.on([], translate_batch, inputs, [archive, report], api_name="translate_batch", preprocess=False, **JOB_QUEUE)
