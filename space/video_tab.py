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
from batch_tab import JOB_QUEUE
from photo_tab import direction_choice
from settings import CLIP_SIDES, JOB_SECONDS, MAX_CLIP_FRAMES, MAX_CLIP_SECONDS
from shelf import Shelf
from uploads import Refusal, new_folder, plain_name, told, uploaded_file

from cyclegan_hf import video


logger = logging.getLogger(__name__)

STRENGTH = 0.8  # of the flicker reduction
HAS_AV = importlib.util.find_spec("av") is not None


def translate_clip(
    shelf: Shelf, upload: dict[str, Any] | None, direction: str, long_side: str, steady: bool, model: str
) -> Iterator[tuple[int, int, Path | None]]:
    """Translates a clip; yields frames that are done, all frames, and at the end the result.

    Raises:
        Refusal: it cannot be done.
    """
    checkpoint = shelf.find(model)
    source = uploaded_file(upload, "Choose a video first.")
    if direction not in checkpoint.domains:
        raise Refusal(f"The direction must be one of {', '.join(checkpoint.domains)}.")
    if long_side not in CLIP_SIDES:
        raise Refusal(f"The longest side must be one of {', '.join(CLIP_SIDES)}.")
    folder, finished = new_folder(), False
    stem = plain_name(str(upload.get("orig_name") or "video")) if upload else "video"
    target = folder / f"{stem}-{plain_name(checkpoint.domains[direction][1])}.mp4"
    deadline = time.monotonic() + JOB_SECONDS
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
        logger.info("refused a video: %s", error)
        raise Refusal(
            f"This file cannot be translated: up to {MAX_CLIP_SECONDS} seconds and {MAX_CLIP_FRAMES} frames of an "
            "MP4, WebM, MOV, MKV or AVI video are taken."
        ) from None
    finally:  # also when the visitor stops it
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)


def say_stopped() -> str:
    """What the page says of a stopped job; a little late, for the job's last words may yet come."""
    time.sleep(1)
    return "Stopped."


def video_tab(shelf: Shelf, model: gr.Dropdown) -> None:
    """Builds the tab."""
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
                button = gr.Button("Translate video", variant="primary", interactive=False, elem_id="translate-clip")
                stop = gr.Button("Stop", elem_id="stop-clip")
        with gr.Column(scale=3, min_width=300):
            player = gr.Video(label="Result", buttons=[], height=420, elem_id="clip-result")
            with gr.Row(equal_height=True):
                with gr.Column(min_width=220):
                    status = gr.Markdown("Choose a video. Its sound is kept.", elem_id="clip-info")
                download = gr.DownloadButton(
                    "Download MP4", interactive=False, scale=0, min_width=190, elem_id="download-clip"
                )
    mp4 = gr.File(visible=False, label="Translation")

    def show(
        upload: dict[str, Any] | None, direction: str, long_side: str, steady: bool, model: str
    ) -> Iterator[tuple[Any, ...]]:
        start = time.monotonic()
        try:
            for done, total, path in translate_clip(shelf, upload, direction, long_side, steady, model):
                seconds = time.monotonic() - start
                if path is None:
                    left = seconds / done * (total - done)
                    yield gr.skip(), f"{done} of {total} frames · about {left:.0f} s left", gr.skip()
                else:
                    facts = f"**{shelf.find(model).labels[direction]}** · {done} frames · {seconds:.0f} s"
                    yield path, facts, gr.DownloadButton(value=path, interactive=True)
        except Refusal as refusal:
            yield gr.skip(), told(refusal), gr.skip()

    def translate_video(clip: dict[str, Any] | None, direction: str, long_side: str, steady: bool, model: str) -> str:
        """Translates a short video from one domain to the other; its sound is kept.

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
    inputs = [clip, direction, long_side, steady, model]
    clip.change(lambda clip: gr.Button(interactive=bool(clip)), clip, button, show_progress="hidden", **private)
    run = button.click(show, inputs, [player, status, download], show_progress_on=player, **JOB_QUEUE, **private)
    stop.click(lambda: "Stopping …", None, status, cancels=[run], **private).then(say_stopped, None, status, **private)
    model.change(lambda name: direction_choice(shelf.find(name)), model, direction, show_progress="hidden", **private)
    gr.on([], translate_video, inputs, mp4, api_name="translate_video", preprocess=False, **JOB_QUEUE)
