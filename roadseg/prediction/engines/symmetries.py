"""Test-time augmentation: the mean answer to the eight symmetries of a window, for engines that work on arrays."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def mean_over_symmetries(predict: Callable[[Array], Array], windows: Array) -> Array:
    """Return the mean of the predictions for all flips and quarter turns, each turned back.

    Parameters
    ----------
    predict
        From windows (n, bands, h, w) to probabilities (n, h, w).
    windows
        (n, bands, h, w) float32, h = w.
    """
    total = np.zeros((len(windows), *windows.shape[2:]), np.float32)
    for turns, mirrored in itertools.product(range(4), (False, True)):
        seen = windows[..., ::-1] if mirrored else windows
        answer = predict(np.ascontiguousarray(np.rot90(seen, turns, (-2, -1))))
        answer = np.rot90(answer, -turns, (-2, -1))
        total += answer[..., ::-1] if mirrored else answer
    total /= 8
    return total
