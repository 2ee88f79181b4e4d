"""Trees: sprites of lit points, where they stand, their shadows, and how they are drawn."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from terrain import FAR, LIGHT, Array, World, develop, smoothstep


def splat(points: Array, depth: Array, light: Array, width: int, height: int) -> Image.Image:
    """Draws points, far ones first; x in [-0.5, 0.5] and y in [0, 1] are in heights of the tree."""
    order = np.argsort(-depth)
    x = (points[order, 0] * height + width / 2).astype(int)
    y = (height - 1 - points[order, 1] * (height - 2)).astype(int)
    colour = np.concatenate([develop(light[order]), np.full((len(order), 1), 255.0)], 1)
    canvas = np.zeros((height, width, 4))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas[y[inside], x[inside]] = colour[inside]
    return Image.fromarray(canvas.astype(np.uint8))


def conifer(rng: np.random.Generator, snow: bool, sun: Array) -> Image.Image:
    """Draw a spruce of 100x240 pixels: whorls of drooping branches with needles, with snow on top."""
    points, normals, depth, shade, white = [], [], [], [], []
    slim, droop = rng.uniform(0.13, 0.18), rng.uniform(0.6, 1.2)
    for level in np.arange(0.05, 0.985, 0.021):
        for angle in rng.uniform(0, 2 * np.pi, 9):
            reach = slim * (1 - level) ** 0.95 * rng.uniform(0.55, 1.15) + 0.006
            count = int(60 + 900 * reach)
            s = np.sqrt(rng.random(count))  # along the branch
            side, up = rng.normal(0, 0.22, count) * reach * (1.15 - s), rng.normal(0, 0.006, count)
            points.append(
                np.stack(
                    [
                        s * reach * np.cos(angle) - side * np.sin(angle),
                        level + up + reach * (0.25 - droop * s * reach - 0.35 * s),
                    ],
                    axis=1,
                )
            )
            depth.append(s * reach * np.sin(angle) + side * np.cos(angle))
            normals.append(np.tile([0.75 * np.cos(angle), 0.75 * np.sin(angle), 0.66], (count, 1)))
            shade.append((0.22 + 0.78 * s**1.5) * rng.uniform(0.6, 1.15) * rng.uniform(0.7, 1.2, count))
            white.append((up > -0.002) & (rng.random(count) < 0.75 * s + 0.1) & (rng.random() < 0.9))
    shaded, lit = np.concatenate(shade)[:, None], np.clip(np.concatenate(normals) @ sun, 0, 1)[:, None]
    green = np.array([0.076, 0.116, 0.044]) * rng.uniform(0.8, 1.25) * rng.uniform(0.95, 1.05, 3)
    light = shaded * (0.65 * LIGHT["summer"].sky + lit * LIGHT["summer"].sun) * green
    if snow:
        frost = (
            (0.35 + 0.65 * shaded)
            * (LIGHT["winter"].sky + lit * LIGHT["winter"].sun * 0.7)
            * np.array([0.78, 0.82, 0.88])
        )
        light = np.where(np.concatenate(white)[:, None], frost, light * 0.8)
    return splat(np.concatenate(points), np.concatenate(depth), light, 100, 240)


def broadleaf(rng: np.random.Generator, bare: bool, sun: Array) -> Image.Image:
    """Draw a leaf tree of 200x220 pixels: boughs that fork in a round crown and, unless bare, clumps of leaves."""
    canvas = Image.new("RGBA", (400, 440))
    draw = ImageDraw.Draw(canvas)

    def bough(x: float, y: float, angle: float, length: float, width: float) -> None:
        end = x + length * np.sin(angle), y - length * np.cos(angle)
        tone = int(rng.uniform(48, 74))
        draw.line([(x, y), end], fill=(tone + 8, tone, tone - 7, 255), width=max(1, round(width)))
        if length < 12 or np.hypot((end[0] - 200) / 165, min(end[1] - 165, 0) / 145) > 1:
            return  # a twig, or the edge of the crown
        for turn in rng.uniform(0.2, 0.75, 2) * (1, -1):
            bough(*end, angle + turn, length * rng.uniform(0.7, 0.86), width * 0.68)
        if rng.random() < 0.6:
            bough(*end, angle * 0.7 + rng.normal(0, 0.15), length * 0.84, width * 0.65)

    bough(200, 438, rng.normal(0, 0.04), 70, 13)
    boughs = canvas.resize((200, 220), Image.Resampling.LANCZOS)
    clumps = rng.normal(size=(230, 3))
    clumps *= (rng.random(230) ** 0.4 / np.linalg.norm(clumps, axis=1))[:, None] * (150, 75, 132)
    points, depth, light = [], [], []
    green = np.array([0.075, 0.110, 0.025]) * rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
    for clump in clumps:  # right, away, up from the crown's centre
        normal = rng.normal(size=(420, 3))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        leaves = clump + normal * (1, 1, 0.8) * (rng.uniform(13, 32) * rng.uniform(0.75, 1.1, (420, 1)))
        facing = np.clip((0.55 * normal + 0.6 * clump / 110) @ sun, 0, 1)
        open_sky = np.clip(0.55 + 0.45 * normal[:, 2] + 0.25 * clump[2] / 110, 0.15, 1)
        points.append((leaves[:, [0, 2]] + (0, 263)) / 440)
        depth.append(leaves[:, 1])
        lit = open_sky[:, None] * LIGHT["summer"].sky + facing[:, None] * LIGHT["summer"].sun
        light.append(lit * green * rng.uniform(0.6, 1.5, (420, 1)))
    if bare:  # only now: a bare tree draws as many random numbers, so that both seasons' next trees are the same
        return boughs
    crown = splat(np.concatenate(points), np.concatenate(depth), np.concatenate(light), 200, 220)
    return Image.alpha_composite(boughs, crown)


def wooded(world: World, x: Array, y: Array, z: Array) -> Array:
    """Share of the ground under trees, 0 to 1: in patches, below the tree line, off the shore."""
    patch = world.cover.fractal(x / 260 + 40, y / 260, 6, gain=0.6)
    edge, line = 0.9 - 1.8 * world.place.forest, world.place.relief * (0.62 + 0.155 * patch)
    return (
        smoothstep(edge, edge + 0.5, patch) * smoothstep(line, line * 0.75, z) * smoothstep(0.6, 2.5, z - world.water)
    )


def plant(world: World) -> Array:
    """Chooses where trees stand: rows of (x, y, z, height in metres), far ones first."""
    place, rng, count = world.place, world.rng, world.place.quality.trees
    y = 28 + (FAR * 0.55 - 28) * rng.random(count) ** 1.6  # thinner far away, where the ground's own colour is enough
    x = rng.uniform(-0.55, 0.55, count) * place.view * y
    z = world.height(x, y)
    slope = np.hypot(world.height(x + 3, y) - z, world.height(x, y + 3) - z) / 3
    glade = np.exp(-((x / (45 + 0.3 * y)) ** 2)) * smoothstep(900, 450, y)  # keeps the view open
    likely = wooded(world, x, y, z) * smoothstep(0.95, 0.6, slope)
    likely = likely * (1 - 0.98 * glade) * (0.01 + 0.99 * smoothstep(90, 300, y))
    size = rng.uniform(8, 21, count) * (1 - 0.5 * np.clip(z / place.relief, 0, 1))
    trees = np.stack([x, y, z, size], 1)[rng.random(count) < 0.6 * likely]
    return trees[np.argsort(-trees[:, 1])]


def tree_shadows(world: World, trees: Array, x: Array, y: Array) -> Array:
    """Return the share of sunlight that the trees of the nearest 500 m leave at each point."""
    canvas = Image.new("L", (1000, 1000), 255)  # two pixels a metre, x from -250
    draw = ImageDraw.Draw(canvas)
    away = -world.sun[:2] / max(world.sun[2], 0.2)
    across = np.array([-away[1], away[0]]) / np.linalg.norm(away)
    for tree_x, tree_y, _, size in trees[trees[:, 1] < 500]:
        foot, wide = np.array([tree_x + 250, tree_y]) * 2, across * size * 0.32
        tip = foot + away * size * 2
        draw.polygon([tuple(p) for p in (foot - wide, foot + wide, tip + wide * 0.1, tip - wide * 0.1)], fill=25)
        draw.ellipse([foot[0] - 4, foot[1] - 3, foot[0] + 4, foot[1] + 3], fill=15)
    shadows = np.asarray(canvas.filter(ImageFilter.GaussianBlur(1.2)), np.float32) / 255
    i, j = np.clip(y * 2, 0, 999).astype(int), np.clip((x + 250) * 2, 0, 999).astype(int)
    return np.where((y < 499) & (np.abs(x) < 249), shadows[i, j], 1)


def draw_trees(world: World, canvas: Array, trees: Array, seen: Array, haze: Array) -> None:
    """Draws trees into display values of shape (H, W, 3), in place, where the ground they stand on is seen.

    Args:
        world: the place.
        canvas: the picture so far.
        trees: as [`plant`] returns them.
        seen: metres to what each pixel sees, of shape (H, W).
        haze: display colour of the air.
    """
    place, rng = world.place, np.random.default_rng(world.place.seed)
    height, width = seen.shape
    focal = width / place.view
    winter = place.season == "winter"
    kinds = [
        [conifer(rng, winter, world.sun) for _ in range(place.quality.sprites)],
        [broadleaf(rng, winter, world.sun) for _ in range(place.quality.sprites * 3 // 4)],
    ]
    columns = ((trees[:, 0] / trees[:, 1] / place.view + 0.5) * width).astype(int)
    rows = (height * (1 - place.tilt) - (trees[:, 2] - world.eye) / trees[:, 1] * focal).astype(int)
    sunlight = world.sunlight(trees[:, 0], trees[:, 1], trees[:, 2] + 8)
    sprites: dict[tuple[int, int, int], Array] = {}
    for (_, distance, _, size), column, row, lit in zip(trees, columns, rows, sunlight, strict=True):
        if not (0 <= column < width and 0 <= row < height) or abs(seen[row, column] / distance - 1) > 0.06:
            continue
        kind = int(rng.random() < place.broadleaf)
        variant = int(rng.integers(len(kinds[kind])))
        pixels = max(2, round(size * (1.15, 0.8)[kind] / distance * focal))
        if (kind, variant, pixels) not in sprites:
            sprite = kinds[kind][variant]
            sprite = sprite.resize(
                (max(1, round(pixels * sprite.width / sprite.height)), pixels), Image.Resampling.BOX
            )
            sprites[kind, variant, pixels] = np.asarray(sprite, np.float32)
        tree = sprites[kind, variant, pixels][:, :: int(rng.choice((1, -1)))]
        top, left = row - pixels + 1, column - tree.shape[1] // 2
        r0, c0, c1 = max(top, 0), max(left, 0), min(left + tree.shape[1], width)
        tree = tree[r0 - top :, c0 - left : c1 - left]
        colour = tree[..., :3] * (0.58 + 0.42 * lit) * rng.uniform(0.82, 1.12)
        colour += (haze - colour) * (1 - np.exp(-distance / place.haze))
        canvas[r0 : row + 1, c0:c1] += tree[..., 3:] / 255 * (colour - canvas[r0 : row + 1, c0:c1])
