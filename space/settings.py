"""What the page allows, and where its files are. To be imported before Gradio, which reads the environment."""

import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

from kept_files import PREFIX, claim


HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # a checkout that is not installed runs too; what is installed goes first

# The folder holds what visitors send and get; it is removed when the page ends, or when the next one starts.
FILES = tempfile.TemporaryDirectory(prefix=PREFIX)
UPLOADS = claim(Path(FILES.name).resolve())
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(UPLOADS))

FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"]  # Pillow knows more: EPS, say, starts Ghostscript
SHOWN_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")  # by browsers
with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    FORMATS.append("HEIF")
MAX_UPLOAD_MB = 100  # a zip file or a clip
MAX_FILE_MB = 30  # a photo
MAX_PIXELS = 64_000_000  # to open: 200 MB once decoded
MAX_TRANSLATED_PIXELS = 16_000_000  # in pieces, where the model allows it
MIN_SIDE = 32
PREVIEW_SIDE = 2048
SWEEP_SECONDS, KEEP_SECONDS = 600, 3000  # so that nothing is kept for longer than an hour
LONG_SIDES = {"512": "512", "1024": "1024", "original": "Original"}
MAX_LONG_SIDE = 8192  # programs may ask for any number of pixels up to this one

PICTURE_BYTES = 3_000_000_000  # that a network may need for one picture
WHOLE_BYTES = 700_000_000  # above that a photo goes through in pieces, where the model allows it
PIECE_BYTES = 320_000_000  # for one piece: others get their turn between two pieces, after a second or so
BUDGET_BYTES = 450_000_000  # of all photos that are open at the same time
MAX_WAITING = 100  # photos; then the page says that it is busy
MODEL_BYTES = int(os.environ.get("CYCLEGAN_MODEL_MEMORY", "2000")) * 1_000_000  # of all loaded weights
MAX_WEIGHTS = 500_000_000  # bytes of one model from the free field
MAX_SETTINGS = 1_000_000  # and of each of its other files that are read

MAX_BATCH = 100  # pictures
MAX_BATCH_PIXELS = 200_000_000  # of the results: half a gigabyte of PNG files
MAX_ZIP_ENTRIES = 2000
MAX_UNZIPPED = 500_000_000  # bytes
PHOTO_SECONDS = int(os.environ.get("CYCLEGAN_PHOTO_SECONDS", "300"))  # then a photo in pieces is given up
JOB_SECONDS = 900  # then a batch ends with what it has, and a video is given up

CLIP_SIDES = {"256": "256", "384": "384", "512": "512"}
MAX_CLIP_SECONDS, MAX_CLIP_FRAMES = 20, 600


def owners_models() -> list[str | None]:
    """Return the models that the page's owner names: folders and Hub ids; `None` stands for the bundled weights.

    CYCLEGAN_MODELS is a list, with commas or line ends between; CYCLEGAN_MODEL is one, and comes first. The word
    `bundled` stands for the weights that come with the library, which is also what there is when neither is set.
    """
    words = [os.environ.get("CYCLEGAN_MODEL", ""), *re.split(r"[,\n]", os.environ.get("CYCLEGAN_MODELS", ""))]
    names = list(dict.fromkeys(word.strip() for word in words if word.strip()))
    return [None if name == "bundled" else name for name in names] or [None]


def any_model() -> bool:
    """Whether visitors may name models of the Hub that the owner did not list."""
    return os.environ.get("CYCLEGAN_ANY_MODEL") == "1"
