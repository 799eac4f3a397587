"""Resampling that does not depend on the window it is done through.

Each output pixel is the weighted mean of the valid input pixels under a triangle. The triangle's base is twice the
larger of both pixels, which means bilinear when enlarging and antialiased when shrinking. Weights depend on the
pixel's place on the whole axis and are added in one fixed order, so neighbouring reads agree bit for bit.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Taps:
    """The input pixels of each output pixel along one axis, and their weights.

    Parameters
    ----------
    start, stop
        Range of the input pixels.
    index
        (n, taps) int: input pixels relative to ``start``.
    weight
        (n, taps) float32; rows sum to 1.
    """

    start: int
    stop: int
    index: NDArray[np.intp]
    weight: Array


#   shrinking, ratio 2                 enlarging, ratio 0.5
#              ╱╲                               ╱╲
#           ╱      ╲                         ╱      ╲
#        ╱            ╲                   ╱            ╲
#   ┌───┬───┬───┬───┬───┬───┐          ┌───────┬───────┬───────┐   input pixels; those under the triangle are the taps
#           └───────┘                          └───┘               output pixel, centred under the triangle


def taps(start: int, stop: int, *, size_in: int, size_out: int) -> Taps:
    """Return the taps of some output pixels along an axis.

    Parameters
    ----------
    start, stop
        First output pixel, and the one after the last.
    size_in, size_out
        Pixels of the whole axis before and after; both span the same ground.
    """
    ratio = size_in / size_out
    reach = max(1.0, ratio)  # half the triangle's base, in input pixels
    centre = (np.arange(start, stop) + 0.5) * ratio - 0.5  # pixel 0 has its centre at 0
    first = np.floor(centre - reach).astype(np.intp) + 1
    place = first[:, None] + np.arange(math.ceil(2 * reach))
    weight = np.maximum(0.0, 1 - np.abs(place - centre[:, None]) / reach)
    weight[(place < 0) | (place >= size_in)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    used = place[weight > 0]  # where pixels coincide, each has one without weight beside it, which may not be there
    low, high = int(used.min()), int(used.max())
    return Taps(low, high + 1, place.clip(low, high) - low, weight.astype(np.float32))


def resample(
    values: NDArray[np.generic], valid: NDArray[np.bool_], rows: Taps, cols: Taps
) -> tuple[Array, NDArray[np.bool_]]:
    """Resample valid pixels; a result is valid if at least half of its weight is on valid pixels.

    Parameters
    ----------
    values
        (bands, rows.stop - rows.start, cols.stop - cols.start) of any real type.
    valid
        The same height and width, bool.
    rows, cols
        Taps of both axes.

    Returns
    -------
    (bands, n_rows, n_cols) float32, 0 where not valid, and (n_rows, n_cols) bool.
    """
    share = _apply(valid.astype(np.float32)[None], rows, cols)[0]
    total = _apply(np.where(valid, values, 0).astype(np.float32), rows, cols)
    valid_out = share >= 0.5
    return np.divide(total, share, out=np.zeros_like(total), where=valid_out), valid_out


def _apply(values: Array, rows: Taps, cols: Taps) -> Array:
    """Sum up weighted columns, then rows: separable, and one tap at a time, which fixes the order of additions."""
    across = np.zeros((*values.shape[:2], len(cols.index)), dtype=np.float32)
    for index, weight in zip(cols.index.T, cols.weight.T, strict=True):
        across += values[:, :, index] * weight
    down = np.zeros((values.shape[0], len(rows.index), len(cols.index)), dtype=np.float32)
    for index, weight in zip(rows.index.T, rows.weight.T, strict=True):
        down += across[:, index] * weight[:, None]
    return down
