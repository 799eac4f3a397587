"""Ragged arrays: rows of different lengths stored end to end in one flat array.

Rows ``[a b c] [] [d e]`` are stored as values, and either counts or offsets (as in Arrow and awkward-array)::

    values   a  b  c  d  e
    counts   3  0  2            the length of each row
    offsets  0  3  3  5         row i is values[offsets[i] : offsets[i + 1]]

So one vectorized pass works on all rows at once, where a loop over rows would take Python time for each.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def offsets(counts: Ints) -> Ints:
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
