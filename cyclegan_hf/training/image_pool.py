"""The pool of past translations that discriminators learn from (Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4)."""  # noqa: E501

import random
from typing import Any

import torch


class ImagePool:
    """Up to `size` past pictures.

    Until the pool is full, a picture is stored and returned. Then, by the official code's rule, for each picture with
    probability one half a random stored one is returned and replaced by it; otherwise the picture itself is returned,
    unstored. By the rule of the course report `face2cartoon_attention` a random stored one is returned and replaced
    every time. Size 0 returns what comes.

    Args:
        size: Pictures kept.
        seed: Seed of the pool's own random numbers.
        always_past: Follow the report's rule.
    """

    def __init__(self, size: int, seed: int = 0, always_past: bool = False) -> None:
        self.size = size
        self.always_past = always_past
        self.images: list[torch.Tensor] = []
        self._random = random.Random(seed)

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """Show new pictures, get pictures to learn from; both `(batch_size, channels, height, width)`."""
        if self.size == 0:
            return images
        chosen = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                chosen.append(image)
            elif self.always_past or self._random.uniform(0, 1) > 0.5:
                slot = self._random.randrange(self.size)
                chosen.append(self.images[slot])
                self.images[slot] = image.clone()
            else:
                chosen.append(image)
        return torch.stack(chosen)

    def state_dict(self) -> dict[str, Any]:
        """Return the images and the state of the random numbers, in plain types."""
        return {"images": self.images, "random": self._random.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.images = list(state["images"])
        version, numbers, gauss = state["random"]
        self._random.setstate((version, tuple(numbers), gauss))
