"""Where crops may lie, and how likely each position is.

Each tile is read once, to count labelled and road pixels in cells of a few pixels. A crop may start in a cell if at
least half of it is sure to be labelled, at each pixel of the cell with the same probability; tiles get crops in
proportion to their labelled area. Drawing a position is then one search in a sorted table, whatever the data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.raster.labelled_scene import VOID
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK_PX = 2048
_LABELLED = 0.5


@dataclass(frozen=True)
class CellCounts:
    """What the cells of a tile hold.

    Parameters
    ----------
    shape
        Height and width of the tile in pixels.
    cell
        Side of a cell in pixels.
    known, road
        (rows, cols) int32 numbers of labelled pixels and of road pixels in each cell.
    moments
        (3, bands) float64 over the labelled pixels: count, sum and sum of squares of the grey levels.
    """

    shape: tuple[int, int]
    cell: int
    known: NDArray[np.int32]
    road: NDArray[np.int32]
    moments: Floats


@dataclass(frozen=True)
class CropPositions:
    """Where crops may start: a table with one row per cell.

    Parameters
    ----------
    tile, row, col
        (n,) int32 index of the tile, and the cell's first pixel in it.
    height, width
        (n,) int32 size of the part of the cell that crops may start in.
    cumulative
        (n,) float64 probability of this cell and all before it, rising to 1.
    """

    tile: NDArray[np.int32]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    cumulative: Floats

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return a random tile and the first row and column of a crop in it."""
        chance = rng.random(3)
        at = int(np.searchsorted(self.cumulative, chance[0] * self.cumulative[-1], side="right"))
        at = min(at, len(self.cumulative) - 1)
        row = int(self.row[at]) + int(chance[1] * self.height[at])
        return int(self.tile[at]), row, int(self.col[at]) + int(chance[2] * self.width[at])


def count_cells(
    read: Callable[[Window], tuple[Bytes, Bytes]], shape: tuple[int, int], bands: int, cell: int
) -> CellCounts:
    """Count the pixels of a tile per cell, reading it block by block.

    Parameters
    ----------
    read
        Returns image (bands, height, width) and label (height, width) of a window.
    shape, bands
        Size of the tile.
    cell
        Side of a cell in pixels.
    """
    size = tuple(-(-n // cell) for n in shape)
    known, road = np.zeros(size, np.int32), np.zeros(size, np.int32)
    moments = np.zeros((3, bands))
    step = _BLOCK_PX // cell * cell
    for row in range(0, shape[0], step):
        for col in range(0, shape[1], step):
            window = Window(row, col, step, step).intersection(Window(0, 0, *shape))
            image, label = read(window)
            labelled = (label != VOID).view(np.uint8)
            for counts, flags in ((known, labelled), (road, (label == 1).view(np.uint8))):
                part = _per_cell(flags, cell)
                counts[row // cell :, col // cell :][: part.shape[0], : part.shape[1]] = part
            moments += _moments(image, labelled)
    return CellCounts(shape, cell, known, road, moments)


def crop_positions(cells: Sequence[CellCounts], *, crop: int, road_share: float) -> CropPositions:
    """Return where crops may start, and how likely each position is.

    Parameters
    ----------
    cells
        Counts of all tiles; some pixel must be labelled.
    crop
        Side of a crop in pixels.
    road_share
        Share of the crops that is drawn in proportion to the road in them.
    """
    found = [_positions_in(index, one, crop) for index, one in enumerate(cells)]
    table = np.concatenate([starts for starts, _, _ in found], axis=1)
    even, road = (np.concatenate([part[index] for part in found]) for index in (1, 2))
    chance = even / even.sum()
    if road.any():
        chance = (1 - road_share) * chance + road_share * road / road.sum()
    tile, row, col, height, width = table
    return CropPositions(tile, row, col, height, width, np.cumsum(chance))


def _positions_in(index: int, one: CellCounts, crop: int) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Return the positions in a tile, (5, n) as in ``CropPositions``, and their weights: even, and by road.

    Where exactly in its cell a crop starts is open, so the labelled share of a crop is bounded from below, by two
    counts: of the cells that every such crop covers, and of all its pixels less the void ones of the cells it touches.

            touched by some crop (outer)
            ┌─────────────────────────┐
            │ start cell  ┌───────┐   │
            │             │ inner │   │   inner: covered by every crop
            │             └───────┘   │
            └─────────────────────────┘
    """
    rows, cols = (_starts(size, one.cell, crop) for size in one.shape)
    known, road = _summed(one.known), _summed(one.road)
    outer, inner = ([side.span(outer=outer) for side in (rows, cols)] for outer in (True, False))
    room = [np.minimum(side.last, size) - side.first for side, size in zip((rows, cols), one.shape, strict=True)]
    within = _box(known, *outer)
    void = np.outer(*room) - within
    inside = min(crop, one.shape[0]) * min(crop, one.shape[1])
    share = np.maximum(_box(known, *inner), inside - void) / crop**2
    allowed = share >= min(_LABELLED, float(share.max())) if share.max() > 0 else within > 0
    pixels = np.outer(rows.count, cols.count)[allowed].astype(np.float64)
    at = np.nonzero(allowed)
    table = np.stack(
        [np.full(len(at[0]), index), rows.start[at[0]], cols.start[at[1]], rows.count[at[0]], cols.count[at[1]]]
    )
    even = pixels * (one.known.sum() / max(1.0, pixels.sum()))
    return table.astype(np.int32), even, pixels * _box(road, *outer)[allowed]


@dataclass(frozen=True)
class _Starts:
    """The cells along one axis that a crop can start in.

    ``start`` is the first pixel in the cell that a crop can start at, ``count`` the number of such pixels; ``first``
    and ``last`` bound the pixels that these crops touch; there are ``cells`` cells of ``cell`` pixels.
    """

    start: Ints
    count: Ints
    first: Ints
    last: Ints
    crop: int
    cell: int
    cells: int

    def span(self, *, outer: bool) -> tuple[Ints, Ints]:
        """Return the cells that some crop touches (outer) or that every crop covers, as starts and stops."""
        if outer:
            return self.first // self.cell, np.minimum(-(-self.last // self.cell), self.cells)
        low = -(-(self.start + self.count - 1).clip(0) // self.cell)
        covered = self.start + self.crop
        high = np.where(covered >= self.cells * self.cell, self.cells, covered // self.cell)
        return np.minimum(low, high), high


def _starts(size: int, cell: int, crop: int) -> _Starts:
    cells = -(-size // cell)
    if size <= crop:  # the tile lies in the middle of the crop, mirrored around it
        start, count = np.array([(size - crop) // 2]), np.array([1])
    else:
        start = np.arange(0, size - crop + 1, cell)
        count = np.minimum(cell, size - crop + 1 - start)
    first = start.clip(0) // cell * cell
    last = np.minimum(-(-(start + count - 1 + crop) // cell) * cell, cells * cell)
    return _Starts(start, count, first, last, crop, cell, cells)


def _box(summed: Ints, rows: tuple[Ints, Ints], cols: tuple[Ints, Ints]) -> Ints:
    """Return sums over boxes of cells, for all pairs of row spans and column spans, from an integral image."""
    (top, bottom), (left, right) = rows, cols
    total: Ints = summed[np.ix_(bottom, right)] - summed[np.ix_(top, right)]
    return total - summed[np.ix_(bottom, left)] + summed[np.ix_(top, left)]


def _summed(counts: NDArray[np.int32]) -> Ints:
    """Return the integral image: sums of all cells above and to the left, one row and column larger."""
    table = np.zeros((counts.shape[0] + 1, counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(counts, axis=0, dtype=np.int64), axis=1, out=table[1:, 1:])
    return table


def _per_cell(flags: Bytes, cell: int) -> NDArray[np.int32]:
    """Count set pixels per cell; cells at the border may be smaller."""
    height, width = (-(-n // cell) for n in flags.shape)
    padded = np.zeros((height * cell, width * cell), np.uint8)
    padded[: flags.shape[0], : flags.shape[1]] = flags
    down = padded.reshape(height, cell, width * cell).sum(axis=1, dtype=np.uint16)
    counts: NDArray[np.int32] = down.reshape(height, width, cell).sum(axis=2, dtype=np.int32)
    return counts


def _moments(image: Bytes, labelled: Bytes) -> Floats:
    """Return count, sum and sum of squares of each band's labelled grey levels, (3, bands)."""
    levels = np.arange(256, dtype=np.float64)
    found = []
    for band in image:
        counts = cv2.calcHist([np.ascontiguousarray(band)], [0], labelled, [256], [0, 256]).ravel().astype(np.float64)
        found.append([counts.sum(), counts @ levels, counts @ levels**2])
    return np.array(found).T
