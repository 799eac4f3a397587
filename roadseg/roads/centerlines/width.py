"""What lies around the pixels of a line: how much road, and whether nodata is near.

Each road pixel belongs to the nearest line pixel in its row or column, without leaving the road, at most 64 px away:
a rule that needs no distance transform, that blocks can keep exactly, and that counts no pixel twice. So the sum along
a line is the road's area, and divided by its length the road's width. About 6 ms per megapixel where a tenth is road.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import offsets, ranges
from roadseg.roads.mask.clean import CleanMask
from roadseg.roads.mask.components import set_bits
from roadseg.roads.mask.store import Plane
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

REACH_PX = 64
"""How far from the line road pixels are counted, and nodata counts as near."""

_SLACK_PX = 2
_LOOKS_PX = (10, 20, 40, REACH_PX + _SLACK_PX)
_CHUNK_PX = 1 << 20
_TILE_PX = 512


def road_area(mask: CleanMask, lines: Plane, block: Window) -> NDArray[np.uint16]:
    """Return (block.height, block.width) the number of road pixels that belong to each pixel of a line; 0 elsewhere."""
    # A road pixel may have a line pixel in its row and another in its column, and belongs to the nearer one, in its row
    # if they are equally near. Here o has one 2 px away in its row, and one 1 px away in its column:
    #
    #     . . # . .     # line
    #     . . o ─ #     o belongs to the # above it
    window = block.grown(2 * REACH_PX + 1)
    window = Window(window.row, window.col, window.height, -(-window.width // 8) * 8)
    shape, line = (window.height, window.width), set_bits(_packed(lines, window))
    road = _packed(mask.road, window)
    # The ends of runs of road are where a pixel differs from the one before: to its left (the mask shifted by a bit,
    # with a carry between bytes), or above it (the mask shifted by a row).
    before: Bytes = road >> np.uint8(1)
    before[:, 1:] |= road[:, :-1] << np.uint8(7)
    in_rows = _shares(set_bits(road ^ before), line, shape, transposed=False)
    above = np.zeros_like(road)
    above[1:] = road[:-1]
    in_columns = _shares(_transposed(set_bits(road ^ above), shape), _transposed(line, shape), shape, transposed=True)
    area = np.zeros(shape, np.uint16)
    flat = area.reshape(-1)
    flat[in_rows.lines] = in_rows.count(in_rows.distance <= in_columns.distances(shape).take(in_rows.members))
    flat[in_columns.lines] += in_columns.count(in_columns.distance < in_rows.distances(shape).take(in_columns.members))
    return area[block.slices(window)]


def _packed(plane: Plane, window: Window) -> Bytes:
    """Return the mask in a window with 8 pixels per byte; its last row and column are set to 0, so that runs end."""
    packed = plane.bits(window)
    packed[:, -1] &= 254
    packed[-1] = 0
    return packed


def _transposed(indices: Ints, shape: tuple[int, int]) -> Ints:
    """Return flat indices in a mask as flat indices in its transpose, sorted."""
    row, col = np.divmod(indices, shape[1])
    transposed: Ints = np.sort(col * shape[0] + row)
    return transposed


@dataclass(frozen=True)
class _Shares:
    """Road pixels divided among the line pixels of the same row, or of the same column.

    Parameters
    ----------
    lines
        (line pixels,) int64 flat indices in the mask.
    starts
        (line pixels,) int64: where the share of each begins in ``members``; none is empty.
    members
        (shared pixels,) int64 flat indices in the mask.
    distance
        (shared pixels,) uint8 from each member to its line pixel.
    """

    lines: Ints
    starts: Ints
    members: Ints
    distance: Bytes

    def distances(self, shape: tuple[int, ...]) -> Bytes:
        """Return (height * width,) the distance of each pixel of the mask, 255 where none is shared."""
        everywhere = np.full(math.prod(shape), 255, np.uint8)
        everywhere[self.members] = self.distance
        return everywhere

    def count(self, kept: Bools) -> NDArray[np.uint16]:
        """Return (line pixels,) the number of each one's members that are kept."""
        counts: Ints = np.diff(offsets(kept)[np.append(self.starts, len(kept))])
        return counts.astype(np.uint16)


def _shares(changes: Ints, lines: Ints, shape: tuple[int, int], *, transposed: bool) -> _Shares:
    """Divide runs of road among the line pixels in them, each up to halfway to the next; the former gets the middle.

    Parameters
    ----------
    changes
        Flat indices, sorted, where runs begin and end by turns.
    lines
        (line pixels,) flat indices, sorted.
    shape
        Height and width of the mask.
    transposed
        Whether both are indices in the transposed mask; the result is not.
    """
    #     . a a a L a a b b L b b .      one run with two line pixels
    #       │           │         │
    #     start      middle     stop
    start, stop = changes[::2], changes[1::2]
    run = np.searchsorted(start, lines, side="right") - 1
    lower, upper = np.maximum(start[run], lines - REACH_PX), np.minimum(stop[run], lines + REACH_PX + 1)
    middle = (lines[1:] + lines[:-1]) // 2 + 1
    same = run[1:] == run[:-1]
    np.maximum(lower[1:], middle, out=lower[1:], where=same)
    np.minimum(upper[:-1], middle, out=upper[:-1], where=same)
    count, offset = upper - lower, ranges(lower - lines, upper - lower)
    distance = np.abs(offset).astype(np.uint8)
    if transposed:
        col, row = np.divmod(lines, shape[0])
        lines, offset = row * shape[1] + col, offset * shape[1]
    return _Shares(lines, np.cumsum(count) - count, np.repeat(lines, count) + offset, distance)


def near_nodata(mask: CleanMask, row: Ints, col: Ints, block: Window) -> Bools:
    """Return (pixels,) whether the road at pixels of a block's lines may continue where the raster has no data.

    It may if nodata, or the raster's border, is not much farther away than the nearest valid pixel that is not road,
    both measured in rows or columns.

    Parameters
    ----------
    mask
        The raster's road and nodata pixels.
    row, col
        (pixels,) int64 in the raster.
    block
        The block, in which all pixels lie.
    """
    near = np.zeros(len(row), bool)
    size, look = mask.grid.raster, _LOOKS_PX[-1]
    outermost = np.minimum(np.minimum(row, size.height - 1 - row), np.minimum(col, size.width - 1 - col)) < REACH_PX
    rest = np.arange(len(row)) if not mask.nodata.is_empty(block.grown(look)) else np.flatnonzero(outermost)
    tile = row[rest] // _TILE_PX * size.width + col[rest] // _TILE_PX
    order = np.argsort(tile, kind="stable")
    for pixels in np.split(rest[order], np.flatnonzero(np.diff(tile[order])) + 1) if len(rest) else ():
        top, left = int(row[pixels].min()), int(col[pixels].min())
        window = Window(top, left, int(row[pixels].max()) + 1 - top, int(col[pixels].max()) + 1 - left).grown(look)
        concerned = pixels if not mask.nodata.is_empty(window) else pixels[outermost[pixels]]
        if len(concerned):
            near[concerned] = _near_nodata(mask, row[concerned], col[concerned], window)
    return near


def _near_nodata(mask: CleanMask, row: Ints, col: Ints, window: Window) -> Bools:
    """See ``near_nodata``; the pixels lie well inside the window. Looks farther and farther, for those undecided."""
    valid = mask.valid(window)
    targets = np.stack([1 - valid, valid & (1 - mask.read(window))])
    near, rest = np.zeros(len(row), bool), np.arange(len(row))
    for look in _LOOKS_PX:
        size = max(1, _CHUNK_PX // (2 * look + 1) ** 2)
        chunks = [rest[i : i + size] for i in range(0, len(rest), size)]
        found = [_distances(targets, row[chunk] - window.row, col[chunk] - window.col, look) for chunk in chunks]
        nodata, roadside = np.concatenate([np.zeros((2, 0), np.int64), *found], axis=1)
        near[rest] = (nodata <= min(look, REACH_PX)) & (nodata <= roadside + _SLACK_PX)
        rest = rest[(nodata > look) & (roadside + _SLACK_PX > look)]
    return near


def _distances(targets: Bytes, row: Ints, col: Ints, look: int) -> Ints:
    """Return (targets, pixels) the distance to the nearest pixel of each target; more than ``look`` if there is none.

    Parameters
    ----------
    targets
        (targets, height, width) uint8, 1 for the pixels to find.
    row, col
        (pixels,) int64 in them.
    look
        How far to look in rows and columns.
    """
    reach = np.arange(-look, look + 1)
    ring = np.maximum(np.abs(reach)[:, None], np.abs(reach))
    patch = targets[:, row[:, None, None] + reach[:, None], col[:, None, None] + reach]
    distance: Ints = np.where(patch > 0, ring, 4 * look).min(axis=(2, 3))
    return distance
