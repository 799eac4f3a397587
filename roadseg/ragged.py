"""Ragged arrays: rows of different lengths stored end to end in one flat array.

Rows ``[a b c] [] [d e]`` are stored as values, and either counts or offsets (as in Arrow and awkward-array)::

    values   a  b  c  d  e
    counts   3  0  2            the length of each row
    offsets  0  3  3  5         row i is values[offsets[i] : offsets[i + 1]]

So one vectorized pass works on all rows at once, where a loop over rows would take Python time for each.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def offsets(counts: Ints | NDArray[np.bool_]) -> Ints:
    """Return (rows + 1,) int64: where each of the rows with these lengths begins, and where the last one stops."""
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def ranges(first: Ints | int, counts: Ints) -> Ints:
    """Return ``np.arange(first[i], first[i] + counts[i])`` for every i, end to end.

    They are the indices of the values of any rows in any order; with ``first = 0``, the place of each value in its row.

    Parameters
    ----------
    first
        (rows,) int64 beginning of each range, or one number for all.
    counts
        (rows,) int64 length of each range, 0 or more.

    Examples
    --------
    >>> ranges(np.array([7, 0, 4]), np.array([3, 0, 2]))
    array([7, 8, 9, 4, 5])
    """
    # The arange of all values is shifted row by row:  0 1 2 3 4  +  7 7 7 1 1  =  7 8 9 4 5
    stops = np.cumsum(counts)
    indices: Ints = np.repeat(first - (stops - counts), counts)
    indices += np.arange(len(indices))
    return indices


def first_of_runs(*keys: Ints) -> Ints:
    """Return the index of the first of every run of equal keys, in (n,) arrays sorted by them."""
    begins = np.ones(len(keys[0]), dtype=bool)
    begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(begins)


def reduce_ranges(
    operation: np.ufunc, values: NDArray[Any], first: Ints, counts: Ints, empty: float = 0.0
) -> NDArray[np.float64]:
    """Return (n,) a ufunc's reduction of each range ``values[first[i] : first[i] + counts[i]]``.

    Parameters
    ----------
    operation
        Such as ``np.add`` or ``np.minimum``.
    values
        Flat array.
    first, counts
        (n,) where ranges begin, in ascending order, and how long they are.
    empty
        Result for ranges of length 0.
    """
    reduced = np.full(len(first), empty, dtype=np.float64)
    some = np.flatnonzero(counts > 0)
    # reduceat takes beginnings only, so where a range stops another one begins, up to the next range. Every second
    # result is of such a gap and is dropped.
    bounds = np.stack([first[some], first[some] + counts[some]], axis=1).ravel()
    if len(some) and bounds[-1] == len(values):
        bounds = bounds[:-1]
    if len(some):
        reduced[some] = operation.reduceat(values, bounds)[::2]
    return reduced
