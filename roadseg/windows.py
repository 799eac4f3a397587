"""Windows, blocks, and the plan that cuts a grid into both.

Windows of one size lie on a lattice with one stride, anchored at the grid's upper-left corner.
Which windows cover a pixel therefore never depends on how the grid is cut into blocks. A block's
core is a whole number of strides; all windows that touch the core are computed with it, so blocks
need nothing from each other and can be done in any order, anywhere. The price is that the windows
on a core's upper and left border are computed twice: about 6 % at 32 strides a side.
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
        """Return the slices that cut this window out of an array that starts at ``origin``."""
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

    def grown(self, margin: int) -> "Window":
        """Return the window with ``margin`` pixels more on each side."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)


@dataclass(frozen=True)
class Block:
    """A piece of a raster: where it lies, what it holds, and which pixels are known.

    Parameters
    ----------
    window
        Place in the grid.
    values
        (bands, height, width), or (height, width) for probabilities.
    valid
        (height, width) bool.
    """

    window: Window
    values: NDArray[Any]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class PlannedBlock:
    """A block still to be done: its core and the windows that touch the core.

    Parameters
    ----------
    row, col
        Place in the lattice of blocks.
    core
        The pixels this block answers for.
    row_starts, col_starts
        First rows and columns of its windows; the windows are all their pairs.
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
        """All pixels its windows see; may reach beyond the grid's lower and right border."""
        row, col = self.row_starts[0], self.col_starts[0]
        return Window(
            row,
            col,
            self.row_starts[-1] + self.window_px - row,
            self.col_starts[-1] + self.window_px - col,
        )


@dataclass(frozen=True)
class Plan:
    """How a grid is cut.

    Parameters
    ----------
    height, width
        Of the grid in pixels.
    area
        The part wanted; the lattice stays anchored at the grid's corner whatever it is.
    window_px, stride_px
        Side of a window, and step from one to the next.
    block_px
        Wanted side of a block's core; the largest whole number of strides below it is taken,
        and one stride at least.

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
        """Return where the windows begin that touch ``start`` to ``stop`` on an axis of ``size`` px."""
        last = max(0, -(-(size - self.window_px) // self.stride_px))
        lowest = max(0, -(-(start - self.window_px + 1) // self.stride_px))
        highest = min(last, (stop - 1) // self.stride_px)
        return tuple(i * self.stride_px for i in range(lowest, highest + 1))


def square_windows(area: Window, side: int) -> Iterator[Window]:
    """Yield the squares that tile an area, row by row; those on its lower and right border are cut off there."""
    for row in range(area.row, area.row_stop, side):
        for col in range(area.col, area.col_stop, side):
            yield Window(row, col, side, side).intersection(area)


def reflected(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Return the indices that continue an axis beyond its ends by mirroring at the end pixels.

    Parameters
    ----------
    start, stop
        Range wanted; may reach any distance beyond either end.
    size
        Length of the axis; 1 repeats its only pixel.

    Returns
    -------
    (stop - start,) indices in [0, size).
    """
    if size == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (size - 1)
    index = np.arange(start, stop, dtype=np.intp) % period
    return np.where(index < size, index, period - index)
