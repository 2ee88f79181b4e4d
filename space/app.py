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
import traceback
import warnings
from pathlib import Path
from typing import Any

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

from checkpoints import Checkpoint, title_case
from example_results import COMPUTED, ExampleResults
from kept_files import remove_leftovers, sweep
from PIL import Image
from shelf import Shelf
from shipped_examples import EXAMPLES
from tabs.about import about_tab
from tabs.batch import batch_tab
from tabs.models import model_choices, models_tab
from tabs.photo import photo_tab
from tabs.video import video_tab
from theme import CSS, SCRIPT, THEME
from uploads import Refusal, escaped


logger = logging.getLogger(__name__)

MAX_THREADS = 160  # each photo that waits holds one


class Page(gr.Blocks):
    """A page whose log holds no traceback for what a visitor sent, and whose answers never show one."""

    async def process_api(self, *arguments: Any, **settings: Any) -> Any:
        """Answer one call; a malformed one is refused in one line."""
        try:
            return await super().process_api(*arguments, **settings)
        except gr.Error:
            raise
        except Exception as error:
            logger.warning("refused a call: %s", where(error))
            raise Refusal(
                "This call could not be understood: see the API page for what each endpoint takes."
            ) from None


def where(error: Exception) -> str:
    """Return an exception's type and place, without its message: that may name a visitor's files."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def build_page(shelf: Shelf, results: ExampleResults) -> gr.Blocks:
    """Build the page around its models."""
    first = shelf.first
    several = len(shelf.checkpoints) > 1
    headline = "See your photo in another world" if several else first.headline
    with Page(title=f"{headline} · CycleGAN") as page:
        gr.Markdown(f"# {escaped(headline)}\n{introduction(first, several)}", elem_id="headline")
        model = gr.Dropdown(
            model_choices(shelf.checkpoints),
            value=first.name,
            label="Model",
            visible=several or shelf.any_model,
            elem_id="model",
        )
        with gr.Tab("Photo"):
            photo_tab(shelf, model, results, page)
        with gr.Tab("Batch"):
            batch_tab(shelf, model)
        with gr.Tab("Video"):
            video_tab(shelf, model)
        with gr.Tab("Models" if several else "Model"):
            models_tab(shelf, model)
        with gr.Tab("About"):
            about_tab()
        gr.Markdown("Pictures are translated on the machine that serves this page, and deleted there within the hour.")
    return page


def introduction(first: Checkpoint, several: bool) -> str:
    """Return the line below the headline."""
    if several:
        return "Choose what to translate, then a photo. Each model learned from two collections of pictures."
    source, target = (escaped(title_case(name).lower()) for name in next(iter(first.domains.values())))
    ways = f"{source} to {target}, or back" if len(first.domains) == 2 else f"{source} to {target}"
    return f"A CycleGAN takes any photo from {ways}."


def warm_up(shelf: Shelf, results: ExampleResults) -> None:
    """Load the first model, and translates the examples, while the first visitor still looks for a photo."""
    first = shelf.first
    shelf.translate(first, [Image.new("RGB", (64, 64))], next(iter(first.domains)))
    results.compute_all(first)


def keep_sweeping(page: gr.Blocks) -> None:
    """Remove visitors' files when their time has come; the examples stay."""
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
    results = ExampleResults(shelf)
    page = build_page(shelf, results)
    page.queue(max_size=50).launch(
        theme=THEME,
        css=CSS,
        js=SCRIPT,
        allowed_paths=[str(EXAMPLES), str(COMPUTED)],
        max_threads=MAX_THREADS,
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        show_error=False,
        ssr_mode=False,
        run_history=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        footer_links=["api", "gradio", "settings"],
        prevent_thread_lock=True,
    )
    threading.Thread(target=keep_sweeping, args=(page,), daemon=True).start()
    threading.Thread(target=warm_up, args=(shelf, results), daemon=True).start()  # torch's import would delay the page
    page.block_thread()


if __name__ == "__main__":
    main()
