"""Middle lines of roads on a raster of any size: clean, thin, trace block by block, then merge.

What one stage makes of a block goes to disk at one bit per pixel, and the next stage reads it with whatever
halo it needs. So each stage is exact by itself, and the result is the same for any blocks and any number of workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.centerlines.merge import TracedBlock, merge
from roadseg.roads.centerlines.skeleton import Skeleton, thin_block
from roadseg.roads.centerlines.trace import trace
from roadseg.roads.centerlines.width import near_nodata, road_area
from roadseg.roads.mask.clean import Cleaning, CleanMask, Read, clean_blocks
from roadseg.roads.mask.store import BitPlane, BlockGrid
from roadseg.roads.mask.workers import WorkerPool
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


def extract_centerlines(
    read: Read,
    height: int,
    width: int,
    *,
    cleaning: Cleaning,
    block_px: int = 2048,
    workers: int = 1,
    folder: Path | None = None,
    on_block: Callable[[float], None] = lambda _: None,
) -> PixelGraph:
    """Return the middle lines of the roads on a raster.

    Parameters
    ----------
    read
        From a window inside the raster to its levels, (height, width) uint8: probability × 254, or 255 for
        not known. It must travel to worker processes if there are any.
    height, width
        Of the raster.
    cleaning
        What is road.
    block_px, workers
        Side of the blocks, and how many processes share them; the result depends on neither.
    folder
        Where temporary files may lie, some 0.3 bytes per pixel, 1.5 if all is road; None takes the system's.
    on_block
        Gets the megapixels done since the last call; they add up to the raster's.
    """
    grid = BlockGrid(height, width, block_px)
    with WorkerPool(read, workers) as pool, TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        mask = clean_blocks(pool, grid, cleaning, scratch, lambda mpx: on_block(mpx / 3), store_levels=True)
        return thin_and_trace(pool, mask, scratch, lambda mpx: on_block(mpx * 2 / 3))


def thin_and_trace(pool: WorkerPool, mask: CleanMask, folder: Path, on_block: Callable[[float], None]) -> PixelGraph:
    """Return the middle lines of a clean mask; the pool shares the ``read`` it was made with."""
    grid = mask.grid
    skeleton = Skeleton(BitPlane(folder / "lines.bits", grid), BitPlane(folder / "areal.bits", grid))
    tasks = [_Task(block, mask, skeleton) for block in grid.blocks()]
    for task, _ in zip(tasks, pool.map(_thin, tasks), strict=True):
        on_block(task.block.area / 2e6)
    found = []
    for task, block in zip(tasks, pool.map(_trace, tasks), strict=True):
        found += [block] if block else []
        on_block(task.block.area / 2e6)
    return merge(found, grid.width)


@dataclass(frozen=True)
class _Task:
    """A block, and where the stages lie on disk."""

    block: Window
    mask: CleanMask
    skeleton: Skeleton


def _thin(_: Read, task: _Task) -> None:
    thin_block(task.mask, task.skeleton, task.block)


def _trace(read: Read, task: _Task) -> TracedBlock | None:
    """Trace one block and look around its nodes and pixels; None if it is empty."""
    block, width = task.block, task.mask.grid.width
    if task.skeleton.lines.is_empty(block):
        return None
    traced = trace(task.skeleton.lines.read(block.grown(1)), block, width)
    row, col = traced.places.T.astype(np.int64) - np.array([[block.row], [block.col]])
    area = road_area(task.mask, task.skeleton.lines, block)[row, col]
    areal = np.zeros(len(traced.closed), np.int64)
    if not task.skeleton.areal.is_empty(block):
        inside = np.concatenate([[0], np.cumsum(task.skeleton.areal.read(block)[row, col])])
        areal = inside[traced.starts[1:]] - inside[traced.starts[:-1]]
    first = np.divmod(traced.first, width)
    return TracedBlock(traced, near_nodata(task.mask, *first, block), area, _levels(read, task, row, col), areal)


def _levels(read: Read, task: _Task, row: Ints, col: Ints) -> Bytes:
    """Return the levels of some pixels of a block: as kept, or from the raster where a hole was filled."""
    stored, block = task.mask.levels, task.block
    levels, known = stored.read(block, row, col) if stored else (np.zeros(len(row), np.uint8), np.zeros(len(row), bool))
    left = np.flatnonzero(~known)
    if len(left):
        top, first, bottom, last = row[left].min(), col[left].min(), row[left].max(), col[left].max()
        window = Window(block.row + int(top), block.col + int(first), int(bottom - top) + 1, int(last - first) + 1)
        levels[left] = read(window)[row[left] - top, col[left] - first]
    return levels
