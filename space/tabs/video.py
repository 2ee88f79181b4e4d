"""The tab that translates a short clip, and its endpoint."""

import contextlib
import importlib.util
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from progress import Clock, Jobs, plain_status, status
from settings import CLIP_SIDES, JOB_SECONDS, MAX_CLIP_FRAMES, MAX_CLIP_SECONDS
from shelf import Shelf
from uploads import Refusal, direction_of, escaped, new_folder, plain_name, told, uploaded_file

from cyclegan_hf.images import video
from tabs.batch import JOB_QUEUE
from tabs.direction import direction_choice


logger = logging.getLogger(__name__)

STRENGTH = 0.8  # of the flicker reduction
HAS_AV = importlib.util.find_spec("av") is not None


def translate_clip(
    shelf: Shelf, upload: dict[str, Any] | None, direction: str, long_side: str, steady: bool, model: str
) -> Iterator[tuple[int, int, Path | None]]:
    """Translate a clip; yields frames that are done, all frames, and at the end the result.

    Raises:
        Refusal: it cannot be done.
    """
    checkpoint = shelf.find(model)
    source = uploaded_file(upload, "Choose a video first.")
    direction = direction_of(checkpoint.domains, direction)
    if str(long_side) not in CLIP_SIDES:
        raise Refusal(f"The longest side must be one of {', '.join(CLIP_SIDES)}.")
    folder, finished = new_folder(), False
    stem = plain_name(str(upload.get("orig_name") or "video")) if upload else "video"
    target = folder / f"{stem}-{plain_name(checkpoint.domains[direction][1])}.mp4"
    deadline = time.monotonic() + JOB_SECONDS  # with the time that it waits for others
    try:
        steps = video.translate_video(
            source,
            target,
            lambda frames: [result for (result,) in shelf.translate(checkpoint, frames, direction)],
            long_side=int(long_side),
            strength=STRENGTH if steady else 0.0,
            max_seconds=MAX_CLIP_SECONDS,
            max_frames=MAX_CLIP_FRAMES,
        )
        with contextlib.closing(steps):
            for step in steps:
                if time.monotonic() > deadline:
                    raise Refusal("This video takes too long here. Choose a smaller size, or a shorter video.")
                yield step.done, step.total, None
        finished = True
        yield step.done, step.total, target
    except (ValueError, ImportError) as error:
        logger.info("refused a video: %s", type(error).__name__)
        raise Refusal(why_refused(source)) from None
    finally:  # also when the visitor stops it
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)


def why_refused(source: Path) -> str:
    """Tell what is wrong with a clip that was refused: it is too long, or no video at all."""
    import av

    options = {"format_whitelist": video.CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(source), options=options) as clip:
            if not clip.streams.video:
                return "This file has no pictures, only sound."
            seconds = clip.duration / av.time_base if clip.duration else 0.0
            frames = clip.streams.video[0].frames
    except Exception:
        return "This file cannot be opened as a video. Try an MP4, WebM, MOV, MKV or AVI file."
    if seconds > MAX_CLIP_SECONDS or frames > MAX_CLIP_FRAMES:
        return (
            f"This video is too long: {seconds:.0f} seconds and {frames} frames. {MAX_CLIP_SECONDS} seconds and "
            f"{MAX_CLIP_FRAMES} frames are the most."
        )
    return "This video is damaged, or only a part of it arrived. Try another file."


def video_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Build the tab."""
    if not HAS_AV:
        gr.Markdown("This page was set up without PyAV, which reads and writes videos.")
        return
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            clip = gr.File(
                label=f"A video of up to {MAX_CLIP_SECONDS} seconds", file_types=["video"], height=190, elem_id="clip"
            )
            direction = direction_choice(shelf.first, elem_id="clip-direction")
            long_side = gr.Radio(
                [(label, name) for name, label in CLIP_SIDES.items()],
                value="256",
                label="Longest side, in pixels",
                info="Twice the side takes four times as long.",
                elem_id="clip-long-side",
            )
            steady = gr.Checkbox(True, label="Damp flicker where nothing moves", elem_id="steady")
            with gr.Row():
                button = gr.Button(
                    "Translate video", variant="primary", scale=3, interactive=False, elem_id="translate-clip"
                )
                stop = gr.Button("Stop", visible=False, scale=1, min_width=80, elem_id="stop-clip")
        with gr.Column(scale=3, min_width=300):
            player = gr.Video(label="Result", buttons=[], height=420, elem_id="clip-result")
            with gr.Row(equal_height=True):
                with gr.Column(min_width=220):
                    bar = gr.HTML(plain_status("Choose a video. Its sound is kept."), elem_id="clip-info")
                download = gr.DownloadButton(
                    "Download MP4", interactive=False, scale=0, min_width=190, elem_id="download-clip"
                )
    mp4 = gr.File(visible=False, label="Translation")
    job, jobs = gr.State(0), Jobs()

    def show(
        upload: dict[str, Any] | None,
        direction: str,
        long_side: str,
        steady: bool,
        model: str,
        job: int,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        clock = Clock()
        idle = {button: gr.update(value="Translate video", interactive=True), stop: gr.update(visible=False)}
        try:
            for done, total, path in translate_clip(shelf, upload, direction, long_side, steady, model):
                if not jobs.is_latest(request.session_hash, job):
                    yield {bar: gr.skip()}  # Gradio repeats a job's last words when it ends
                    return
                if path is None:
                    yield {bar: status(f"{done} of {total} frames{clock.left(done, total)}", done / total)}
                else:
                    label = escaped(shelf.find(model).labels[direction])
                    yield idle | {
                        player: path,
                        bar: status(f"<b>{label}</b> · {done} frames · {clock.seconds:.0f} s"),
                        download: gr.update(value=path, interactive=True),
                    }
        except Refusal as refusal:
            yield idle | {bar: plain_status(told(refusal))}

    def begin(request: gr.Request) -> dict[Any, Any]:
        return {
            job: jobs.start(request.session_hash),
            button: gr.update(value="Translating …", interactive=False),
            stop: gr.update(visible=True),
            bar: status("Waiting for its turn …", 0),
            player: None,
            download: gr.update(value=None, interactive=False),
        }

    def halt(request: gr.Request) -> dict[Any, Any]:
        jobs.start(request.session_hash)
        return {
            button: gr.update(value="Translate video", interactive=True),
            stop: gr.update(visible=False),
            bar: plain_status("Stopped."),
        }

    def translate_video(clip: dict[str, Any] | None, direction: str, long_side: str, steady: bool, model: str) -> str:
        """Translate a short video from one domain to the other; its sound is kept.

        Args:
            clip: an MP4, WebM, MOV, MKV or AVI file.
            direction: a2b is from the model's domain a to domain b, b2a the way back.
            long_side: pixels of the result's longest side; smaller videos keep their size.
            steady: damp flicker where the video stands still.
            model: one of the page's models, which the endpoint `models` lists with their domains.

        Returns:
            The translation as an MP4 file.
        """
        *_, (_, _, path) = translate_clip(shelf, clip, direction, long_side, steady, model)
        return str(path)

    private = {"preprocess": False, "api_visibility": "private"}
    quiet = {**private, "show_progress": "hidden"}
    inputs = [clip, direction, long_side, steady, model]
    outputs = [player, bar, download, button, stop]
    clip.change(lambda clip: gr.Button(interactive=bool(clip)), clip, button, **quiet)
    started = button.click(begin, None, [*outputs, job], concurrency_limit=None, **quiet)
    run = started.then(show, [*inputs, job], outputs, **JOB_QUEUE, **quiet)  # Gradio's own would call a stop an error
    stop.click(halt, None, outputs, cancels=[run], **quiet)
    model.change(lambda name: direction_choice(shelf.find(name)), model, direction, **quiet)
    gr.on([], translate_video, inputs, mp4, api_name="translate_video", preprocess=False, **JOB_QUEUE)
