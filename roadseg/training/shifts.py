"""Other colours, made of dev tiles: what a model can stand of another sensor, season or white balance.

Each shift changes pixel values alone, the same way everywhere, clipped and rounded to grey levels as a file
would hold them. The labels stay, so the loss against the unchanged tiles is the model's own.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shift = Callable[[Bytes], Bytes]
"""Maps (bands, height, width) uint8 to the same shape."""


def on_unit_scale(change: Callable[[Floats], Floats]) -> Shift:
    """Return a shift that makes a change to values from 0 to 1."""

    def shift(image: Bytes) -> Bytes:
        changed = change(image.astype(np.float32) / np.float32(255))
        return np.asarray(np.rint(changed.clip(0, 1) * 255), dtype=np.uint8)

    return shift


def gains(*factors: float) -> Shift:
    """Return a shift that multiplies the first bands, as another white balance does."""

    def change(image: Floats) -> Floats:
        return image * np.array([*factors, *[1.0] * len(image)][: len(image)], np.float32)[:, None, None]

    return on_unit_scale(change)


def linear(gain: float, offset: float) -> Shift:
    """Return a shift that multiplies all values and adds to them."""
    return on_unit_scale(lambda image: image * np.float32(gain) + np.float32(offset))


def noise(deviation: float) -> Shift:
    """Return a shift that adds Gaussian noise, the same for images of one size."""

    def change(image: Floats) -> Floats:
        grain = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
        return image + np.float32(deviation) * grain

    return on_unit_scale(change)


grey = on_unit_scale(lambda image: np.broadcast_to(image.mean(axis=0, keepdims=True), image.shape))

SHIFTS: Mapping[str, Shift] = {
    "warm, × (1.3, 1, 0.65)": gains(1.3, 1, 0.65),
    "cool, × (0.7, 1, 1.3)": gains(0.7, 1, 1.3),
    "green, × (0.8, 1.2, 0.8)": gains(0.8, 1.2, 0.8),
    "grey, mean of the bands": grey,
    "haze, 0.5 x + 0.4": linear(0.5, 0.4),
    "dark, 0.4 x": linear(0.4, 0),
    "bright, 1.4 x + 0.1": linear(1.4, 0.1),
    "contrast, 2 (x - 0.4) + 0.4": linear(2, -0.4),
    "noise of 0.06": noise(0.06),
}
"""Those that a model is measured by, with values x on the 0–1 scale."""
