"""Writes the translations of the example pictures by the bundled weights, which the page shows at once.

Run it whenever the pictures or the weights change; a test notices if nobody did.

    python space/examples/make_results.py
    python space/examples/make_results.py --opening summer/lake   # the pair that the page opens with
"""

import argparse
import json
import shutil
import sys
from pathlib import Path


SPACE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SPACE), str(SPACE.parent)]

import shipped_examples as results  # noqa: E402

from cyclegan_hf import CycleGANPipeline  # noqa: E402
from cyclegan_hf.images.formats import open_header  # noqa: E402
from cyclegan_hf.saved_format import PRETRAINED_FOLDER  # noqa: E402


def make_results(opening: str | None = None, folder: Path = results.EXAMPLES) -> None:
    """Translate all examples with the bundled weights.

    Args:
        opening: The example that opens the page, such as `summer/lake`; by default the one that did before.
        folder: Where the examples are.
    """
    pipeline = CycleGANPipeline.from_pretrained()
    domains = {
        direction: [pipeline.config[f"domain_{end}"] for end in (direction[0], direction[-1])]
        for direction in ("a2b", "b2a")
    }
    shutil.rmtree(folder / "results", ignore_errors=True)
    pictures = {}
    for direction, (source, _) in domains.items():
        for path in sorted((folder / source).glob("*.jpg")):
            example = results.Example(path, direction)
            target = folder / "results" / f"{example.key}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_header(path) as picture:
                results.save_result(pipeline(picture, direction=direction).images[0], target)
            pictures[example.key] = results.digest(path)
    opening = opening or results.manifest(folder).get("opening")
    if opening not in pictures:
        opening = next(iter(pictures), None)
    made = {"opening": opening, "weights": results.weights_digests(PRETRAINED_FOLDER), "pictures": pictures}
    (folder / results.MANIFEST).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opening", help="the example that opens the page, such as summer/lake")
    make_results(parser.parse_args().opening)
