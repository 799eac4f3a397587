"""Blending overlapping windows into one block.

Every pixel is the mean of the windows over it, weighted by the distance to each window's border, the
product of both axes. The mean is a running one, ``m += (p - m) · w / Σw``: first across a row of windows,
then down the rows, where the share ``w / Σw`` is a vector. So there is no array of weights, no division at the
end, and a constant comes out exactly as it went in. Only overlaps are touched twice: about 2 ms per megapixel
at 32 px overlap.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import PlannedBlock, Window

Array = NDArray[np.float32]


def blend(probabilities: Iterable[Array | None], planned: PlannedBlock) -> Iterator[tuple[Window, Array]]:
    """Blend the windows of a block, yielding rows as soon as no other window covers them.

    Parameters
    ----------
    probabilities
        (window_px, window_px) float32, one per window of the block, row by row; None for a window that was
        skipped. Pixels that only skipped windows cover get 0.
    planned
        The block.

    Yields
    ------
    Consecutive parts of the core and their values, (height, width) float32; each array is overwritten
    when the next one is computed.
    """
    size, core = planned.window_px, planned.core
    shares_down = shares(planned.row_starts, size)
    shares_across = shares(planned.col_starts, size)
    strips = _strips(iter(probabilities), planned, shares_across)
    cols = slice(core.col - planned.col_starts[0], core.col_stop - planned.col_starts[0])
    pending = np.empty((size, core.width), dtype=np.float32)  # rows that the next strip overlaps
    top = planned.row_starts[0]
    for index, (start, strip) in enumerate(zip(planned.row_starts, strips, strict=True)):
        pending = _shifted(pending, start - top)
        top = start
        _update_mean(pending, strip[:, cols], shares_down[index][:, None])
        following = planned.row_starts[index + 1] if index + 1 < len(planned.row_starts) else start + size
        done = Window(start, core.col, following - start, core.width).intersection(core)
        if done.area:
            yield done, pending[done.row - start : done.row_stop - start]


def _strips(probabilities: Iterator[Array | None], planned: PlannedBlock, shares: Sequence[Array]) -> Iterator[Array]:
    """Yield each row of windows blended into a strip, (window_px, extent.width)."""
    size, first = planned.window_px, planned.col_starts[0]
    strip = np.empty((size, planned.extent.width), dtype=np.float32)
    for _ in planned.row_starts:
        strip[:] = 0
        for start, share in zip(planned.col_starts, shares, strict=True):
            probability = next(probabilities)
            if probability is not None:
                _update_mean(strip[:, start - first : start - first + size].T, probability.T, share[:, None])
        yield strip


# One axis, windows of 8 px, stride 6. Window 0 comes first and sets the mean; window 1 then moves it.
#
#   weight  1 2 3 4 4 3 2 1                  window 0
#                       1 2 3 4 4 3 2 1      window 1
#   share   1 1 1 1 1 1 1 1                  window 0
#                       ⅓ ⅔ 1 1 1 1 1 1      window 1: its weight / the sum of weights so far


def _update_mean(mean: Array, new: Array, share: Array) -> None:
    """Move the running mean towards new values by a share per row.

    A share of 1 marks rows that no window covered before. They are always the last ones and are copied, which
    is faster than the arithmetic and also replaces what the buffer held.
    """
    covered = int(np.argmax(share[:, 0] == 1)) if share[-1, 0] == 1 else len(share)
    mean[covered:] = new[covered:]
    if covered:
        mean[:covered] += (new[:covered] - mean[:covered]) * share[:covered]


def _shifted(pending: Array, rows: int) -> Array:
    """Move the rows below ``rows`` to the top."""
    if rows:
        pending[: len(pending) - rows] = pending[rows:].copy()
    return pending


def shares(starts: Sequence[int], size: int) -> list[Array]:
    """Return, for each window of an axis, its share in the mean of all windows up to it, per pixel.

    Parameters
    ----------
    starts
        First pixels of the windows.
    size
        Length of a window.
    """
    weight = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
    found = []
    for index, start in enumerate(starts):
        total = np.zeros(size, dtype=np.float32)
        for other in starts[: index + 1]:
            if other + size > start:
                total[: other + size - start] += weight[start - other :]
        found.append(weight / total)
    return found
