"""Test-time augmentation: the mean answer to the eight symmetries of a window, for engines that work on arrays."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


COUNT = 8

_SYMMETRIES = list(itertools.product(range(4), (False, True)))
"""Quarter turns, and whether windows are mirrored before."""


def symmetries(windows: Array) -> Iterator[Array]:
    """Yield all flips and quarter turns of windows (n, bands, h, w) float32, h = w."""
    for turns, mirrored in _SYMMETRIES:
        seen = windows[..., ::-1] if mirrored else windows
        yield np.ascontiguousarray(np.rot90(seen, turns, (-2, -1)))


def mean_answer(answers: Iterable[Array]) -> Array:
    """Return the mean of the predictions (n, h, w) for ``symmetries``, each turned back."""
    total: Array = np.zeros((), np.float32)
    for answer, (turns, mirrored) in zip(answers, _SYMMETRIES, strict=True):
        back = np.rot90(answer, -turns, (-2, -1))
        total = total + (back[..., ::-1] if mirrored else back)
    return total / np.float32(COUNT)
