"""From probability to a clean road mask, block by block, with the same result as on the whole raster.

Three rules, in this order:

1. A component (8 neighbours) of pixels with at least the low level is road if any of its pixels has the high level.
2. It is dropped again if it has fewer pixels than the minimum area; holes do not count.
3. The rest, dropped components included, falls into components by 4 neighbours. One of at most the maximum hole size
   becomes road, unless it contains a nodata pixel or touches the raster's border.

A component inside a block is decided there. An open one, which touches the block's border, is decided when it has been
joined over the seams; then it is flooded from one of its pixels. About 5 ms per megapixel where a tenth is road.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.files.outputs import SCRATCH
from roadseg.progress import Advance
from roadseg.ragged import ranges
from roadseg.raster.encoding import NODATA
from roadseg.roads.mask.components import Runs, find_runs, label_runs
from roadseg.roads.mask.seams import OpenComponents, Seams, find_open, whole_block
from roadseg.roads.mask.store import BitPlane, BlockGrid, RoadLevels
from roadseg.roads.mask.workers import WorkerPool
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

Read = Callable[[Window], Bytes]
"""From a window inside the raster to its levels, (height, width) uint8: probability × 254, or 255 for nodata."""


@dataclass(frozen=True)
class Cleaning:
    """Settings for what is road.

    Parameters
    ----------
    high, low
        Levels (probability × 254) that a road reaches somewhere, and everywhere; from 1 to 254.
    min_area_px
        Components with fewer pixels are dropped.
    max_hole_px
        Holes of up to so many pixels are filled; 0 fills none.
    """

    high: int = 127
    low: int = 127
    min_area_px: int = 0
    max_hole_px: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high < NODATA:
            raise ValueError(f"levels must be 1 ≤ low ≤ high ≤ 254, not {self.low} and {self.high}")


@dataclass(frozen=True)
class CleanMask:
    """The road and nodata pixels of a raster, on disk, to be read by any window.

    Parameters
    ----------
    road, nodata
        Masks of the raster.
    levels
        Levels near the road, if they were stored.
    """

    road: BitPlane
    nodata: BitPlane
    levels: RoadLevels | None = None

    @property
    def grid(self) -> BlockGrid:
        """The blocks it consists of."""
        return self.road.grid

    def read(self, window: Window) -> Bytes:
        """Return (height, width) uint8, 1 for road; the window may reach beyond the raster, where all is 0."""
        return self.road.read(window)

    def valid(self, window: Window) -> Bytes:
        """Return (height, width) uint8, 0 for nodata; the window may reach beyond the raster, where all is 0."""
        valid = np.zeros((window.height, window.width), np.uint8)
        inside = window.intersection(self.grid.raster)
        valid[inside.slices(window)] = 1 if self.nodata.is_empty(inside) else 1 - self.nodata.read(inside)
        return valid


@contextmanager
def clean_raster(
    read: Read,
    height: int,
    width: int,
    *,
    cleaning: Cleaning,
    block_px: int = 2048,
    workers: int = 1,
    folder: Path,
    on_block: Advance = lambda _: None,
) -> Iterator[CleanMask]:
    """Clean a raster; the mask exists until the ``with`` block ends.

    Parameters
    ----------
    read
        Reads the raster. It must be picklable if there are several workers.
    height, width
        Size of the raster.
    cleaning
        Settings for what is road.
    block_px, workers
        Side of the blocks, and number of processes; the result depends on neither.
    folder
        Folder for temporary files: an eighth of a byte per pixel, less where nothing is.
    on_block
        Called with the number of megapixels finished since the last call; they add up to the raster's.
    """
    with WorkerPool(read, workers) as pool, TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        yield clean_blocks(pool, BlockGrid(height, width, block_px), cleaning, Path(scratch), on_block)


def clean_blocks(
    pool: WorkerPool,
    grid: BlockGrid,
    cleaning: Cleaning,
    folder: Path,
    on_block: Advance,
    *,
    store_levels: bool = False,
) -> CleanMask:
    """Clean a raster with a pool that shares its ``read``, into files that the caller deletes; see `clean_raster`."""
    levels = RoadLevels(folder / "levels.bin", grid) if store_levels else None
    mask = CleanMask(BitPlane(folder / "road.bits", grid), BitPlane(folder / "nodata.bits", grid), levels)
    blocks = grid.blocks()
    # Three passes over the blocks. What the first finds out about open roads, the second does before it looks for holes
    # (a dropped road is part of a hole), and what the second finds out about open holes, the third does.
    tasks = [_BlockToClean(block, mask, cleaning) for block in blocks]
    components = _joined(pool, _find_roads, tasks, Seams(grid.width, diagonal=True), on_block)
    dropped = [seed[~(strong & (area >= cleaning.min_area_px))] for seed, area, strong in components]
    tasks = [_BlockToClean(block, mask, cleaning, seeds) for block, seeds in zip(blocks, dropped, strict=True)]
    components = _joined(pool, _find_holes, tasks, Seams(grid.width, diagonal=False), on_block)
    holes = [seed[~stays & (area <= cleaning.max_hole_px)] for seed, area, stays in components]
    for block, seeds in zip(blocks, holes, strict=True):
        if len(seeds):
            mask.road.write(block, _flooded(mask.road.read(block), seeds, 1, 4))
    return mask


@dataclass(frozen=True)
class _BlockToClean:
    """A block to clean, and (components, 2) row, col in it of one pixel of each component to drop."""

    block: Window
    mask: CleanMask
    cleaning: Cleaning
    dropped: Ints | None = None


def _joined(
    pool: WorkerPool,
    find: Callable[[Read, _BlockToClean], OpenComponents],
    tasks: list[_BlockToClean],
    seams: Seams,
    on_block: Advance,
) -> Iterator[tuple[Ints, Ints, Bools]]:
    """Find the open components of all blocks, and return for each block their seeds, joined areas and joined marks."""
    seeds = []
    for task, found in zip(tasks, pool.map(find, tasks), strict=True):
        seams.add(task.block, found)
        seeds.append(found.seed)
        on_block(task.block.area / 2e6)
    return zip(seeds, *seams.totals(), strict=True)


def _find_roads(read: Read, task: _BlockToClean) -> OpenComponents:
    """Write one block's road, without complete components that are none, and return the open ones."""
    levels, cleaning, mask = read(task.block), task.cleaning, task.mask
    none, highest = np.zeros(0, np.int64), levels.max(initial=0)
    if highest == NODATA:
        nodata = (levels == NODATA).view(np.uint8)
        mask.nodata.write(task.block, nodata)
        highest = 0 if nodata.all() else NODATA
    if highest < cleaning.low:
        nothing = Runs(none, none, task.block.height, task.block.width)
        return find_open(nothing, none.astype(np.int32), none, none.astype(bool))[0]
    # low ≤ level ≤ 254 with one comparison: bytes below low wrap round to the top.
    road = (levels - np.uint8(cleaning.low) <= NODATA - 1 - cleaning.low).view(np.uint8)
    runs = find_runs(road)
    count, labels = label_runs(runs, diagonal=True)
    area = np.bincount(labels, runs.length, count).astype(np.int64)
    strong = np.ones(count, bool)
    if cleaning.low < cleaning.high:
        strong = _reach_level(levels, cleaning.high, runs, labels, count)
    found, is_open = find_open(runs, labels, area, strong)
    dropped = ~is_open & ~(strong & (area >= cleaning.min_area_px))
    runs.where(dropped[labels]).paint(road, 0)
    if count:
        mask.road.write(task.block, road)
        if mask.levels:
            mask.levels.write(task.block, levels, road)
    return found


def _reach_level(levels: Bytes, high: int, runs: Runs, labels: Int32s, count: int) -> Bools:
    """Return (components,) which components have the high level; most of them in the middle of a run."""
    start, flat = runs.start - runs.row, levels.reshape(-1)
    strong = np.zeros(count, bool)
    strong[labels[flat[start + runs.length // 2] >= high]] = True
    rest = np.flatnonzero(~strong[labels])
    length = runs.length[rest]
    reached = flat[ranges(start[rest], length)] >= high
    strong[np.repeat(labels[rest], length)[reached]] = True
    return strong


def _find_holes(_: Read, task: _BlockToClean) -> OpenComponents:
    """Drop components from a block, fill its complete holes, and return the open ones, marked if they must stay."""
    nothing = task.mask.road.is_empty(task.block)
    if nothing and task.block.area > task.cleaning.max_hole_px:
        return whole_block(task.block, marked=True)
    road = task.mask.road.read(task.block)
    changed = task.dropped is not None and len(task.dropped) > 0
    if task.dropped is not None:
        road = _flooded(road, task.dropped, 0, 8)
    gaps = find_runs(road).complement()
    count, labels = label_runs(gaps, diagonal=False)
    area = np.bincount(labels, gaps.length, count).astype(np.int64)
    stays = area > task.cleaning.max_hole_px
    if not task.mask.nodata.is_empty(task.block):
        stays[labels[gaps.containing(find_runs(task.mask.nodata.read(task.block)))]] = True
    stays[labels[_at_border(gaps, task.block, task.mask.grid)]] = True
    found, is_open = find_open(gaps, labels, area, stays)
    filled = ~is_open & ~stays
    gaps.where(filled[labels]).paint(road, 1)
    if changed or filled.any():
        task.mask.road.write(task.block, road)
    return found


def _at_border(runs: Runs, block: Window, grid: BlockGrid) -> Bools:
    """Return (runs,) whether each run of a block has one of the raster's outermost pixels."""
    row, first = block.row + runs.row, block.col + runs.col
    touch: Bools = (row == 0) | (row == grid.height - 1) | (first == 0)
    touch |= first + runs.length == grid.width
    return touch


def _flooded(mask: Bytes, seeds: Ints, value: int, neighbours: int) -> Bytes:
    """Return a mask after setting the components of some of its pixels to a value."""
    for row, col in seeds.tolist():
        if mask[row, col] != value:
            cv2.floodFill(mask, None, (col, row), value, flags=neighbours)
    return mask
