"""Centerlines of the roads on a raster of any size: clean, thin, trace, measure block by block, then merge.

What a stage makes of a block goes to disk at one bit per pixel, and the next stage reads it with whatever halo it
needs. So each stage is exact by itself, and the result is the same for any blocks and any number of workers.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from roadseg.files.outputs import SCRATCH
from roadseg.progress import Advance
from roadseg.roads.centerlines.merge import MeasuredBlock, merge_blocks
from roadseg.roads.centerlines.skeleton import Skeleton, thin_block
from roadseg.roads.centerlines.trace import trace_block
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
    on_block: Advance = lambda _: None,
) -> PixelGraph:
    """Return the centerlines of the roads on a raster.

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
        Folder for temporary files, some 0.3 bytes per pixel, 1.5 if all is road; None takes the system's.
    on_block
        Called with the number of megapixels finished since the last call.
    """
    with WorkerPool(read, workers) as pool:
        return centerlines_of(pool, BlockGrid(height, width, block_px), cleaning, folder, on_block)


def centerlines_of(
    pool: WorkerPool, grid: BlockGrid, cleaning: Cleaning, folder: Path | None, on_block: Advance
) -> PixelGraph:
    """Return the centerlines of the roads on a raster, with a pool that shares its ``read``; see above."""
    with TemporaryDirectory(prefix=SCRATCH, dir=folder) as name:
        scratch = Path(name)
        mask = clean_blocks(pool, grid, cleaning, scratch, lambda mpx: on_block(mpx / 3), store_levels=True)
        return merge_blocks(_thin_and_trace(pool, mask, scratch, lambda mpx: on_block(mpx * 2 / 3)), grid.width)


def _thin_and_trace(pool: WorkerPool, mask: CleanMask, folder: Path, on_block: Advance) -> list[MeasuredBlock]:
    """Return the lines of all blocks that have some; the pool shares the ``read`` that the mask was made with."""
    skeleton = Skeleton(BitPlane(folder / "lines.bits", mask.grid), BitPlane(folder / "areal.bits", mask.grid))
    tasks = [_Task(block, mask, skeleton) for block in mask.grid.blocks()]
    for task, _ in zip(tasks, pool.map(_thin, tasks), strict=True):
        on_block(task.block.area / 2e6)
    blocks = []
    for task, block in zip(tasks, pool.map(_measure, tasks), strict=True):
        blocks += [block] if block else []
        on_block(task.block.area / 2e6)
    return blocks


@dataclass(frozen=True)
class _Task:
    """A block, and where the stages lie on disk."""

    block: Window
    mask: CleanMask
    skeleton: Skeleton


def _thin(_: Read, task: _Task) -> None:
    thin_block(task.mask, task.skeleton, task.block)


def _measure(read: Read, task: _Task) -> MeasuredBlock | None:
    """Trace one block and measure at its nodes and pixels; None if it is empty."""
    block, width = task.block, task.mask.grid.width
    if task.skeleton.lines.is_empty(block):
        return None
    lines = trace_block(task.skeleton.lines.read(block.grown(1)), block, width)
    row, col = lines.places.T.astype(np.int64) - np.array([[block.row], [block.col]])
    area = road_area(task.mask, task.skeleton.lines, block)[row, col]
    areal = np.zeros(len(lines.closed), np.int64)
    if not task.skeleton.areal.is_empty(block):
        inside = np.concatenate([[0], np.cumsum(task.skeleton.areal.read(block)[row, col])])
        areal = inside[lines.starts[1:]] - inside[lines.starts[:-1]]
    at_border = near_nodata(task.mask, *np.divmod(lines.first, width), block)
    return MeasuredBlock(lines, at_border, area, _levels(read, task, row, col), areal)


def _levels(read: Read, task: _Task, row: Ints, col: Ints) -> Bytes:
    """Return the levels at pixels of a block: as stored, or from the raster where a hole was filled."""
    stored, block = task.mask.levels, task.block
    levels, known = stored.read(block, row, col) if stored else (np.zeros(len(row), np.uint8), np.zeros(len(row), bool))
    rest = np.flatnonzero(~known)
    if len(rest):
        top, left, bottom, right = row[rest].min(), col[rest].min(), row[rest].max(), col[rest].max()
        window = Window(block.row + int(top), block.col + int(left), int(bottom - top) + 1, int(right - left) + 1)
        levels[rest] = read(window)[row[rest] - top, col[rest] - left]
    return levels
