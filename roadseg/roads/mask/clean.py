"""From probability to a clean road mask, block by block and exact over the seams.

Three rules, in this order, on the whole raster:

1. A component (8 neighbours) of pixels from the low level on is road if any of its pixels has the high level.
2. It is dropped again if it has fewer pixels than the least area; holes do not count.
3. What is not road then, all that was dropped included, falls into components by 4 neighbours. One of at most the
   largest hole's pixels becomes road, unless it holds an unknown pixel or one of the raster's outermost pixels.

A component inside a block is settled there. Those that touch the rim are flooded away, or filled, from one pixel
when the union over the seams has told how large they are. About 5 ms per megapixel where a tenth is road.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges
from roadseg.roads.mask.components import Runs, find_runs, label_runs
from roadseg.roads.mask.seams import Rim, Seams, plain_rim, rim_of, seeds
from roadseg.roads.mask.store import BitPlane, Cut, KeptLevels
from roadseg.roads.mask.workers import Crew
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Read = Callable[[Window], Bytes]

UNKNOWN = 255
"""Level of pixels nothing is known about."""


@dataclass(frozen=True)
class Cleaning:
    """What is road.

    Parameters
    ----------
    high, low
        Levels (probability × 254) a road has somewhere, and everywhere; from 1 to 254.
    min_area_px
        Smaller patches are dropped.
    max_hole_px
        Holes up to this size are filled; 0 fills none.
    """

    high: int = 127
    low: int = 127
    min_area_px: int = 0
    max_hole_px: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high < UNKNOWN:
            raise ValueError(f"levels must be 1 ≤ low ≤ high ≤ 254, not {self.low} and {self.high}")


@dataclass(frozen=True)
class CleanMask:
    """Which pixels of a raster are road and which are known, on disk, to be read by any window.

    Parameters
    ----------
    road, unknown
        Planes of the raster.
    levels
        Those near the road, if they were kept.
    """

    road: BitPlane
    unknown: BitPlane
    levels: KeptLevels | None = None

    @property
    def cut(self) -> Cut:
        """The blocks it is made of."""
        return self.road.cut

    def read(self, window: Window) -> Bytes:
        """Return (height, width) uint8, 1 for road; the window may reach beyond the raster, where all is 0."""
        return self.road.read(window)

    def known(self, window: Window) -> Bytes:
        """Return (height, width) uint8, 1 for known; the window may reach beyond the raster, where all is 0."""
        known = np.zeros((window.height, window.width), np.uint8)
        inside = window.intersection(self.cut.raster)
        known[inside.slices(window)] = 1 if self.unknown.is_empty(inside) else 1 - self.unknown.read(inside)
        return known


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
    on_block: Callable[[float], None] = lambda _: None,
) -> Iterator[CleanMask]:
    """Clean a raster; the mask lives until the ``with`` block ends.

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
        Where the mask's files may lie: an eighth of a byte per pixel, less where nothing is.
    on_block
        Gets the megapixels done since the last call; they add up to the raster's.
    """
    with Crew(read, workers) as crew, cleaned(crew, Cut(height, width, block_px), cleaning, folder, on_block) as mask:
        yield mask


@contextmanager
def cleaned(
    crew: Crew,
    cut: Cut,
    cleaning: Cleaning,
    folder: Path,
    on_block: Callable[[float], None],
    *,
    keep_levels: bool = False,
) -> Iterator[CleanMask]:
    """Clean a raster with a crew that shares its ``read``, and keep levels if wanted; see `clean_raster`."""
    road, unknown = (BitPlane(folder / f"{name}.bits", cut).create() for name in ("road", "unknown"))
    mask = CleanMask(road, unknown, KeptLevels(folder / "levels.bin", cut).create() if keep_levels else None)
    blocks = cut.blocks()
    try:
        doomed = _settle_roads(crew, mask, cleaning, blocks, on_block)
        holes = _settle_holes(crew, mask, cleaning, blocks, doomed, on_block)
        for block, filled in zip(blocks, holes, strict=True):
            if len(filled):
                mask.road.write(block, _flooded(mask.road.read(block), filled, 1, 4))
        yield mask
    finally:
        for file in (mask.road, mask.unknown, mask.levels):
            if file:
                file.remove()


@dataclass(frozen=True)
class _Task:
    """A block to clean, and seeds of components that turned out not to be road."""

    block: Window
    mask: CleanMask
    cleaning: Cleaning
    doomed: Ints | None = None


def _settle_roads(
    crew: Crew, mask: CleanMask, cleaning: Cleaning, blocks: list[Window], on_block: Callable[[float], None]
) -> list[Ints]:
    """Write the mask of road, and return by block the seeds of what is none after all."""
    seams, rims = Seams(mask.cut.width, diagonal=True), []
    tasks = (_Task(block, mask, cleaning) for block in blocks)
    for block, rim in zip(blocks, crew.map(_find_roads, tasks), strict=True):
        seams.add(block, rim)
        rims.append(_remembered(rim))
        on_block(block.area / 2e6)
    chosen = [~(strong & (area >= cleaning.min_area_px)) for area, strong in zip(*seams.settle(), strict=True)]
    return seeds(rims, chosen)


def _settle_holes(
    crew: Crew,
    mask: CleanMask,
    cleaning: Cleaning,
    blocks: list[Window],
    doomed: list[Ints],
    on_block: Callable[[float], None],
) -> list[Ints]:
    """Take away what is no road and fill holes inside blocks; return by block the seeds of those still to fill."""
    seams, rims = Seams(mask.cut.width, diagonal=False), []
    tasks = (_Task(block, mask, cleaning, some) for block, some in zip(blocks, doomed, strict=True))
    for block, rim in zip(blocks, crew.map(_find_holes, tasks), strict=True):
        seams.add(block, rim)
        rims.append(_remembered(rim))
        on_block(block.area / 2e6)
    chosen = [~bad & (area <= cleaning.max_hole_px) for area, bad in zip(*seams.settle(), strict=True)]
    return seeds(rims, chosen)


def _find_roads(read: Read, task: _Task) -> Rim:
    """Write one block's road, less what certainly is none, and return what touches the rim."""
    levels, cleaning, mask = read(task.block), task.cleaning, task.mask
    none, highest = np.zeros(0, np.int64), levels.max(initial=0)
    if highest == UNKNOWN:
        unknown = (levels == UNKNOWN).view(np.uint8)
        mask.unknown.write(task.block, unknown)
        highest = 0 if unknown.all() else UNKNOWN
    if highest < cleaning.low:
        nothing = Runs(none, none, task.block.height, task.block.width)
        return rim_of(nothing, none.astype(np.int32), none, none.astype(bool))[0]
    road = (levels - np.uint8(cleaning.low) <= UNKNOWN - 1 - cleaning.low).view(np.uint8)
    runs = find_runs(road)
    count, labels = label_runs(runs, diagonal=True)
    area = np.bincount(labels, runs.length, count).astype(np.int64)
    strong = (
        _reach(levels, cleaning.high, runs, labels, count) if cleaning.low < cleaning.high else np.ones(count, bool)
    )
    rim, is_open = rim_of(runs, labels, area, strong)
    gone = ~is_open & ~(strong & (area >= cleaning.min_area_px))
    runs.taken(gone[labels]).paint(road, 0)
    if count:
        mask.road.write(task.block, road)
        if mask.levels:
            mask.levels.write(task.block, levels, road)
    return rim


def _reach(levels: Bytes, high: int, runs: Runs, labels: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Return which components have the high level; most have it in the middle of a run."""
    start, flat = runs.start - runs.row, levels.reshape(-1)
    strong = np.zeros(count, bool)
    strong[labels[flat[start + runs.length // 2] >= high]] = True
    left = np.flatnonzero(~strong[labels])
    length = runs.length[left]
    reached = flat[ranges(start[left], length)] >= high
    strong[np.repeat(labels[left], length)[reached]] = True
    return strong


def _find_holes(_: Read, task: _Task) -> Rim:
    """Take seeds' components away, fill the holes inside a block, and return the gaps that touch its rim."""
    nothing = task.mask.road.is_empty(task.block)
    if nothing and task.block.area > task.cleaning.max_hole_px:
        return plain_rim(task.block, marked=True)
    road = task.mask.road.read(task.block)
    changed = task.doomed is not None and len(task.doomed) > 0
    if task.doomed is not None:
        road = _flooded(road, task.doomed, 0, 8)
    gaps = find_runs(road).between()
    count, labels = label_runs(gaps, diagonal=False)
    area = np.bincount(labels, gaps.length, count).astype(np.int64)
    bad = area > task.cleaning.max_hole_px
    if not task.mask.unknown.is_empty(task.block):
        bad[labels[gaps.holding(find_runs(task.mask.unknown.read(task.block)))]] = True
    bad[labels[_at_border(gaps, task.block, task.mask.cut)]] = True
    rim, is_open = rim_of(gaps, labels, area, bad)
    filled = ~is_open & ~bad
    gaps.taken(filled[labels]).paint(road, 1)
    if changed or filled.any():
        task.mask.road.write(task.block, road)
    return rim


def _at_border(runs: Runs, block: Window, cut: Cut) -> NDArray[np.bool_]:
    """Return which runs of a block hold one of the raster's outermost pixels."""
    row, first = block.row + runs.row, block.col + runs.col
    touch: NDArray[np.bool_] = (row == 0) | (row == cut.height - 1) | (first == 0)
    touch |= first + runs.length == cut.width
    return touch


def _flooded(mask: Bytes, places: Ints, value: int, neighbours: int) -> Bytes:
    """Return a mask whose components at some places were set to a value."""
    for row, col in places.tolist():
        if mask[row, col] != value:
            cv2.floodFill(mask, None, (col, row), value, flags=neighbours)
    return mask


def _remembered(rim: Rim) -> Rim:
    """Return a rim without its sides, which are no longer needed once joined."""
    none = np.zeros(0, np.int64)
    return Rim(none, none, none, none, rim.area, rim.marked, rim.seed)
