"""Test-time augmentation: the mean answer to the eight symmetries of a window, for engines that work on arrays."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


SYMMETRIES = list(itertools.product(range(4), (False, True)))
"""Quarter turns, and whether windows are mirrored before."""


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
    answers = answers_to(seen for windows in batches for seen in _seen(windows))
    while group := list(itertools.islice(answers, len(SYMMETRIES))):
        yield _mean(group)


def _seen(windows: Array) -> Iterator[Array]:
    """Yield all flips and quarter turns of windows (n, bands, h, w) float32, h = w."""
    for turns, mirrored in SYMMETRIES:
        seen = windows[..., ::-1] if mirrored else windows
        yield np.ascontiguousarray(np.rot90(seen, turns, (-2, -1)))


def _mean(answers: Iterable[Array]) -> Array:
    """Return the mean of the predictions (n, h, w) for ``_seen``, each turned back."""
    total: Array = np.zeros((), np.float32)
    for answer, (turns, mirrored) in zip(answers, SYMMETRIES, strict=True):
        back = np.rot90(answer, -turns, (-2, -1))
        total = total + (back[..., ::-1] if mirrored else back)
    return total / np.float32(len(SYMMETRIES))
