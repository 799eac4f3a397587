"""Colour shifts of dev tiles: how robust a model is to another sensor, season or white balance.

A shift changes pixel values only, in the same way everywhere, and clips and rounds them to grey levels like a file.
The labels stay the same, so the drop in score against the unchanged tiles is due to the model.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shift = Callable[[Bytes], Bytes]
"""Maps (bands, height, width) uint8 to the same shape."""


def on_unit_scale(change: Callable[[Floats], Floats]) -> Shift:
    """Return a shift that applies a change to values from 0 to 1."""

    def shift(image: Bytes) -> Bytes:
        changed = change(image.astype(np.float32) / np.float32(255))
        return np.asarray(np.rint(changed.clip(0, 1) * 255), dtype=np.uint8)

    return shift


def gains(*factors: float) -> Shift:
    """Return a shift that multiplies each of the first bands by a factor, like another white balance."""

    def change(image: Floats) -> Floats:
        return image * np.array([*factors, *[1.0] * len(image)][: len(image)], np.float32)[:, None, None]

    return on_unit_scale(change)


def linear(gain: float, offset: float) -> Shift:
    """Return a shift that multiplies all values by a gain and adds an offset."""
    return on_unit_scale(lambda image: image * np.float32(gain) + np.float32(offset))


def noise(deviation: float) -> Shift:
    """Return a shift that adds Gaussian noise, the same in all images of one size."""

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
"""The shifts that training scores, by name; x is a value on the 0–1 scale."""
