"""Renders the same places in both seasons: aligned pairs, from which generators learn what changes with the season.

`python space/examples/make_pairs.py FOLDER --count 200` writes `FOLDER/a/<seed>.png` in summer and the same name in
`FOLDER/b` in winter, 384 x 288 pixels. A pair takes about ten seconds on one core. `--first` goes on with other seeds.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from make_examples import make_picture
from terrain import DRAFT, LIGHT, Light, Place


logger = logging.getLogger(__name__)

WIDTH, HEIGHT = 384, 288


def random_place(seed: int) -> Place:
    """Return a place whose terrain, camera, trees, weather and light are all drawn from a seed."""
    rng = np.random.default_rng(seed)

    def spread(low: float, high: float) -> float:  # evenly over orders of magnitude
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    azimuth, share, warmth = rng.uniform(0, 2 * np.pi), rng.random(), rng.uniform(-0.12, 0.18)
    summer, winter = LIGHT["summer"], LIGHT["winter"]
    sun, sky, haze = (
        getattr(summer, name) * share + getattr(winter, name) * (1 - share) for name in ("sun", "sky", "haze")
    )
    sun = sun * np.array([1 + warmth, 1, 1 - warmth]) * rng.uniform(0.5, 1.2)
    lake = (rng.uniform(-150, 150), rng.uniform(120, 420), rng.uniform(100, 500), rng.uniform(80, 300))
    return Place(
        name=f"{seed:05d}",
        season="summer",
        seed=seed,
        eye=spread(2, 60),
        tilt=rng.uniform(0.3, 0.75),
        view=rng.uniform(0.5, 1.3),
        sun=(np.cos(azimuth), 0.8 * np.sin(azimuth) - 0.2, rng.uniform(0.15, 1.2)),
        relief=rng.uniform(300, 1900),
        valley=rng.uniform(80, 700),
        lake=lake if rng.random() < 0.35 else None,
        forest=rng.uniform(0.1, 0.95),
        broadleaf=float(rng.choice([0, 0, 0.2, 0.5, 0.9])),
        clouds=rng.uniform(0, 0.8),
        haze=spread(2_500, 25_000),
        colours=Light(sun, sky, haze),
        quality=DRAFT,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200, help="pairs")
    parser.add_argument("--first", type=int, default=0, help="seed of the first pair")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for domain in ("a", "b"):
        (options.folder / domain).mkdir(parents=True, exist_ok=True)
    for seed in range(options.first, options.first + options.count):
        place = random_place(seed)
        for domain, season in (("a", "summer"), ("b", "winter")):
            picture = make_picture(replace(place, season=season), WIDTH, HEIGHT)
            picture.save(options.folder / domain / f"{place.name}.png")
        logger.info("%d of %d", seed - options.first + 1, options.count)


if __name__ == "__main__":
    main()
