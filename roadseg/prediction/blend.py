"""Merging overlapping windows into one block.

Every pixel is the mean of the windows over it, weighted by the distance to each window's border, the
product of both axes. The mean is built as a running one, ``m += (p - m) · w / Σw``: first across a
row of windows, then down the rows, where the share ``w / Σw`` is a vector. So there is no array of weights,
no division at the end, and a constant comes out exactly as it went in. Only overlaps are touched
twice: about 2 ms per megapixel at 32 px overlap.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import PlannedBlock, Window

Array = NDArray[np.float32]


def blend(probabilities: Iterable[Array | None], planned: PlannedBlock) -> Iterator[tuple[Window, Array]]:
    """Merge the windows of a block, giving out finished rows as soon as nothing more touches them.

    Parameters
    ----------
    probabilities
        (window_px, window_px) float32, one per window of the block, row by row; None for a
        window that was left out because none of its pixels is wanted. Pixels that only such windows
        cover get 0.
    planned
        The block.

    Yields
    ------
    Consecutive parts of the core and their values, (height, width) float32; each array is valid
    until the next one is asked for.
    """
    size, core = planned.window_px, planned.core
    shares_down = _shares(planned.row_starts, size)
    shares_across = _shares(planned.col_starts, size)
    rows = _rows(iter(probabilities), planned, shares_across)
    cols = slice(core.col - planned.col_starts[0], core.col_stop - planned.col_starts[0])
    pending = np.empty((size, core.width), dtype=np.float32)
    top = planned.row_starts[0]
    for index, (start, strip) in enumerate(zip(planned.row_starts, rows, strict=True)):
        pending = _shifted(pending, start - top)
        top = start
        _mix(pending, strip[:, cols], shares_down[index][:, None])
        following = planned.row_starts[index + 1] if index + 1 < len(planned.row_starts) else start + size
        done = Window(start, core.col, following - start, core.width).intersection(core)
        if done.area:
            yield done, pending[done.row - start : done.row_stop - start]


def _rows(probabilities: Iterator[Array | None], planned: PlannedBlock, shares: Sequence[Array]) -> Iterator[Array]:
    """Merge each row of windows into a strip of (window_px, extent.width)."""
    size, first = planned.window_px, planned.col_starts[0]
    strip = np.empty((size, planned.extent.width), dtype=np.float32)
    for _ in planned.row_starts:
        strip[:] = 0
        for start, share in zip(planned.col_starts, shares, strict=True):
            probability = next(probabilities)
            if probability is not None:
                _mix(strip[:, start - first : start - first + size].T, probability.T, share[:, None])
        yield strip


def _mix(target: Array, new: Array, share: Array) -> None:
    """Move ``target`` towards ``new`` by ``share`` per row; rows seen for the first time become ``new``."""
    seen = int(np.argmax(share[:, 0] == 1)) if share[-1, 0] == 1 else len(share)
    target[seen:] = new[seen:]
    if seen:
        target[:seen] += (new[:seen] - target[:seen]) * share[:seen]


def _shifted(pending: Array, rows: int) -> Array:
    """Move the rows still needed to the top."""
    if rows:
        pending[: len(pending) - rows] = pending[rows:].copy()
    return pending


def _shares(starts: Sequence[int], size: int) -> list[Array]:
    """Return, for each window of an axis, its share of the mean of all windows up to it, per pixel."""
    weight = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
    shares = []
    for index, start in enumerate(starts):
        total = np.zeros(size, dtype=np.float32)
        for other in starts[: index + 1]:
            if other + size > start:
                total[: other + size - start] += weight[start - other :]
        shares.append(weight / total)
    return shares
