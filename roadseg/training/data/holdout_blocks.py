"""Ground held out for validation: whole blocks, chosen by a seed, with a margin around them.

Blocks lie on a grid that is fixed to the ground, so tiles that overlap or adjoin agree on them. Neighbouring pixels are
nearly copies of each other, so a block is several hundred metres wide. For training its pixels are nodata, and labels
end a crop's width before it, so that no crop with a labelled pixel reaches into it:

    │ labelled │ void margin │ held out │ void margin │ labelled │
               ◀── a crop ──▶            ◀── a crop ──▶
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import Window

BlockKey = tuple[str, int, int]
"""A block: name of its grid, and its column and row there."""

Bools = NDArray[np.bool_]
Affine6 = tuple[float, float, float, float, float, float]


def choose_blocks(amounts: Mapping[BlockKey, float], fraction: float, seed: int) -> frozenset[BlockKey]:
    """Choose blocks at random until they hold a fraction of everything, at least one.

    Parameters
    ----------
    amounts
        Number of labelled pixels in each block.
    fraction
        Fraction to choose, above 0 and below 1.
    seed
        Seed of the choice.
    """

    def random_key(block: BlockKey) -> bytes:
        return hashlib.sha256(f"{seed} {block}".encode()).digest()

    wanted, taken = fraction * sum(amounts.values()), 0.0
    found: list[BlockKey] = []
    for block in sorted((block for block, amount in amounts.items() if amount), key=random_key):
        if found and taken + amounts[block] / 2 > wanted:
            break
        found.append(block)
        taken += amounts[block]
    return frozenset(found)


@dataclass(frozen=True)
class DevBlocks:
    """The grid of blocks over a tile, and which of its blocks are held out.

    Parameters
    ----------
    grid_name
        Name of the grid; tiles with the same one share blocks.
    to_blocks
        (a, b, c, d, e, f): a pixel's corner (col, row) lies at (a·col + b·row + c, d·col + e·row + f), in blocks.
    blocks
        The blocks held out.
    margin_px
        Width of the margin around them in which labels are not used.
    """

    grid_name: str
    to_blocks: Affine6
    blocks: frozenset[BlockKey] = frozenset()
    margin_px: int = 0

    def count_labelled(self, labelled: Bools, window: Window) -> dict[BlockKey, int]:
        """Count the labelled pixels of a window per block."""
        x, y = (np.floor(place).astype(np.int64) for place in self._places(window))
        left, top, rows = int(x.min()), int(y.min()), int(np.ptp(y)) + 1
        # Blocks are numbered down the columns of the smallest rectangle of blocks around the window.
        counts = np.bincount(((x - left) * rows + y - top)[labelled])
        numbers = np.flatnonzero(counts).tolist()
        return {(self.grid_name, left + n // rows, top + n % rows): int(counts[n]) for n in numbers}

    def inside(self, window: Window) -> Bools:
        """Return which pixels are held out, (height, width) bool."""
        return self._near(window, 0.0)

    def with_margin(self, window: Window) -> Bools:
        """Return which pixels are held out or in the margin, (height, width) bool."""
        a, b, _, d, e, _ = self.to_blocks
        return self._near(window, self.margin_px * max(abs(a) + abs(b), abs(d) + abs(e)))

    def windows(self, shape: tuple[int, int]) -> list[Window]:
        """Return the windows of a tile that its held-out blocks lie in, one each."""
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
        """Return x and y of the pixels' centres, in blocks, (height, width) each."""
        a, b, c, d, e, f = self.to_blocks
        col = np.arange(window.col, window.col_stop) + 0.5
        row = (np.arange(window.row, window.row_stop) + 0.5)[:, None]
        return a * col + (b * row + c), d * col + (e * row + f)

    def _window(self, i: int, j: int, margin: float) -> Window:
        """Return the window around a block with a margin, in blocks; of a rotated grid it holds other pixels too."""
        a, b, c, d, e, f = self.to_blocks
        turn = np.linalg.inv(np.array([[a, b], [d, e]]))
        corners = [(x - c, y - f) for x in (i - margin, i + 1 + margin) for y in (j - margin, j + 1 + margin)]
        cols, rows = turn @ np.array(corners).T
        row, col = math.floor(rows.min()), math.floor(cols.min())
        return Window(row, col, math.ceil(rows.max()) - row, math.ceil(cols.max()) - col)
