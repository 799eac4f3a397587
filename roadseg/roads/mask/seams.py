"""Components of a whole raster from those of its blocks, joined over the seams between blocks.

A component that touches its block's border is open: it may continue in the next block. The others are complete, are
dealt with inside the block and never appear here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges
from roadseg.roads.mask.components import Runs, label_pairs
from roadseg.windows import Window

Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class OpenComponents:
    """Components of a block that touch its border, numbered from 1.

    Parameters
    ----------
    top, bottom, left, right
        (width,) or (height,) int64: the component of each pixel of the block's outermost rows and columns, or 0.
    area
        (components,) int64 pixels in this block.
    marked
        (components,) bool: whether any pixel has the property in question; a joined component has it if a part has it.
    seed
        (components, 2) int64 row, col in the block of one pixel of each.
    """

    # A block with two open components and the complete one x:
    #
    #     . 1 1 . .        top     0 1 1 0 0
    #     . 1 . . 2        bottom  0 0 0 2 2
    #     . . x . 2        left    0 0 0 0
    #     . . . 2 2        right   0 2 2 2

    top: Ints
    bottom: Ints
    left: Ints
    right: Ints
    area: Ints
    marked: Bools
    seed: Ints


def find_open(runs: Runs, labels: Int32s, area: Ints, marked: Bools) -> tuple[OpenComponents, Bools]:
    """Return the open components of a block, and (components,) which of all its components they are.

    Parameters
    ----------
    runs, labels
        Runs of the block and the component of each, see ``label_runs``.
    area, marked
        (components,) of all components in the block.
    """
    is_open = np.zeros(len(area), bool)
    is_open[labels[runs.touch_border()]] = True
    number = (np.cumsum(is_open) * is_open)[labels]
    first = np.zeros(len(area), np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]  # the last of repeated assignments stays: the first run
    first = first[is_open]
    row, col = runs.row, runs.col
    sides = []
    for line in (row == 0, row == runs.height - 1):
        side = np.zeros(runs.width, np.int64)
        side[ranges(col[line], runs.length[line])] = np.repeat(number[line], runs.length[line])
        sides.append(side)
    for line in (col == 0, col + runs.length == runs.width):
        side = np.zeros(runs.height, np.int64)
        side[row[line]] = number[line]
        sides.append(side)
    seed = np.column_stack([row[first], col[first]])
    return OpenComponents(sides[0], sides[1], sides[2], sides[3], area[is_open], marked[is_open], seed), is_open


def whole_block(block: Window, *, marked: bool) -> OpenComponents:
    """Return the open component of a block that is one single component."""
    sides = [np.ones(size, np.int64) for size in (block.width, block.width, block.height, block.height)]
    area, seed = np.array([block.area]), np.zeros((1, 2), np.int64)
    return OpenComponents(sides[0], sides[1], sides[2], sides[3], area, np.array([marked]), seed)


class Seams:
    """Joins the open components of blocks, which must be added row by row from left to right.

    Parameters
    ----------
    width
        Width of the raster.
    diagonal
        Whether pixels that share only a corner are neighbours.
    """

    # Components of all blocks are numbered on, from 1. Of the raster only three lines and a column are kept:
    #
    #     above    last row of the blocks above, complete
    #     tops     first row of the blocks of this row ──┐ joined when the row of blocks is complete, so that
    #     bottoms  last row of the blocks of this row    │ corners are joined over four blocks as well
    #     left     last column of the block before   ────┘ joined at once

    def __init__(self, width: int, *, diagonal: bool) -> None:
        self.diagonal = diagonal
        self._above, self._tops, self._bottoms = (np.zeros(width, np.int64) for _ in range(3))
        self._left: Ints = np.zeros(0, np.int64)
        self._row = 0
        self._pairs: list[Ints] = []
        self._area: list[Ints] = []
        self._marked: list[Bools] = []
        self._count = 0

    def add(self, block: Window, found: OpenComponents) -> None:
        """Add the open components of the next block."""
        if block.row != self._row:
            self._finish_row()
            self._row = block.row
        sides = [
            np.where(side > 0, side + self._count, 0) for side in (found.top, found.bottom, found.left, found.right)
        ]
        self._tops[block.col : block.col_stop] = sides[0]
        self._bottoms[block.col : block.col_stop] = sides[1]
        if block.col > 0:
            self._join(self._left, sides[2])
        self._left = sides[3]
        self._area.append(found.area)
        self._marked.append(found.marked)
        self._count += len(found.area)

    def totals(self) -> tuple[list[Ints], list[Bools]]:
        """Return, for each block, the area and mark of the joined component that each of its open ones is part of."""
        self._finish_row()
        if not self._area:
            return [], []
        blocks = np.cumsum([len(area) for area in self._area])[:-1]
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]) - 1
        count, labels = label_pairs(self._count, pairs)
        area = np.bincount(labels, np.concatenate(self._area), count).astype(np.int64)
        marked = np.bincount(labels, np.concatenate(self._marked), count) > 0
        return np.split(area[labels], blocks), np.split(marked[labels], blocks)

    def _finish_row(self) -> None:
        """Join a row of blocks with the one above it."""
        if self._row > 0:
            self._join(self._above, self._tops)
        self._above, self._bottoms = self._bottoms, np.zeros_like(self._bottoms)

    def _join(self, here: Ints, there: Ints) -> None:
        """Pair the components that touch along a seam, given the pixels on both sides of it."""
        sides = [(here, there)]
        if self.diagonal:
            sides += [(here[1:], there[:-1]), (here[:-1], there[1:])]
        for one, other in sides:
            pairs = np.column_stack([one, other])[(one > 0) & (other > 0)]
            new = np.ones(len(pairs), bool)
            new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
            self._pairs.append(pairs[new])
