"""Centerlines of the roads on a raster of any size: clean, thin, trace, measure block by block, then merge.

What a pass makes of a block goes to disk at one bit per pixel, and the next pass reads it with whatever halo it
needs. So each pass is exact by itself, and the result is the same for any blocks and any number of workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.progress import Advance
from roadseg.roads.centerlines.merge import MeasuredBlock, merge_blocks
from roadseg.roads.centerlines.skeleton import Skeleton, thin_block
from roadseg.roads.centerlines.trace import trace_block
from roadseg.roads.centerlines.width import near_nodata, road_area
from roadseg.roads.mask.clean import Cleaning, CleanMask, clean_blocks
from roadseg.roads.mask.passes import BlockOutput, BlockPass, Passes, Read, drained
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


def centerlines_of(
    passes: Passes, cleaning: Cleaning, on_block: Advance, on_ends: Callable[[NDArray[np.int32]], None] | None = None
) -> PixelGraph:
    """Return the centerlines of the roads on a raster.

    Parameters
    ----------
    passes
        Passes over the blocks of the raster that share its ``read``; their files take some 0.3 bytes per pixel, 1.5
        if all is road. The result depends neither on the blocks nor on the number of workers.
    cleaning
        Settings for what is road.
    on_block
        Called with the number of megapixels finished since the last call.
    on_ends
        Called with (ends, 2) row, col of the ends of lines, before these are joined.
    """
    width = passes.grid.width
    blocks = [block for block in traced_blocks(passes, cleaning, on_block) if block]
    if on_ends and blocks:
        first = np.concatenate([block.lines.first[~block.lines.is_junction] for block in blocks])
        on_ends(np.column_stack(np.divmod(first, width)).astype(np.int32))
    return merge_blocks(blocks, width)


def traced_blocks(passes: Passes, cleaning: Cleaning, on_block: Advance) -> Iterator[MeasuredBlock | None]:
    """Return the lines of all blocks, None for those without; see ``centerlines_of``."""

    def third(megapixels: float) -> None:
        on_block(megapixels / 3)

    mask = clean_blocks(passes, cleaning, third, store_levels=True)
    blocks = passes.grid.blocks()
    passes.joined(_LINES, [_BlockToThin(block, mask) for block in blocks], drained, third)
    skeleton = Skeleton(passes.plane("lines"), passes.plane("areal"))
    return passes.results(TRACED, [_BlockToMeasure(block, mask, skeleton) for block in blocks], third)


@dataclass(frozen=True)
class _BlockToThin:
    """A block, and the road to thin."""

    block: Window
    mask: CleanMask


@dataclass(frozen=True)
class _BlockToMeasure:
    """A block, and what earlier passes made."""

    block: Window
    mask: CleanMask
    skeleton: Skeleton


def _thin(_: Read, task: _BlockToThin) -> BlockOutput:
    return BlockOutput(None, thin_block(task.mask, task.block))


def _measure(read: Read, task: _BlockToMeasure) -> BlockOutput:
    """Trace one block and measure at its nodes and pixels; the result is None if it is empty."""
    block, width = task.block, task.mask.grid.width
    if task.skeleton.lines.is_empty(block):
        return BlockOutput(None)
    lines = trace_block(task.skeleton.lines.read(block.grown(1)), block, width)
    row, col = lines.places.T.astype(np.int64) - np.array([[block.row], [block.col]])
    area = road_area(task.mask, task.skeleton.lines, block)[row, col]
    areal = np.zeros(len(lines.closed), np.int64)
    if not task.skeleton.areal.is_empty(block):
        inside = np.concatenate([[0], np.cumsum(task.skeleton.areal.read(block)[row, col])])
        areal = inside[lines.starts[1:]] - inside[lines.starts[:-1]]
    at_border = near_nodata(task.mask, *np.divmod(lines.first, width), block)
    return BlockOutput(MeasuredBlock(lines, at_border, area, _levels(read, task, row, col), areal))


def _levels(read: Read, task: _BlockToMeasure, row: Ints, col: Ints) -> Bytes:
    """Return the levels at pixels of a block: as stored, or from the raster where a hole was filled."""
    stored, block = task.mask.levels, task.block
    levels, known = stored.read(block, row, col) if stored else (np.zeros(len(row), np.uint8), np.zeros(len(row), bool))
    rest = np.flatnonzero(~known)
    if len(rest):
        top, left, bottom, right = row[rest].min(), col[rest].min(), row[rest].max(), col[rest].max()
        window = Window(block.row + int(top), block.col + int(left), int(bottom - top) + 1, int(right - left) + 1)
        levels[rest] = read(window)[row[rest] - top, col[rest] - left]
    return levels


_LINES = BlockPass("lines", _thin, ("lines", "areal"))
TRACED = BlockPass("traced", _measure, result=MeasuredBlock)
"""The last pass."""
