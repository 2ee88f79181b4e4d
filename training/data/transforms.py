"""How a picture becomes a training example."""

import numpy as np
from PIL import Image

from training.config import DataConfig


def augment(image: Image.Image, config: DataConfig, rng: np.random.Generator) -> Image.Image:
    """Resize (bicubic), crop a random square of `image_size`, mirror half of the time: the official code's order.

    Args:
        image: The opened picture.
        config: Sizes and switches.
        rng: The example's own random numbers.

    Returns:
        A picture of `image_size` × `image_size` pixels.
    """
    low, high = config.load_size
    size = int(rng.integers(low, high, endpoint=True))
    width, height = image.size
    if config.resize_mode == "squash":
        width, height = size, size
    else:
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    crop = config.image_size
    left, top = int(rng.integers(width - crop + 1)), int(rng.integers(height - crop + 1))
    image = image.crop((left, top, left + crop, top + crop))
    if config.horizontal_flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image
