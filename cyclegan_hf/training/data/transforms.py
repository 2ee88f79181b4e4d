"""How a picture becomes a training example."""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cyclegan_hf.training.data.config import DataConfig


def augment(image: Image.Image, config: DataConfig, rng: np.random.Generator, domain: int = 0) -> Image.Image:
    """Resize (bicubic), crop a random square of the domain's size, mirror half of the time: the official code's order.

    What else the configuration asks for comes on top: turns, zooms and shears together in the place of the crop, so
    that a picture is resampled once; colours, blur and posterisation at the end.

    Args:
        image: The opened picture.
        config: Sizes and switches.
        rng: The example's own random numbers.
        domain: 0 for A, 1 for B.

    Returns:
        A picture of `image_size` × `image_size` pixels, or of domain B's size.
    """
    crop, (low, high) = config.image_sizes[domain], config.load_sizes[domain]
    image = resized(image, int(rng.integers(low, high, endpoint=True)), config.resize_mode)
    if config.rotation or config.resize_jitter or config.crop_fraction or config.affine:
        image = _warped(image, crop, config, rng)
    else:
        left, top = int(rng.integers(image.width - crop + 1)), int(rng.integers(image.height - crop + 1))
        image = image.crop((left, top, left + crop, top + crop))
    if config.horizontal_flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _recoloured(image, config, rng)


def plain(image: Image.Image, config: DataConfig, domain: int = 0) -> Image.Image:
    """Return the image as `augment` makes it without randomness: resized to the training size, centre crop."""
    size = config.image_sizes[domain]
    image = resized(image, size, config.resize_mode)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def resized(image: Image.Image, size: int, mode: str) -> Image.Image:
    """Return the picture as a square of `size`, or with that shorter side: see `DataConfig.resize_mode`."""
    width, height = image.size
    if mode == "squash":
        width, height = size, size
    else:
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _warped(image: Image.Image, crop: int, config: DataConfig, rng: np.random.Generator) -> Image.Image:
    """Return a random square of `crop` pixels, rotated, zoomed, sheared and shifted; reflect beyond the border.

    A black or white fill would be a mark of the domain, and reappear in the translations.
    """
    zoom = 1 + rng.uniform(-config.resize_jitter, config.resize_jitter)
    window = crop * (1 - rng.uniform(0, config.crop_fraction)) / zoom  # what fills the crop, in the picture's pixels
    angle = math.radians(rng.uniform(-config.rotation, config.rotation))
    shear, shift_x, shift_y = rng.uniform(-config.affine, config.affine, 3)
    x = _centre(image.width, window, rng) + shift_x * window
    y = _centre(image.height, window, rng) + shift_y * window

    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = window / crop * turn @ np.array([[1, shear], [0, 1]])  # from the crop's pixels to the picture's
    reach = np.abs(matrix).sum(axis=1) * crop / 2 + 2  # of the crop's corners, and two pixels for the interpolation
    pads = [max(0, math.ceil(max(reach[0] - x, x + reach[0] - image.width)))]
    pads += [max(0, math.ceil(max(reach[1] - y, y + reach[1] - image.height)))]
    if any(pads):
        around = [(pads[1], pads[1]), (pads[0], pads[0]), (0, 0)]
        pixels = np.asarray(image)
        image = Image.fromarray(np.pad(pixels, around[: pixels.ndim], mode="reflect"))
    (a, b), (d, e) = matrix.tolist()
    c, f = np.array([x + pads[0], y + pads[1]]) - matrix.sum(axis=1) * crop / 2
    return image.transform((crop, crop), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)


def _centre(length: int, window: float, rng: np.random.Generator) -> float:
    """Return the centre of a window along one side: anywhere it fits, otherwise the middle of the side."""
    return length / 2 + rng.uniform(-0.5, 0.5) * max(0.0, length - window)


def _recoloured(image: Image.Image, config: DataConfig, rng: np.random.Generator) -> Image.Image:
    if config.color_jitter:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(1 + rng.uniform(-config.color_jitter, config.color_jitter))
    if config.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, config.blur)))
    if config.posterize_bits:
        image = ImageOps.posterize(image, int(rng.integers(config.posterize_bits, 8, endpoint=True)))
    return image
