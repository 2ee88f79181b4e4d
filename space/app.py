"""The page: a photo goes in, its translation comes out.

`python space/app.py` serves the weights that come with the library; CYCLEGAN_MODEL names others, a folder or a Hub id.
"""

import logging
import os
import re
import signal
import sys
import tempfile
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image


HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # a checkout that is not installed runs too; what is installed goes first

# Gradio reads both at import. The folder holds what visitors send and get; it is removed when the page ends.
FILES = tempfile.TemporaryDirectory(prefix="cyclegan-hf-page-")
UPLOADS = Path(FILES.name).resolve()
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(UPLOADS))

try:
    import gradio as gr
except ImportError as error:
    sys.exit(f"app.py: {error}; the page needs the extra `space`: pip install 'cyclegan_hf[space]'")

from cyclegan_hf import CycleGANPipeline  # noqa: E402
from cyclegan_hf.image_io import open_image  # noqa: E402


logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")  # Pillow knows more: EPS, say, starts Ghostscript
MAX_FILE = "30mb"
MAX_PIXELS = 64_000_000  # to open: 200 MB once decoded
MAX_TRANSLATED_PIXELS = 4_000_000  # 3 GB while the light model works on them in float32
MIN_SIDE = 32
PREVIEW_SIDE = 2048
SWEEP_SECONDS, KEEP_SECONDS = 600, 3000  # so that nothing is kept for longer than an hour
LONG_SIDES = {"512": "512", "1024": "1024", "original": "Original"}

# Gradio's bundled font lacks letters, and the soft theme's light blues are too pale to read. `set` forgets the theme's
# background (it looks under another name), so it is repeated.
THEME = gr.themes.Soft(
    primary_hue="sky",
    secondary_hue="sky",
    neutral_hue="slate",
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    background_fill_primary="*neutral_50",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    block_label_text_color="*primary_800",
    block_label_background_fill_dark="*primary_700",
    block_title_text_color="*primary_800",
    block_title_background_fill_dark="*primary_700",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
)

CSS = """
#examples > .gallery { display: grid; grid-template-columns: repeat(6, 1fr); }
#examples .gallery-item > span { display: block; width: 100%; }
#examples .container, #examples img { width: 100%; max-width: none; height: auto; max-height: none; }
@media (max-width: 640px) { #examples > .gallery { grid-template-columns: repeat(3, 1fr); } }
"""
# On a phone the result is below the controls, and gets its height with its pictures. (`scroll_to_output` does
# nothing for an image slider.)
SCROLL_TO_RESULT = """() => setTimeout(() => {
    const result = document.querySelector("#result");
    if (result.getBoundingClientRect().top > innerHeight / 3) result.scrollIntoView({behavior: "smooth"});
}, 300)"""


class Refusal(gr.Error):
    """What a visitor is told when a photo cannot be translated: no file names, no exceptions, nothing in the log."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_exception=False)


def open_photo(upload: dict[str, Any] | None) -> Image.Image:
    """Opens an uploaded file, upright, as `RGB` or `L`; of an animation the first frame.

    Args:
        upload: Gradio's description of the file, with its `path`.

    Raises:
        Refusal: there is no file, or it is no picture, damaged, too small or too large.
    """
    # Gradio 6.31 checks the path of a file only where its description has `meta`: a handmade call could name any file.
    if not upload or not upload.get("path") or not Path(upload["path"]).resolve().is_relative_to(UPLOADS):
        raise Refusal("Choose a photo first.")
    path = upload["path"]
    try:
        with Image.open(path, formats=FORMATS) as header:  # decodes nothing yet
            width, height = header.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal(
            f"This picture is too large to open here. {MAX_PIXELS // 10**6} megapixels are the most."
        ) from None
    except FileNotFoundError:
        raise Refusal("This photo has been deleted in the meantime. Choose it again.") from None
    except Exception as error:  # damaged headers raise anything
        logger.info("refused an upload: %r", error)
        raise Refusal("This file cannot be opened as a picture. Try a JPEG, PNG, WebP or AVIF file.") from None
    if min(width, height) < MIN_SIDE:
        raise Refusal(f"This picture is too small: {width} × {height} pixels. {MIN_SIDE} × {MIN_SIDE} are the least.")
    try:
        return open_image(path)
    except ValueError as error:
        logger.info("refused an upload: %s", error)
        raise Refusal("This picture is damaged, or only a part of it arrived. Try another file.") from None


def limit_size(photo: Image.Image, long_side: str) -> Image.Image:
    """Shrinks a photo whose longer side exceeds the visitor's choice; smaller ones keep their size."""
    if long_side not in LONG_SIDES:
        raise Refusal(f"The longest side must be one of {', '.join(LONG_SIDES)}.")
    if long_side != "original":
        photo.thumbnail((int(long_side), int(long_side)))
    if photo.width * photo.height > MAX_TRANSLATED_PIXELS:
        raise Refusal(
            f"This photo has {photo.width * photo.height / 1e6:.1f} megapixels. In their original size, photos of up "
            f"to {MAX_TRANSLATED_PIXELS // 10**6} megapixels can be translated here: choose a smaller size."
        )
    return photo


class Translator:
    """A pipeline for visitors.

    Attributes:
        pipeline: the pipeline.
        domains: (source, target) of each direction that it has.
        labels: what each direction is called on the page.
    """

    def __init__(self, pipeline: CycleGANPipeline) -> None:
        self.pipeline = pipeline
        a, b = pipeline.config["domain_a"], pipeline.config["domain_b"]
        every = {"a2b": (a, b), "b2a": (b, a)}
        self.domains = {
            name: pair for name, pair in every.items() if getattr(pipeline, f"generator_{name}") is not None
        }
        self.labels = {name: " → ".join(map(title_case, pair)) for name, pair in self.domains.items()}

    def __call__(self, photo: Image.Image, direction: str) -> Image.Image:
        if direction not in self.domains:
            raise Refusal(f"The direction must be one of {', '.join(self.domains)}.")
        try:
            return self.pipeline(photo, direction=direction).images[0]
        except Exception:  # out of memory, above all: the log has it, the visitor gets advice
            logger.exception("%s failed on a photo of %d x %d pixels", direction, *photo.size)
            raise Refusal("The translation failed. A smaller size may work.") from None


def title_case(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def save_png(picture: Image.Image, upload: dict[str, Any], domain: str) -> Path:
    """Writes the full-size result, named after the upload, to a folder of its own, from where Gradio serves it."""
    stem = Path(upload.get("orig_name") or "photo").stem[:40]
    path = UPLOADS / uuid.uuid4().hex / (re.sub(r"[^\w-]+", "_", f"{stem}-{domain}") + ".png")
    path.parent.mkdir()
    picture.save(path, compress_level=3)
    return path


def save_preview(picture: Image.Image, path: Path) -> Path:
    """Writes what the slider shows: a tenth of the PNG's bytes, which also reach a phone."""
    preview = picture.copy()
    preview.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    preview.save(path, quality=92, subsampling=0)
    return path


def example_photos(translator: Translator) -> list[list[str]]:
    """The pictures of the model's domains that come with the page: (file, direction)."""
    return [
        [str(path), direction]
        for direction, (source, _) in translator.domains.items()
        for path in sorted((HERE / "examples" / source).glob("*.jpg"))
    ]


def photo_part(translator: Translator) -> None:
    """Builds the part of the page that translates one photo."""
    examples = example_photos(translator)
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
            direction = gr.Radio(
                [(label, name) for name, label in translator.labels.items()],
                value=next(iter(translator.labels)),
                label="Direction",
                elem_id="direction",
            )
            long_side = gr.Radio(
                [(label, name) for name, label in LONG_SIDES.items()],
                value="1024",
                label="Longest side, in pixels",
                info="Larger photos are shrunk, smaller ones keep their size.",
                elem_id="long-side",
            )
            button = gr.Button("Translate", variant="primary", size="lg", interactive=False, elem_id="translate")
            if examples:
                gallery = gr.Examples(
                    examples,
                    [photo, direction],
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
    png = gr.File(visible=False, label="Translation")  # what the endpoint returns

    def check(upload: dict[str, Any] | None) -> dict[str, Any]:
        if upload is not None:
            open_photo(upload)
        return gr.update(interactive=upload is not None)

    def run(upload: dict[str, Any] | None, direction: str, long_side: str) -> tuple[Image.Image, Image.Image, Path]:
        before = limit_size(open_photo(upload), long_side)
        after = translator(before, direction)
        return before, after, save_png(after, upload, translator.domains[direction][1])

    def translate(photo: dict[str, Any] | None, direction: str, long_side: str) -> str:
        """Translates a photo from one domain to the other.

        Args:
            photo: a JPEG, PNG, WebP, AVIF, GIF (its first frame), BMP or TIFF file.
            direction: from domain a to domain b, or back.
            long_side: pixels of the result's longest side; larger photos are shrunk, smaller ones keep their size.

        Returns:
            The translation as a PNG file.
        """
        return str(run(photo, direction, long_side)[2])

    def show(upload: dict[str, Any] | None, direction: str, long_side: str) -> tuple[Any, str, Any]:
        start = time.perf_counter()
        before, after, path = run(upload, direction, long_side)
        seconds = time.perf_counter() - start
        previews = [
            save_preview(before, path.with_name("before.jpg")),
            save_preview(after, path.with_name("after.jpg")),
        ]
        facts = f"**{translator.labels[direction]}** · {after.width} × {after.height} pixels · {seconds:.1f} s"
        return tuple(previews), facts, gr.update(value=path, interactive=True)

    # Files reach the functions unopened (`preprocess=False`): Gradio's own errors on a bad one show paths.
    inputs, outputs = [photo, direction, long_side], [slider, info, download]
    model = {"preprocess": False, "concurrency_id": "model", "concurrency_limit": 1}
    private = {"preprocess": False, "api_visibility": "private"}
    on_page = {**model, **private, "show_progress_on": slider}
    photo.change(check, photo, button, show_progress="hidden", concurrency_limit=4, **private).failure(
        lambda: None, None, photo, **private
    )
    button.click(show, inputs, outputs, **on_page).success(None, js=SCROLL_TO_RESULT)
    gr.on([], translate, inputs, png, api_name="translate", **model)
    if examples:
        gallery.load_input_event.then(show, inputs, outputs, **on_page).success(None, js=SCROLL_TO_RESULT)


def build_page(translator: Translator) -> gr.Blocks:
    """Builds the page around a pipeline."""
    both = len(translator.domains) == 2
    title = next(iter(translator.labels.values())).replace("→", "↔" if both else "→")
    with gr.Blocks(title=f"{title} · CycleGAN", delete_cache=(SWEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.Markdown(
            f"# {title}\nA CycleGAN turns pictures of one kind into the other{' and back' if both else ''}. It "
            "learned from two collections of them, without a single example of what a translation should look like."
        )
        photo_part(translator)
        gr.Markdown("Photos are translated on the machine that serves this page, and deleted there within the hour.")
    return page


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, and so removes the files
    try:
        pipeline = CycleGANPipeline.from_pretrained(os.environ.get("CYCLEGAN_MODEL") or None)
    except ValueError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    pipeline.to(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    build_page(Translator(pipeline)).queue(max_size=50).launch(
        theme=THEME,
        css=CSS,
        js=(HERE / "accessibility.js").read_text(encoding="utf-8"),
        max_file_size=MAX_FILE,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        footer_links=["api", "gradio", "settings"],
    )


if __name__ == "__main__":
    main()
