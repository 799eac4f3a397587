"""Windows, blocks, and the plan that cuts a grid into both.

Windows of one size lie on a lattice with one stride, anchored at the grid's upper left corner. Which windows cover
a pixel therefore never depends on how the grid is cut into blocks. A block's core is a whole number of strides; all
windows that touch the core are computed with it, so blocks need nothing from each other and can be done in any order,
anywhere. The price: windows across a core's upper and left border are computed twice, about 6 % of all at 32 strides
a side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row, first column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def row_stop(self) -> int:
        """The first row below."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """The first column to the right."""
        return self.col + self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def slices(self, origin: "Window | None" = None) -> tuple[slice, slice]:
        """Return the row and column slices of this window in an array whose first pixel is that of ``origin``."""
        row, col = (origin.row, origin.col) if origin else (0, 0)
        return (
            slice(self.row - row, self.row_stop - row),
            slice(self.col - col, self.col_stop - col),
        )

    def intersection(self, other: "Window") -> "Window":
        """Return the common part; its height or width is 0 where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = max(0, min(self.row_stop, other.row_stop) - row)
        width = max(0, min(self.col_stop, other.col_stop) - col)
        return Window(row, col, height, width)

    def union(self, other: "Window") -> "Window":
        """Return the smallest window that covers both."""
        row, col = min(self.row, other.row), min(self.col, other.col)
        return Window(row, col, max(self.row_stop, other.row_stop) - row, max(self.col_stop, other.col_stop) - col)

    def grown(self, margin: int) -> "Window":
        """Return the window extended by ``margin`` pixels on each side."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)


@dataclass(frozen=True)
class Block:
    """Part of a raster: its place, its values, and which of its pixels are valid.

    Parameters
    ----------
    window
        Place in the grid.
    values
        (bands, height, width), or (height, width) for probabilities.
    valid
        (height, width) bool; False where the raster has nodata.
    """

    window: Window
    values: NDArray[Any]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class PlannedBlock:
    """The place of a block: its core and the windows that touch the core.

    Parameters
    ----------
    row, col
        Place in the lattice of blocks.
    core
        The pixels that this block computes; cores do not overlap.
    row_starts, col_starts
        First rows and columns of its windows; each pair of them is a window.
    window_px
        Side of a window.
    """

    row: int
    col: int
    core: Window
    row_starts: tuple[int, ...]
    col_starts: tuple[int, ...]
    window_px: int

    @property
    def extent(self) -> Window:
        """The bounding rectangle of its windows; may reach beyond the grid's lower and right border."""
        row, col = self.row_starts[0], self.col_starts[0]
        return Window(
            row,
            col,
            self.row_starts[-1] + self.window_px - row,
            self.col_starts[-1] + self.window_px - col,
        )


# grid     0          192        384        576        768    columns
# windows  [─── 224 ───]
#                     [─── 224 ───]
#                                [─── 224 ───]
#                                           [─── 224 ───]
# core                           [════ 2 strides ═════]      the pixels a block answers for
# extent              [── halo ──┴──────────────────────]    all windows that touch the core


@dataclass(frozen=True)
class Plan:
    """How a grid is cut into blocks and windows.

    Parameters
    ----------
    height, width
        Size of the grid in pixels.
    area
        The part to cut; the lattice stays anchored at the grid's corner.
    window_px, stride_px
        Side of a window, and distance from one window to the next.
    block_px
        Largest side of a block's core; the core gets the largest whole number of strides that fits,
        and at least one.

    Raises
    ------
    ValueError
        If a size is not positive or the stride is larger than the window.
    """

    height: int
    width: int
    area: Window
    window_px: int = 224
    stride_px: int = 192
    block_px: int = 6144

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.stride_px, self.block_px) < 1:
            raise ValueError("sizes must be positive")
        if self.stride_px > self.window_px:
            raise ValueError(f"a stride of {self.stride_px} px leaves gaps between windows of {self.window_px} px")

    @property
    def core_px(self) -> int:
        """Side of a block's core: a whole number of strides."""
        return max(1, self.block_px // self.stride_px) * self.stride_px

    @property
    def window_count(self) -> int:
        """Number of windows of the lattice that touch the area, however it is cut into blocks."""
        rows = self._starts(self.area.row, self.area.row_stop, self.height)
        return len(rows) * len(self._starts(self.area.col, self.area.col_stop, self.width))

    def blocks(self) -> Iterator[PlannedBlock]:
        """Yield the blocks that touch the area, row by row; their cores tile it exactly."""
        step = self.core_px
        for row in range(self.area.row // step, -(-self.area.row_stop // step)):
            for col in range(self.area.col // step, -(-self.area.col_stop // step)):
                core = Window(row * step, col * step, step, step).intersection(self.area)
                yield PlannedBlock(
                    row,
                    col,
                    core,
                    self._starts(core.row, core.row_stop, self.height),
                    self._starts(core.col, core.col_stop, self.width),
                    self.window_px,
                )

    def _starts(self, start: int, stop: int, size: int) -> tuple[int, ...]:
        """Return where the windows begin that touch ``start`` to ``stop`` on an axis of ``size`` px.

        Window ``i`` covers ``i * stride_px`` up to ``i * stride_px + window_px``. The last one of the axis is the first
        that reaches its end. ``-(-a // b)`` is ``a / b`` rounded up.
        """
        last = max(0, -(-(size - self.window_px) // self.stride_px))
        lowest = max(0, -(-(start - self.window_px + 1) // self.stride_px))
        highest = min(last, (stop - 1) // self.stride_px)
        return tuple(i * self.stride_px for i in range(lowest, highest + 1))


SCAN_PX = 2048
"""Side of the squares in which a raster is read once from end to end."""


def square_windows(area: Window, side: int = SCAN_PX) -> Iterator[Window]:
    """Yield the squares that tile an area, row by row; those on its lower and right border are cut off there."""
    for row in range(area.row, area.row_stop, side):
        for col in range(area.col, area.col_stop, side):
            yield Window(row, col, side, side).intersection(area)


def all_valid(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return that all pixels are valid, (height, width) bool, read-only and without memory for each of them."""
    return np.broadcast_to(np.True_, shape)


def is_all_valid(valid: NDArray[np.bool_]) -> bool:
    """Return whether all pixels (height, width) are valid, at once for ``all_valid``."""
    return not any(valid.strides) or bool(valid.all())


def reflected(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Return the indices that extend an axis beyond its ends by reflection, as ``np.pad(mode="reflect")`` does.

    An axis of 4 from -3 to 8 has the indices 3 2 1 0 1 2 3 2 1 0 1: a wave with period 6.

    Parameters
    ----------
    start, stop
        Range of the result; may reach any distance beyond either end.
    size
        Length of the axis; with 1 its only pixel is repeated.

    Returns
    -------
    (stop - start,) indices in [0, size).
    """
    if size == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (size - 1)
    index = np.arange(start, stop, dtype=np.intp) % period
    return np.where(index < size, index, period - index)
