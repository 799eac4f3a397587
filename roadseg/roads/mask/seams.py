"""Components of a whole raster from those of its blocks, by a union over the seams.

A block tells which of its components touch its rim and where; only these can go on elsewhere. The rest was
settled inside the block and is never heard of here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from roadseg.ragged import ranges
from roadseg.roads.mask.components import Runs
from roadseg.windows import Window

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rim:
    """Components of a block that touch its rim, numbered from 1.

    Parameters
    ----------
    top, bottom, left, right
        Which component each pixel of the outermost rows (width,) and columns (height,) belongs to, or 0.
    area
        (components,) int64 pixels in this block.
    marked
        (components,) bool: whether any of its pixels has what is looked for.
    seed
        (components, 2) int64 row, col in the block of one pixel of each.
    """

    top: Ints
    bottom: Ints
    left: Ints
    right: Ints
    area: Ints
    marked: Bools
    seed: Ints


def rim_of(runs: Runs, labels: NDArray[np.int32], area: Ints, marked: Bools) -> tuple[Rim, Bools]:
    """Return the components that touch the rim, and (components,) bool which ones they are.

    Parameters
    ----------
    runs, labels
        Of the block, see `label_runs`.
    area, marked
        (components,) of each component in the block.
    """
    is_open = np.zeros(len(area), bool)
    is_open[labels[runs.touch_rim()]] = True
    number = np.cumsum(is_open) * is_open
    first = np.zeros(len(area), np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]
    first = first[is_open]
    row, col = runs.row, runs.col
    ids = number[labels]
    sides = []
    for line in (row == 0, row == runs.height - 1):
        side = np.zeros(runs.width, np.int64)
        side[ranges(col[line], runs.length[line])] = np.repeat(ids[line], runs.length[line])
        sides.append(side)
    for line in (col == 0, col + runs.length == runs.width):
        side = np.zeros(runs.height, np.int64)
        side[row[line]] = ids[line]
        sides.append(side)
    seed = np.column_stack([row[first], col[first]])
    return Rim(sides[0], sides[1], sides[2], sides[3], area[is_open], marked[is_open], seed), is_open


def plain_rim(block: Window, *, marked: bool) -> Rim:
    """Return the rim of a block that is one single component."""
    sides = [np.ones(size, np.int64) for size in (block.width, block.width, block.height, block.height)]
    area, seed = np.array([block.area]), np.zeros((1, 2), np.int64)
    return Rim(sides[0], sides[1], sides[2], sides[3], area, np.array([marked]), seed)


class Seams:
    """Joins the components of blocks, which come row by row from left to right.

    Parameters
    ----------
    width
        Of the raster.
    diagonal
        Whether pixels that share only a corner are neighbours.
    """

    def __init__(self, width: int, *, diagonal: bool) -> None:
        self.diagonal = diagonal
        self._above, self._tops, self._bottoms = (np.zeros(width, np.int64) for _ in range(3))
        self._left: Ints = np.zeros(0, np.int64)
        self._row = 0
        self._pairs: list[Ints] = []
        self._area: list[Ints] = []
        self._marked: list[Bools] = []
        self._count = 0

    def add(self, block: Window, rim: Rim) -> None:
        """Take the rim of the next block."""
        if block.row != self._row:
            self._close_row()
            self._row = block.row
        sides = [np.where(side > 0, side + self._count, 0) for side in (rim.top, rim.bottom, rim.left, rim.right)]
        self._tops[block.col : block.col_stop] = sides[0]
        self._bottoms[block.col : block.col_stop] = sides[1]
        if block.col > 0:
            self._join(self._left, sides[2])
        self._left = sides[3]
        self._area.append(rim.area)
        self._marked.append(rim.marked)
        self._count += len(rim.area)

    def settle(self) -> tuple[list[Ints], list[Bools]]:
        """Return, for each block, of each of its components the area and the mark of the whole it is part of."""
        self._close_row()
        if not self._area:
            return [], []
        sizes = np.cumsum([len(area) for area in self._area])[:-1]
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]) - 1
        graph = coo_array((np.ones(len(pairs), np.int8), pairs.T), shape=(self._count, self._count))
        count, labels = connected_components(graph, directed=False) if self._count else (0, np.zeros(0, np.int32))
        area = np.bincount(labels, np.concatenate(self._area), count).astype(np.int64)
        marked = np.bincount(labels, np.concatenate(self._marked), count) > 0
        return np.split(area[labels], sizes), np.split(marked[labels], sizes)

    def _close_row(self) -> None:
        """Join a row of blocks with the one above it."""
        if self._row > 0:
            self._join(self._above, self._tops)
        self._above, self._bottoms = self._bottoms, np.zeros_like(self._bottoms)

    def _join(self, here: Ints, there: Ints) -> None:
        """Note which components lie side by side along a seam."""
        sides = [(here, there)]
        if self.diagonal:
            sides += [(here[1:], there[:-1]), (here[:-1], there[1:])]
        for one, other in sides:
            pairs = np.column_stack([one, other])[(one > 0) & (other > 0)]
            new = np.ones(len(pairs), bool)
            new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
            self._pairs.append(pairs[new])


def seeds(rims: Sequence[Rim], chosen: Sequence[Bools]) -> list[Ints]:
    """Return the seeds of chosen components, by block."""
    return [rim.seed[which] for rim, which in zip(rims, chosen, strict=True)]
