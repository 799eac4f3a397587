"""From probability to a clean road mask, block by block, with the same result as on the whole raster.

Three rules, in this order:

1. A component (8 neighbours) of pixels with at least the low level is road if any of its pixels has the high level.
2. It is dropped again if it has fewer pixels than the minimum area; holes do not count.
3. The rest, dropped components included, falls into components by 4 neighbours. One of at most the maximum hole size
   becomes road, unless it contains a nodata pixel or touches the raster's border.

A component inside a block is decided there. An open one, which touches the block's border, is decided when it has been
joined over the seams; then it is flooded from one of its pixels. About 5 ms per megapixel where a tenth is road.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.progress import Advance
from roadseg.ragged import ranges
from roadseg.raster.encoding import NODATA
from roadseg.roads.mask.components import Runs, find_runs, label_runs
from roadseg.roads.mask.passes import BlockOutput, BlockPass, Passes, Read, drained
from roadseg.roads.mask.seams import OpenComponents, Seams, find_open, whole_block
from roadseg.roads.mask.store import BlockGrid, Levels, Plane, packed_levels
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]


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

    road: Plane
    nodata: Plane
    levels: Levels | None = None

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


def clean_blocks(passes: Passes, cleaning: Cleaning, on_block: Advance, *, store_levels: bool = False) -> CleanMask:
    """Clean a raster.

    Parameters
    ----------
    passes
        Passes over the blocks of the raster that share its ``read``; their files take an eighth of a byte per pixel,
        less where nothing is. The mask, which lies in them, depends neither on the blocks nor on the number of workers.
    cleaning
        Settings for what is road.
    on_block
        Called with the number of megapixels finished since the last call; they add up to the raster's.
    store_levels
        Whether the levels of what is road are kept, too.
    """
    blocks, width = passes.grid.blocks(), passes.grid.width

    def half(megapixels: float) -> None:
        on_block(megapixels / 2)

    # Two passes over all blocks, and a third over some. What the first finds out about open roads, the second does
    # before it looks for holes (a dropped road is part of a hole), and what that finds out about open holes, the third.
    def dropped(found: Iterable[OpenComponents]) -> _Seeds:
        components = _joined(found, blocks, Seams(width, diagonal=True))
        return _seeds(seed[~(strong & (area >= cleaning.min_area_px))] for seed, area, strong in components)

    def to_fill(found: Iterable[OpenComponents]) -> _Seeds:
        components = _joined(found, blocks, Seams(width, diagonal=False))
        return _seeds(seed[~stays & (area <= cleaning.max_hole_px)] for seed, area, stays in components)

    roads = [_BlockToSearch(block, cleaning, store_levels) for block in blocks]
    seeds = passes.joined(_ROADS, roads, dropped, half)
    mask = CleanMask(passes.plane("road"), passes.plane("nodata"))
    tasks = [_BlockToFlood(block, mask, cleaning, seed) for block, seed in seeds.per_block(blocks)]
    seeds = passes.joined(_HOLES, tasks, to_fill, half)
    mask = CleanMask(passes.plane("road"), passes.plane("nodata"))
    tasks = [_BlockToFlood(block, mask, cleaning, seed) for block, seed in seeds.per_block(blocks) if len(seed)]
    passes.joined(_FILLED, tasks, drained, lambda _: None)
    return CleanMask(passes.plane("road"), passes.plane("nodata"), passes.levels() if store_levels else None)


@dataclass(frozen=True)
class _BlockToSearch:
    """A block to search for roads, and whether their levels are stored."""

    block: Window
    cleaning: Cleaning
    store_levels: bool


@dataclass(frozen=True)
class _BlockToFlood:
    """A block to clean, and (components, 2) row, col in it of one pixel of each component to drop or fill."""

    block: Window
    mask: CleanMask
    cleaning: Cleaning
    seeds: Ints


@dataclass(frozen=True)
class _Seeds:
    """Pixels of components in blocks: (blocks,) how many, and (components, 2) row, col in their block."""

    counts: Ints
    places: Ints

    def per_block(self, blocks: Sequence[Window]) -> Iterator[tuple[Window, Ints]]:
        """Yield the blocks with their pixels."""
        return zip(blocks, np.split(self.places, np.cumsum(self.counts)[:-1]), strict=True)


def _seeds(per_block: Iterable[Ints]) -> _Seeds:
    parts = list(per_block)
    counts = np.array([len(part) for part in parts], np.int64)
    return _Seeds(counts, np.concatenate([np.zeros((0, 2), np.int64), *parts]))


def _joined(
    results: Iterable[OpenComponents], blocks: Sequence[Window], seams: Seams
) -> Iterator[tuple[Ints, Ints, Bools]]:
    """Join the open components of all blocks; yield each block's seeds, joined areas and joined marks."""
    seeds = []
    for block, found in zip(blocks, results, strict=True):
        seams.add(block, found)
        seeds.append(found.seed)
    return zip(seeds, *seams.totals(), strict=True)


def _find_roads(read: Read, task: _BlockToSearch) -> BlockOutput:
    """Find one block's road, without complete components that are none; the result are the open ones."""
    levels, cleaning, masks = read(task.block), task.cleaning, {}
    none, highest = np.zeros(0, np.int64), levels.max(initial=0)
    if highest == NODATA:
        nodata = levels == NODATA
        masks["nodata"] = np.packbits(nodata, axis=1)
        highest = 0 if nodata.all() else NODATA
    if highest < cleaning.low:
        nothing = Runs(none, none, task.block.height, task.block.width)
        return BlockOutput(find_open(nothing, none.astype(np.int32), none, none.astype(bool))[0], masks)
    # low ≤ level ≤ 254 with one comparison: bytes below low wrap round to the top.
    road = (levels - np.uint8(cleaning.low) <= NODATA - 1 - cleaning.low).view(np.uint8)
    runs = find_runs(np.packbits(road, axis=1), task.block.width)
    count, labels = label_runs(runs, diagonal=True)
    area = np.bincount(labels, runs.length, count).astype(np.int64)
    strong = np.ones(count, bool)
    if cleaning.low < cleaning.high:
        strong = _reach_level(levels, cleaning.high, runs, labels, count)
    found, is_open = find_open(runs, labels, area, strong)
    dropped = ~is_open & ~(strong & (area >= cleaning.min_area_px))
    runs.where(dropped[labels]).paint(road, 0)
    if not count:
        return BlockOutput(found, masks)
    masks["road"] = np.packbits(road, axis=1)
    return BlockOutput(found, masks, packed_levels(levels, road) if task.store_levels else None)


def _reach_level(levels: Bytes, high: int, runs: Runs, labels: Int32s, count: int) -> Bools:
    """Return (components,) which components have the high level; most of them in the middle of a run."""
    start, flat = runs.first, levels.reshape(-1)
    strong = np.zeros(count, bool)
    strong[labels[flat[start + runs.length // 2] >= high]] = True
    rest = np.flatnonzero(~strong[labels])
    length = runs.length[rest]
    reached = flat[ranges(start[rest], length)] >= high
    strong[np.repeat(labels[rest], length)[reached]] = True
    return strong


def _find_holes(_: Read, task: _BlockToFlood) -> BlockOutput:
    """Drop components from a block and fill its complete holes; the result are the open ones, marked if they stay."""
    nothing = task.mask.road.is_empty(task.block)
    if nothing and task.block.area > task.cleaning.max_hole_px:
        return BlockOutput(whole_block(task.block, marked=True))
    road, width = task.mask.road.bits(task.block), task.block.width
    if len(task.seeds):
        road = _flooded(road, width, task.seeds, 0, 8)
    gaps = find_runs(road, width).complement()
    count, labels = label_runs(gaps, diagonal=False)
    area = np.bincount(labels, gaps.length, count).astype(np.int64)
    stays = area > task.cleaning.max_hole_px
    if not task.mask.nodata.is_empty(task.block):
        stays[labels[gaps.containing(find_runs(task.mask.nodata.bits(task.block), width))]] = True
    stays[labels[_at_border(gaps, task.block, task.mask.grid)]] = True
    found, is_open = find_open(gaps, labels, area, stays)
    filled = ~is_open & ~stays
    if filled.any():
        pixels = np.unpackbits(road, axis=1, count=width)
        gaps.where(filled[labels]).paint(pixels, 1)
        road = np.packbits(pixels, axis=1)
    changed = len(task.seeds) or filled.any()
    return BlockOutput(found, {"road": road} if changed else {})


def _fill(_: Read, task: _BlockToFlood) -> BlockOutput:
    """Fill the open holes of a block that are small all together."""
    return BlockOutput(None, {"road": _flooded(task.mask.road.bits(task.block), task.block.width, task.seeds, 1, 4)})


_ROADS = BlockPass("roads", _find_roads, ("road", "nodata"), OpenComponents, _Seeds)
_HOLES = BlockPass("holes", _find_holes, ("road",), OpenComponents, _Seeds)
_FILLED = BlockPass("filled", _fill, ("road",))


def _at_border(runs: Runs, block: Window, grid: BlockGrid) -> Bools:
    """Return (runs,) whether each run of a block has one of the raster's outermost pixels."""
    row, first = block.row + runs.row, block.col + runs.col
    touch: Bools = (row == 0) | (row == grid.height - 1) | (first == 0)
    touch |= first + runs.length == grid.width
    return touch


def _flooded(bits: Bytes, width: int, seeds: Ints, value: int, neighbours: int) -> Bytes:
    """Return a mask with 8 pixels per byte after setting the components of some of its pixels to a value."""
    mask = np.unpackbits(bits, axis=1, count=width)
    for row, col in seeds.tolist():
        if mask[row, col] != value:
            cv2.floodFill(mask, None, (col, row), value, flags=neighbours)
    return np.packbits(mask, axis=1)
