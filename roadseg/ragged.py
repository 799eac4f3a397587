"""Ragged arrays: rows of different lengths, one after the other in a flat array."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def spread(first: Ints, count: Ints) -> Ints:
    """Return ``first[0], first[0] + 1, …``, ``count[0]`` of them, then the same for all others."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    spread_out: Ints = np.arange(total) + np.repeat(first - (ends - count), count)
    return spread_out
