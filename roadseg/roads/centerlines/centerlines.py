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
from roadseg.roads.centerlines.width import near_unknown, road_area
from roadseg.roads.mask.clean import Cleaning, CleanMask, Read, cleaned
from roadseg.roads.mask.store import BitPlane, Cut
from roadseg.roads.mask.workers import Crew
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


def centrelines(
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
    cut = Cut(height, width, block_px)
    with Crew(read, workers) as crew, TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        with cleaned(crew, cut, cleaning, place, lambda done: on_block(done / 3), keep_levels=True) as mask:
            return traced_lines(crew, mask, place, lambda done: on_block(done * 2 / 3))


def traced_lines(crew: Crew, mask: CleanMask, folder: Path, on_block: Callable[[float], None]) -> PixelGraph:
    """Return the middle lines of a clean mask; the crew shares the ``read`` it was made with."""
    cut = mask.cut
    lines = Skeleton(BitPlane(folder / "lines.bits", cut).create(), BitPlane(folder / "areal.bits", cut).create())
    tasks = [_Task(block, mask, lines) for block in cut.blocks()]
    try:
        for task, _ in zip(tasks, crew.map(_thin, tasks), strict=True):
            on_block(task.block.area / 2e6)
        found = []
        for task, block in zip(tasks, crew.map(_trace, tasks), strict=True):
            found += [block] if block else []
            on_block(task.block.area / 2e6)
    finally:
        lines.lines.remove()
        lines.areal.remove()
    return merge(found, cut.width)


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
    block, width = task.block, task.mask.cut.width
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
    return TracedBlock(traced, near_unknown(task.mask, *first, block), area, _levels(read, task, row, col), areal)


def _levels(read: Read, task: _Task, row: Ints, col: Ints) -> Bytes:
    """Return the levels of some pixels of a block: as kept, or from the raster where a hole was filled."""
    kept, block = task.mask.levels, task.block
    levels, there = kept.read(block, row, col) if kept else (np.zeros(len(row), np.uint8), np.zeros(len(row), bool))
    left = np.flatnonzero(~there)
    if len(left):
        top, first, bottom, last = row[left].min(), col[left].min(), row[left].max(), col[left].max()
        window = Window(block.row + int(top), block.col + int(first), int(bottom - top) + 1, int(last - first) + 1)
        levels[left] = read(window)[row[left] - top, col[left] - first]
    return levels
