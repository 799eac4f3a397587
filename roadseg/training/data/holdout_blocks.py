"""Keeping ground for validation: whole blocks of it, chosen by a seed, with a margin that nobody sees.

Blocks lie on a lattice that is fixed to the ground, so tiles that overlap or adjoin agree on them.
Neighbouring pixels are nearly copies of each other, so a block is several hundred metres wide, and on the training
side the labels end a crop's width before it: no crop with a label that counts reaches into it, and its pixels are
unknown there.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import Window

BlockKey = tuple[str, int, int]
"""A block: the lattice it lies on, and its place there."""

Bools = NDArray[np.bool_]
Affine6 = tuple[float, float, float, float, float, float]


def choose_blocks(amounts: Mapping[BlockKey, float], fraction: float, seed: int) -> frozenset[BlockKey]:
    """Choose blocks until they hold a fraction of everything, one at least.

    Parameters
    ----------
    amounts
        How many labelled pixels each block holds.
    fraction
        Above 0 and below 1.
    seed
        Another one chooses others.
    """

    def lot(block: BlockKey) -> bytes:
        return hashlib.sha256(f"{seed} {block}".encode()).digest()

    wanted, taken = fraction * sum(amounts.values()), 0.0
    found: list[BlockKey] = []
    for block in sorted((block for block, amount in amounts.items() if amount), key=lot):
        if found and taken + amounts[block] / 2 > wanted:
            break
        found.append(block)
        taken += amounts[block]
    return frozenset(found)


@dataclass(frozen=True)
class DevBlocks:
    """Which pixels of a tile lie in validation blocks.

    Parameters
    ----------
    lattice
        Name of the lattice; tiles with the same one share blocks.
    to_lattice
        (a, b, c, d, e, f): a pixel's corner (col, row) lies at (a·col + b·row + c, d·col + e·row + f), in blocks.
    blocks
        Those kept for validation.
    margin_px
        How far around them labels are not used.
    """

    grid_name: str
    to_blocks: Affine6
    blocks: frozenset[BlockKey] = frozenset()
    margin_px: int = 0

    def count_labelled(self, labelled: Bools, window: Window) -> dict[BlockKey, int]:
        """Count the labelled pixels of a window per block."""
        x, y = (np.floor(place).astype(np.int64) for place in self._places(window))
        left, top, high = int(x.min()), int(y.min()), int(np.ptp(y)) + 1
        counts = np.bincount(((x - left) * high + y - top)[labelled])
        found = np.flatnonzero(counts).tolist()
        return {(self.grid_name, left + key // high, top + key % high): int(counts[key]) for key in found}

    def inside(self, window: Window) -> Bools:
        """Return which pixels lie in a block, (height, width) bool."""
        return self._near(window, 0.0)

    def with_margin(self, window: Window) -> Bools:
        """Return which pixels lie in a block or in the margin around it, (height, width) bool."""
        a, b, _, d, e, _ = self.to_blocks
        return self._near(window, self.margin_px * max(abs(a) + abs(b), abs(d) + abs(e)))

    def windows(self, shape: tuple[int, int]) -> list[Window]:
        """Return the parts of a tile that hold its blocks, one window each."""
        found = [self._window(i, j, 0.0).intersection(Window(0, 0, *shape)) for i, j in self._mine()]
        return sorted((w for w in found if w.area), key=lambda w: (w.row, w.col))

    def _mine(self) -> Iterator[tuple[int, int]]:
        return ((i, j) for name, i, j in self.blocks if name == self.grid_name)

    def _near(self, window: Window, margin: float) -> Bools:
        x, y = self._places(window)
        near = np.zeros((window.height, window.width), dtype=np.bool_)
        for i, j in self._mine():
            part = self._window(i, j, margin).intersection(window)
            if part.area:
                at = part.slices(window)
                across = (x[at] >= i - margin) & (x[at] < i + 1 + margin)
                near[at] |= across & (y[at] >= j - margin) & (y[at] < j + 1 + margin)
        return near

    def _places(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the pixels' centres lie on the lattice, (height, width) each."""
        a, b, c, d, e, f = self.to_blocks
        col = np.arange(window.col, window.col_stop) + 0.5
        row = (np.arange(window.row, window.row_stop) + 0.5)[:, None]
        return a * col + (b * row + c), d * col + (e * row + f)

    def _window(self, i: int, j: int, margin: float) -> Window:
        """Return the pixels around a block of the lattice with a margin in blocks."""
        a, b, c, d, e, f = self.to_blocks
        turn = np.linalg.inv(np.array([[a, b], [d, e]]))
        corners = [(x - c, y - f) for x in (i - margin, i + 1 + margin) for y in (j - margin, j + 1 + margin)]
        cols, rows = turn @ np.array(corners).T
        row, col = math.floor(rows.min()), math.floor(cols.min())
        return Window(row, col, math.ceil(rows.max()) - row, math.ceil(cols.max()) - col)
