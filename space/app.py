"""The page: photos and clips go in, their translations come out.

`python space/app.py` serves the weights that come with the library. CYCLEGAN_MODELS lists others, folders and Hub ids;
with CYCLEGAN_ANY_MODEL=1 visitors may name any of the Hub.
"""

import importlib.util
import logging
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

from settings import (
    KEEP_SECONDS,
    MAX_PIXELS,
    MAX_UPLOAD_MB,
    MODEL_BYTES,
    SWEEP_SECONDS,
    UPLOADS,
    any_model,
    owners_models,
)


if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  # before torch

try:
    from cyclegan_hf.processes import wait_passively

    wait_passively()  # before torch loads

    import gradio as gr
except ImportError as error:
    from cyclegan_hf.errors import install_command

    sys.exit(f"app.py: {error}; the page needs the extra `space`: {install_command('space')}")

from about_tab import about_tab
from batch_tab import batch_tab
from kept_files import remove_leftovers, sweep
from models_tab import models_tab
from photo_tab import photo_tab
from PIL import Image
from shelf import Shelf
from theme import ACCESSIBILITY, CSS, THEME
from video_tab import video_tab


def build_page(shelf: Shelf) -> gr.Blocks:
    """Builds the page around its models."""
    first = shelf.first
    both = len(first.domains) == 2
    title = first.title if len(shelf.checkpoints) == 1 else "One picture, another world"
    with gr.Blocks(title=f"{title} · CycleGAN") as page:
        gr.Markdown(
            f"# {title}\nA CycleGAN turns pictures of one kind into the other{' and back' if both else ''}. It "
            "learned from two collections of them, without a single example of what a translation should look like."
        )
        model = gr.Dropdown(
            list(shelf.checkpoints),
            value=first.name,
            label="Model",
            visible=len(shelf.checkpoints) > 1 or shelf.any_model,
            elem_id="model",
        )
        with gr.Tab("Photo"):
            photo_tab(shelf, model)
        with gr.Tab("Batch"):
            batch_tab(shelf, model)
        with gr.Tab("Video"):
            video_tab(shelf, model)
        with gr.Tab("Model" if len(shelf.checkpoints) == 1 else "Models"):
            models_tab(shelf, model)
        with gr.Tab("About"):
            about_tab()
        gr.Markdown("Pictures are translated on the machine that serves this page, and deleted there within the hour.")
    return page


def warm_up(shelf: Shelf) -> None:
    """Loads the first model while the first visitor still looks for a photo."""
    first = shelf.first
    shelf.translate(first, [Image.new("RGB", (64, 64))], next(iter(first.domains)))


def keep_sweeping(page: gr.Blocks) -> None:
    """Removes visitors' files when their time has come; the examples stay."""
    while True:
        time.sleep(SWEEP_SECONDS)
        examples = {path for block in list(page.blocks.values()) for path in list(getattr(block, "keep_in_cache", ()))}
        sweep(UPLOADS, KEEP_SECONDS, examples)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, and so removes the files
    remove_leftovers()
    try:
        shelf = Shelf(owners_models(), any_model=any_model(), budget=MODEL_BYTES)
    except ValueError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    page = build_page(shelf)
    page.queue(max_size=50).launch(
        theme=THEME,
        css=CSS,
        js=ACCESSIBILITY,
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        show_error=False,
        ssr_mode=False,
        run_history=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        footer_links=["api", "gradio", "settings"],
        prevent_thread_lock=True,
    )
    threading.Thread(target=keep_sweeping, args=(page,), daemon=True).start()
    threading.Thread(target=warm_up, args=(shelf,), daemon=True).start()  # torch's import would delay the page
    page.block_thread()


if __name__ == "__main__":
    main()
