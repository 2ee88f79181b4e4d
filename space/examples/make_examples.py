"""Makes the page's example pictures: landscapes computed from noise, so that their rights are this project's.

`python space/examples/make_examples.py` writes `<season>/<name>.jpg` beside this file, names as arguments choose
some. The ground is shaded first, the lake mirrors what is above it, trees are drawn from far to near,
then blades of grass; haze and a photographic tone curve make it a picture.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from terrain import Array, Place, World, develop, mix, smoothstep
from trees import draw_trees, plant, tree_shadows, wooded


WIDTH, HEIGHT = 512, 384
MAX_BYTES = 60_000

PLACES = (
    Place(name="meadow", season="summer", seed=3, broadleaf=0.35, clouds=0.45),
    Place(name="lake", season="summer", seed=11, eye=7, tilt=0.5, lake=(40, 330, 420, 240), sun=(0.65, -0.3, 0.5)),
    Place(name="hills", season="summer", seed=24, eye=9, relief=420, valley=120, broadleaf=0.8, clouds=0.55),
    Place(name="pass", season="summer", seed=1, eye=12, tilt=0.4, relief=1400, forest=0.25, clouds=0.25),
    Place(
        name="pond", season="summer", seed=2, eye=5, lake=(-30, 180, 160, 90), relief=500, broadleaf=0.5, clouds=0.6
    ),
    Place(name="woods", season="summer", seed=4, tilt=0.42, forest=0.8, sun=(0.5, -0.5, 0.5), relief=900),
    Place(name="forest", season="winter", seed=7, tilt=0.4, forest=0.75, sun=(0.75, -0.12, 0.26)),
    Place(name="peaks", season="winter", seed=19, eye=8, forest=0.4, relief=1200, sun=(-0.75, -0.1, 0.32), clouds=0.2),
    Place(name="plain", season="winter", seed=1, eye=6, forest=0.2, relief=500, valley=600, clouds=0.5),
    Place(name="ridge", season="winter", seed=2, eye=14, tilt=0.5, forest=0.3, relief=1400, sun=(0.6, -0.4, 0.4)),
    Place(name="valley", season="winter", seed=4, tilt=0.42, forest=0.6, valley=200, sun=(-0.4, -0.5, 0.35)),
    Place(name="shore", season="winter", seed=31, eye=5, lake=(-60, 360, 380, 160), relief=800, clouds=0.6, haze=7000),
)


def paint_sky(world: World, width: int, v: Array) -> Array:
    """Return the sky's light of shape (H, W, 3): a gradient, and clouds on a plane 1.6 km up."""
    place = world.place
    u = ((np.arange(width) + 0.5) / width - 0.5) * place.view
    rise = np.repeat(np.clip(v, 0.004, None)[:, None], width, axis=1)
    zenith = np.array([0.09, 0.22, 0.52] if place.season == "summer" else [0.16, 0.30, 0.54])
    light = mix(place.light.haze * 1.12, zenith, smoothstep(-0.05, 0.75, rise) ** 0.7)
    x, y = u / rise * 1.6, 1 / rise * 1.6  # kilometres
    x, y = x + 0.15 * world.cover.fractal(x * 1.3 + 5, y * 1.3, 3), y + 3 * place.seed
    body = world.cover.fractal(x / 1.9, y / 1.9, 7, gain=0.52)
    sunward = world.cover.fractal((x + 0.12 * world.sun[0]) / 1.9, (y + 0.12 * world.sun[1]) / 1.9, 7, gain=0.52)
    cover = smoothstep(0.75 - 1.5 * place.clouds, 1.45 - 1.5 * place.clouds, body) * smoothstep(0.01, 0.1, rise)
    white = 0.86 + 0.5 * np.clip(body - sunward, -0.35, 0.35) - 0.22 * smoothstep(0.3, 1.2, body)
    return mix(light, white[..., None] * np.array([1.0, 0.985, 0.97]), cover * 0.93)


def ground_colour(world: World, x: Array, y: Array, z: Array, flat: Array) -> Array:
    """Albedo of shape (N, 3) where the ground's normal points up by `flat`: grass or snow, rock where it is steep."""
    place = world.place
    patch = world.cover.fractal(x / 38, y / 38, 6)
    fine = world.soil.fractal(x / 1.7, y / 1.7, 5, gain=0.62)[:, None]
    strata = world.rock.fractal(x / 90 + z / 40, y / 90 + z / 17, 6, gain=0.6)
    rock = np.array([0.20, 0.185, 0.17]) * (1 + 0.38 * strata[:, None] + 0.15 * fine)
    if place.season == "winter":
        snow = np.array([0.86, 0.89, 0.93]) * (1 + 0.025 * patch[:, None] + 0.03 * fine)
        return mix(snow, rock * 0.8, smoothstep(0.80, 0.62, flat + 0.07 * strata + 0.05 * patch))
    high = z / place.relief + 0.09 * patch
    grass = mix(np.array([0.075, 0.125, 0.022]), np.array([0.17, 0.175, 0.05]), smoothstep(-0.5, 0.9, patch))
    scree = np.array([0.13, 0.12, 0.075]) * (1 + 0.3 * fine)
    ground = mix(grass * (1 + 0.34 * fine), scree, smoothstep(0.55, 0.95, high))
    ground = mix(ground, rock, smoothstep(0.84, 0.66, flat + 0.08 * strata))
    old_snow = smoothstep(0.95, 1.25, high) * smoothstep(0.6, 0.8, flat)
    return mix(ground, np.array([0.75, 0.78, 0.82]), old_snow)


def paint_ground(world: World, x: Array, y: Array, trees: Array) -> Array:
    """Return the light of ground points of shape (N,), as (N, 3), without haze."""
    place = world.place
    z = world.height(x, y, detail=11)
    step = np.maximum(0.05, y * place.view / (WIDTH * place.quality.supersampling))
    normal = np.stack([z - world.height(x + step, y, detail=11), z - world.height(x, y + step, detail=11), step], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    woods = wooded(world, x, y, z)
    undergrowth = np.array([0.020, 0.034, 0.014] if place.season == "summer" else [0.16, 0.18, 0.19])
    albedo = mix(ground_colour(world, x, y, z, normal[:, 2]), undergrowth, woods * smoothstep(150, 900, y) * 0.8)
    shade = tree_shadows(world, trees, x, y) * (1 - 0.55 * woods * smoothstep(150, 500, y))
    lit = np.clip(normal @ world.sun, 0, 1) * world.sunlight(x, y, z) * shade
    cloud = world.cover.fractal(x / 900 + 9, y / 900, 3)
    lit = lit * (1 - 0.6 * smoothstep(0.9 - place.clouds, 1.3 - place.clouds, cloud))
    sky = (0.45 + 0.55 * normal[:, 2]) * (0.6 + 0.4 * shade)
    return albedo * (sky[:, None] * place.light.sky + lit[:, None] * place.light.sun)


def mirror(world: World, scene: Array, x: Array, y: Array, v: Array, wet: Array) -> Array:
    """Return the lake's display values (N, 3): the mirrored scene, shaken by ripples, and the water's own colour."""
    height, width = y.shape
    horizon = int(np.searchsorted(-v, 0))
    rows, columns = np.nonzero(wet)
    ripple = world.soil.fractal(x[wet] / 3.1, y[wet] / 11, 5, gain=0.6)
    wind = 0.25 + 0.75 * smoothstep(-0.3, 0.5, world.cover.fractal(x[wet] / 70, y[wet] / 150, 3))
    source = 2 * horizon - rows + ripple * wind * (2 + (rows - horizon) * 0.1)
    reflected = scene[
        np.clip(source, 0, height - 1).astype(int), np.clip(columns + ripple * 2, 0, width - 1).astype(int)
    ]
    steep = np.abs(v[rows]) / np.hypot(1, v[rows])
    fresnel = (0.06 + 0.94 * (1 - steep) ** 5) * (0.93 + 0.07 * ripple)
    return mix(develop(np.array([0.012, 0.035, 0.040])), reflected * 0.93, fresnel)


def draw_grass(world: World, canvas: Image.Image, x: Array, y: Array, wet: Array) -> None:
    """Draws blades nearer than 45 m, some with flowers; in winter a few dry stalks stand out of the snow."""
    place, rng = world.place, world.rng
    summer, focal = place.season == "summer", y.shape[1] / place.view
    near, straw = np.argwhere((y < 45) & ~wet), np.array([148, 130, 104])
    if not len(near):
        return
    draw, pixels = ImageDraw.Draw(canvas), np.asarray(canvas).astype(float)
    chosen = near[rng.integers(0, len(near), place.quality.blades if summer else 420)]
    chosen = chosen[np.argsort(chosen[:, 0], kind="stable")]
    places = x[*chosen.T] / 6, y[*chosen.T] / 6
    for (row, column), patch in zip(chosen, world.cover.fractal(*places, 2) > 0.55, strict=True):
        if not (summer or patch):
            continue
        length = focal * rng.uniform(0.05, 0.26 if summer else 0.16) / y[row, column]
        lean = rng.normal(0.1, 0.35) * length
        tone = pixels[row, column] * rng.uniform(0.72, 1.42) if summer else straw * rng.uniform(0.8, 1.2)
        tip = (column + lean, row - length)
        stroke = [(column, row), (column + lean * 0.3, row - length * 0.6), tip]
        draw.line(stroke, fill=as_colour(tone), width=2 if summer and length > 26 else 1)
        if summer and rng.random() < 0.03 + 0.1 * patch:
            radius = max(0.6, focal * 0.012 / y[row, column])
            flower = rng.choice([[236, 226, 120], [240, 240, 235], [190, 150, 205]]) * rng.uniform(0.8, 1.0)
            box = [tip[0] - radius, tip[1] - radius * 0.7, tip[0] + radius, tip[1] + radius * 0.7]
            draw.ellipse(box, fill=as_colour(flower))


def as_colour(values: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(values, 0, 255))


def make_picture(place: Place, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Make one image of `width` x `height` pixels."""
    world, scale = World(place), place.quality.supersampling
    x, y, v = world.trace(width * scale, height * scale)
    land = np.isfinite(y)
    wet = land & (world.height(x, np.where(land, y, 0)) < world.water + 0.02)
    dry = land & ~wet
    trees = plant(world)
    light = paint_sky(world, width * scale, v)
    light[dry] = mix(paint_ground(world, x[dry], y[dry], trees), place.light.haze, 1 - np.exp(-y[dry] / place.haze))
    canvas, haze, seen = develop(light), develop(place.light.haze), np.where(wet, np.inf, y)
    if wet.any():
        scene = canvas.copy()
        draw_trees(world, scene, trees[trees[:, 1] > np.median(y[wet])], seen, haze)
        canvas[wet] = mirror(world, scene, x, y, v, wet)
    draw_trees(world, canvas, trees, seen, haze)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw_grass(world, picture, x, y, wet)
    values = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), np.float32)
    grain = world.rng.normal(0, 1.2, (height, width, 1))
    return Image.fromarray(np.clip(values + grain, 0, 255).astype(np.uint8))


def save(picture: Image.Image, path: Path) -> None:
    """Write the best JPEG that fits into `MAX_BYTES`."""
    for quality in range(92, 40, -2):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MAX_BYTES:
            break
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(stream.getvalue())


def main() -> None:
    for place in PLACES:
        if len(sys.argv) == 1 or place.name in sys.argv[1:]:
            save(make_picture(place), Path(__file__).parent / place.season / f"{place.name}.jpg")


if __name__ == "__main__":
    main()
