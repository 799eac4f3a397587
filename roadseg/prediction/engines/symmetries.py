"""Test-time augmentation: the mean answer to the eight symmetries of a window, for engines that work on arrays."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixel = TypeVar("Pixel", bound=np.generic)

Orientation = tuple[int, bool]
"""Quarter turns, and whether windows are mirrored before."""

SYMMETRIES: list[Orientation] = list(itertools.product(range(4), (False, True)))


def mean_over_symmetries(
    answers_to: Callable[[Iterable[Array]], Iterator[Array]], batches: Iterable[Array]
) -> Iterator[Array]:
    """Yield the mean of the answers to all flips and quarter turns of each batch, each turned back.

    Parameters
    ----------
    answers_to
        From batches of windows (n, bands, h, w) to their probabilities (n, h, w), in order.
    batches
        (n, bands, h, w) float32, h = w.
    """
    answers = answers_to(seen(windows, orientation) for windows in batches for orientation in SYMMETRIES)
    while group := list(itertools.islice(answers, len(SYMMETRIES))):
        yield _mean(group)


def seen(windows: NDArray[Pixel], orientation: Orientation) -> NDArray[Pixel]:
    """Return windows (n, bands, h, w), h = w, as they are seen in an orientation."""
    turns, mirrored = orientation
    return np.ascontiguousarray(np.rot90(windows[..., ::-1] if mirrored else windows, turns, (-2, -1)))


def back(answers: Array, orientation: Orientation) -> Array:
    """Return answers (n, h, w) to windows that were ``seen`` in an orientation, turned back."""
    turns, mirrored = orientation
    upright = np.rot90(answers, -turns, (-2, -1))
    return upright[..., ::-1] if mirrored else upright


def _mean(answers: Iterable[Array]) -> Array:
    """Return the mean of the answers (n, h, w) in all orientations."""
    total: Array = np.zeros((), np.float32)
    for answer, orientation in zip(answers, SYMMETRIES, strict=True):
        total = total + back(answer, orientation)
    return total / np.float32(len(SYMMETRIES))
