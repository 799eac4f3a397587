"""Connected components of a mask by runs, the unbroken stretches of pixels in its rows; and of any pairs of numbers.

A road mask of 1 Mpx has some ten thousand runs, so components (their size, their place, whether they touch the border)
cost far less by runs than by pixels, and nothing where there is no road. Labels are spread over links by NumPy alone,
as fast as by SciPy, whose sparse matrices take a fifth of a second to load.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Runs:
    """Runs of a mask, row by row.

    Parameters
    ----------
    start, stop
        (runs,) int64: ``row * stride + column`` of the first pixel, and of the one after the last.
    height, width
        Size of the mask.
    """

    # Pixels are numbered as if each row had one to eight more columns, always empty: so no run continues in the next
    # row, and each row begins with a byte of a mask with 8 pixels per byte:
    #
    #     1 1 0 . . . . .      0  1  2  (3) …      runs [0, 2)
    #     0 1 1 . . . . .      8  9 10 (11) …           [9, 11)
    #     1 1 1 . . . . .     16 17 18 (19) …           [16, 19)

    start: Ints
    stop: Ints
    height: int
    width: int

    @property
    def stride(self) -> int:
        """Number of columns of a row with the empty ones behind it."""
        return (self.width // 8 + 1) * 8

    @property
    def row(self) -> Ints:
        """The row of each run."""
        return self.start // self.stride

    @property
    def col(self) -> Ints:
        """The first column of each run."""
        return self.start % self.stride

    @property
    def first(self) -> Ints:
        """The flat index in the mask of the first pixel of each run."""
        first: Ints = self.start - self.row * (self.stride - self.width)
        return first

    @property
    def length(self) -> Ints:
        """Number of pixels in each run."""
        return self.stop - self.start

    def where(self, chosen: Bools) -> "Runs":
        """Return the chosen runs; (runs,) bool."""
        return Runs(self.start[chosen], self.stop[chosen], self.height, self.width)

    def complement(self) -> "Runs":
        """Return the runs of all other pixels."""
        rows = np.arange(self.height) * self.stride
        start = np.sort(np.concatenate([rows, self.stop]))
        stop = np.sort(np.concatenate([self.start, rows + self.width]))
        some = stop > start
        return Runs(start[some], stop[some], self.height, self.width)

    def containing(self, runs: "Runs") -> Ints:
        """Return the index of the run that contains each of some smaller ones; all must be contained."""
        index: Ints = np.searchsorted(self.start, runs.start, side="right") - 1
        return index

    def touch_border(self) -> Bools:
        """Return (runs,) whether each run has a pixel of the mask's first or last row or column."""
        row, col = self.row, self.col
        touch: Bools = (row == 0) | (row == self.height - 1) | (col == 0)
        touch |= col + self.length == self.width
        return touch

    def paint(self, mask: Bytes, value: int) -> None:
        """Set the pixels of all runs in a mask of the same size."""
        mask.reshape(-1)[ranges(self.first, self.length)] = value


def find_runs(bits: Bytes, width: int) -> Runs:
    """Return the runs of the pixels that are 1 in a mask with 8 pixels per byte, (height, ceil(width / 8)) uint8."""
    height, missing = len(bits), width // 8 + 1 - bits.shape[1]
    flat = (np.pad(bits, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(bits)).reshape(-1)
    before = flat >> np.uint8(1)  # each pixel finds the one before it at its own bit
    before[1:] |= flat[:-1] << np.uint8(7)
    changes = set_bits(flat ^ before)
    return Runs(changes[::2], changes[1::2], height, width)


def set_bits(packed: Bytes) -> Ints:
    """Return the indices of the bits that are 1, row by row; any shape, uint8, the highest bit to the left."""
    flat = packed.reshape(-1)
    byte = np.flatnonzero(flat != 0)
    bit = np.flatnonzero(np.unpackbits(flat[byte]).view(bool))
    indices: Ints = byte[bit >> 3] * 8 + (bit & 7)
    return indices


def label_runs(runs: Runs, *, diagonal: bool) -> tuple[int, Int32s]:
    """Return the number of components, and (runs,) the component of each run.

    Parameters
    ----------
    runs
        All runs of a mask.
    diagonal
        Whether pixels that share only a corner are neighbours.
    """
    # A run's neighbours in the next row lie side by side among the sorted runs: from the first that ends behind its
    # start to the last that begins before its stop.
    below, reach = runs.stride, int(diagonal)
    first = np.searchsorted(runs.stop, runs.start + (below - reach), side="right")
    last = np.searchsorted(runs.start, runs.stop + (below + reach), side="left")
    size = len(runs.start)
    return _components(size, np.repeat(np.arange(size), last - first), ranges(first, last - first))


def label_pairs(size: int, pairs: Ints) -> tuple[int, Ints]:
    """Return the number of components of the numbers below ``size``, and (size,) the component of each.

    Parameters
    ----------
    size
        How many numbers there are.
    pairs
        (pairs, 2) int64: numbers that belong together; repetitions are allowed.
    """
    count, labels = _components(size, pairs[:, 0], pairs[:, 1])
    return count, labels.astype(np.int64)


def _components(size: int, one: NDArray[Any], other: NDArray[Any]) -> tuple[int, Int32s]:
    """Return the number of components, and the component of each number, in the order of their smallest numbers."""
    # Every number refers to a smaller one of its component, or to itself. In each round the roots that are linked refer
    # to the smallest one among them, then every number to its root; what remains are links between roots.
    one, other = one.astype(np.int32), other.astype(np.int32)
    root = np.arange(size, dtype=np.int32)
    while len(one):
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(root, up := root[root]):
            root = up
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    is_root = root == np.arange(size, dtype=np.int32)
    number = np.cumsum(is_root, dtype=np.int32) - np.int32(1)
    return int(np.count_nonzero(is_root)), number[root]
