"""Terrain from noise: a height field in metres, what each pixel sees of it, and where the sun reaches."""

from dataclasses import dataclass

import numpy as np


Array = np.ndarray

FAR = 9000.0  # metres to the end of the world

# Light is linear RGB, 1 being a white sheet in the summer sun; greens, browns and whites elsewhere are albedos.


@dataclass(frozen=True)
class Light:
    """Linear RGB of the sun, of the sky's light from above, and of the air."""

    sun: Array
    sky: Array
    haze: Array


LIGHT = {
    "summer": Light(np.array([1.25, 1.16, 1.0]), np.array([0.30, 0.38, 0.50]), np.array([0.52, 0.62, 0.74])),
    "winter": Light(np.array([1.6, 1.47, 1.28]), np.array([0.22, 0.28, 0.39]), np.array([0.60, 0.66, 0.74])),
}


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The effort that goes into a picture.

    Attributes:
        supersampling: rendered pixels for each pixel, in each direction.
        steps: along each ray.
        trees: places where a tree may stand.
        blades: of grass in the foreground.
        sprites: different conifers.
    """

    supersampling: int = 2
    steps: int = 2600
    trees: int = 160_000
    blades: int = 45_000
    sprites: int = 8


FULL, DRAFT = Quality(), Quality(supersampling=1, steps=1300, trees=90_000, blades=14_000, sprites=4)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One picture: a place, a season and a light.

    Attributes:
        name: of the file.
        season: `"summer"` or `"winter"`.
        seed: of the terrain and the trees.
        eye: metres of the camera above the ground or the water.
        tilt: where the horizon is, from 0 (bottom) to 1 (top).
        view: width of the view over its distance.
        sun: direction to the sun: right, away from the camera, up.
        relief: metres of the mountains.
        valley: half its width in metres.
        lake: (x, y, radius along x, radius along y) in metres, or none.
        forest: 0 (no trees) to 1 (everywhere).
        broadleaf: share of the trees that are no conifers.
        clouds: 0 (clear) to 1 (covered).
        haze: metres after which two thirds of the light are the air's.
        colours: of the light; unset, the season's.
        quality: what the rendering may cost.
    """

    name: str
    season: str
    seed: int
    eye: float = 4.0
    tilt: float = 0.44
    view: float = 1.15
    sun: tuple[float, float, float] = (-0.6, -0.35, 0.55)
    relief: float = 1100.0
    valley: float = 350.0
    lake: tuple[float, float, float, float] | None = None
    forest: float = 0.5
    broadleaf: float = 0.0
    clouds: float = 0.35
    haze: float = 12_000.0
    colours: Light | None = None
    quality: Quality = FULL

    @property
    def light(self) -> Light:
        return self.colours or LIGHT[self.season]


def smoothstep(low: float | Array, high: float | Array, x: float | Array) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * share[..., None]


def develop(light: Array) -> Array:
    """Turn linear light into display values 0..255: a shoulder for the highlights, then the sRGB curve."""
    light = np.clip(light, 0, None) * 1.45
    light = np.clip(light * (1 + light / 3.2) / (1 + light), 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


class Noise:
    """Smooth value noise in [-1, 1] with its gradient; it repeats after 256 units."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.values = rng.uniform(-1, 1, (256, 256)).astype(np.float32)

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        left, front = np.floor(x), np.floor(y)
        u, v = (x - left).astype(np.float32), (y - front).astype(np.float32)
        i, j = left.astype(np.int64) & 255, front.astype(np.int64) & 255
        i1, j1 = (i + 1) & 255, (j + 1) & 255
        a, b, c, d = self.values[i, j], self.values[i1, j], self.values[i, j1], self.values[i1, j1]
        su, sv = u * u * u * (u * (u * 6 - 15) + 10), v * v * v * (v * (v * 6 - 15) + 10)
        du, dv = 30 * u * u * (u - 1) ** 2, 30 * v * v * (v - 1) ** 2
        k = a - b - c + d
        return a + (b - a) * su + (c - a) * sv + k * su * sv, du * (b - a + k * sv), dv * (c - a + k * su)

    def fractal(self, x: Array, y: Array, octaves: int, *, gain: float = 0.5, eroded: bool = False) -> Array:
        """Sum octaves, each turned by 37 degrees. Eroded: slopes carry less detail, as if it were washed down."""
        total, weight, gx, gy = np.zeros(np.shape(x), np.float32), 1.0, 0.0, 0.0
        for _ in range(octaves):
            value, dx, dy = self(x, y)
            if eroded:
                gx, gy = gx + dx, gy + dy
                value = value / (1 + gx * gx + gy * gy)
            total += weight * value
            weight *= gain
            x, y = 1.6 * x - 1.2 * y + 7.3, 1.2 * x + 1.6 * y + 3.1
        return total


class World:
    """The terrain of one place. Positions are metres: x to the right, y away from the camera, z up."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rng = np.random.default_rng(place.seed)
        self.rock, self.soil, self.cover = Noise(self.rng), Noise(self.rng), Noise(self.rng)
        self.water = -3.0 if place.lake else -1e9
        self.sun = np.array(place.sun) / np.linalg.norm(place.sun)
        self.eye = max(float(self.height(np.zeros(1), np.full(1, 2.0))[0]), self.water) + place.eye

    def height(self, x: Array, y: Array, detail: int = 9) -> Array:
        """Metres of the ground; each octave of `detail` halves the smallest form on the mountains (9: 6 m)."""
        place = self.place
        aside = np.abs(x - 260 * np.sin(y / 1400 + place.seed))
        rise = smoothstep(900, 3500, y + 0.35 * aside)
        rise = rise * (0.25 + 0.75 * smoothstep(place.valley, place.valley + 1500, aside + 0.12 * y))
        peaks = self.rock.fractal(x / 1500, y / 1500, detail, eroded=True)
        rolling = self.soil.fractal(x / 210, y / 210, min(detail, 8), gain=0.42)
        height = rise * place.relief * (0.62 + 0.8 * peaks) + 9 * rolling * (1 - rise)
        if place.lake:
            lx, ly, rx, ry = place.lake
            edge = ((x - lx) / rx) ** 2 + ((y - ly) / ry) ** 2
            height = height - 22 * np.exp(-edge * 1.4) + 4 * smoothstep(0.5, 2.5, edge)
        return height

    def sunlight(self, x: Array, y: Array, z: Array) -> Array:
        """How much of the sun gets past the mountains to each point: 0 to 1, with soft edges."""
        cell, half = 12.0, FAR * 0.75
        field = self.height(*np.meshgrid(np.arange(-half, half, cell), np.arange(-1500, FAR + 1500, cell)), detail=6)
        light = np.ones_like(x)
        for step in np.geomspace(60, 4000, 40):
            px, py, pz = (position + step * part for position, part in zip((x, y, z), self.sun, strict=True))
            i = np.clip(((py + 1500) / cell).astype(int), 0, field.shape[0] - 1)
            j = np.clip(((px + half) / cell).astype(int), 0, field.shape[1] - 1)
            light = np.minimum(light, 0.5 + (pz - field[i, j]) / (0.03 * step + 6))
        return np.clip(light, 0, 1)

    def trace(self, width: int, height: int) -> tuple[Array, Array, Array]:
        """Find what each pixel sees, one ray a column: the largest slope of view so far only grows along it.

        Returns:
            x, y: positions in metres, of shape (height, width); an infinite y is the sky.
            v: slope of view of each row, the top one first.
        """
        place = self.place
        u = ((np.arange(width) + 0.5) / width * 2 - 1) * place.view / 2
        v = (np.arange(height)[::-1] + 0.5 - height * place.tilt) * place.view / width
        steps = np.geomspace(2.0, FAR, place.quality.steps)
        ground = np.concatenate([self.height(y * u, y + 0 * u) for y in np.array_split(steps[:, None], 16)])
        slope = (np.maximum(ground, self.water) - self.eye) / steps[:, None]
        skyline = np.maximum.accumulate(slope, axis=0)
        y = np.full((height, width), np.inf)
        for column in range(width):
            hit = np.searchsorted(skyline[:, column], v)
            seen = hit < len(steps)
            last, first = hit[seen], np.maximum(hit[seen] - 1, 0)
            low, high = skyline[first, column], skyline[last, column]
            part = np.clip((v[seen] - low) / np.maximum(high - low, 1e-9), 0, 1)
            y[seen, column] = steps[first] + part * (steps[last] - steps[first])
        return np.where(np.isfinite(y), y, FAR) * u, y, v
