"""What lies around the pixels of a line: how much road, and whether anything is known.

Each road pixel belongs to the nearest line pixel in its row or column, without leaving the road, at most 64 px
away: a rule that needs no distance transform, that blocks can keep exactly, and that counts no pixel twice. The sum
along a line is therefore the road's area, and over its length the road's width. About 10 ms per megapixel.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.blocks import Window
from roadseg.network.bits import BitPlane, Cut
from roadseg.network.clean import CleanMask

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

REACH_PX = 64
"""How far road pixels are counted from the line, and how far away anything unknown is noticed."""

_SLACK_PX = 2
_LOOKS_PX = (10, 20, 40, REACH_PX + _SLACK_PX)
_AT_ONCE = 1 << 20
_TILE_PX = 256
_FAR = 1 << 20
_ID_BITS = 24


def road_area(mask: CleanMask, lines: BitPlane, block: Window) -> NDArray[np.uint16]:
    """Return (block.height, block.width) how many road pixels belong to each pixel of a line; 0 elsewhere."""
    window = block.grown(2 * REACH_PX)
    road, line = mask.read(window), lines.read(window)
    pixels = np.flatnonzero(line.view(bool))
    if len(pixels) >= 1 << _ID_BITS:
        raise ValueError(f"blocks of {block.height} × {block.width} px are too large")
    ids = np.arange(len(pixels), dtype=np.uint32)
    in_row, places = _nearest(road, line, ids)
    by_col = np.argsort(pixels % window.width, kind="stable").astype(np.uint32)
    in_col, turned = _nearest(_turned(road), _turned(line), by_col)
    col, row = np.divmod(turned.astype(np.int32), np.int32(window.height))
    best = np.empty(road.size, np.uint32)
    best[row * np.int32(window.width) + col] = in_col | np.uint32(1 << _ID_BITS)
    owner = np.minimum(in_row, best[places])
    owner = owner[owner >> (_ID_BITS + 1) <= REACH_PX] & np.uint32((1 << _ID_BITS) - 1)
    area = np.zeros(road.shape, np.uint16)
    area.reshape(-1)[pixels] = np.bincount(owner.astype(np.int64), minlength=len(pixels))
    return area[block.slices(window)]


def _turned(mask: Bytes) -> Bytes:
    """Return rows for columns; OpenCV is ten times faster at this than a copy in NumPy."""
    return cv2.transpose(mask).astype(np.uint8, copy=False)


def _nearest(road: Bytes, line: Bytes, ids: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], Ints]:
    """Return for each road pixel, row by row, how far the nearest line pixel of its run is and, below that, its id.

    The line pixels divide a run among them, each up to the middle of the way to the next; of two equally near ones the
    former takes the pixel.
    """
    places = np.flatnonzero(road.view(bool))
    begins = np.ones(len(places), bool)
    begins[1:] = (places[1:] - places[:-1] != 1) | (places[1:] % road.shape[1] == 0)
    bounds = np.append(np.flatnonzero(begins), len(places))
    centres = np.flatnonzero(line.reshape(-1)[places].view(bool))
    run = np.searchsorted(bounds, centres, side="right") - 1
    lower, upper = bounds[run], bounds[run + 1]
    same = run[1:] == run[:-1]
    middle = (centres[1:] + centres[:-1]) // 2 + 1
    lower[1:][same] = middle[same]
    upper[:-1][same] = middle[same]
    lengths = np.diff(_interleaved(lower, upper), prepend=0, append=len(places))
    nobody = np.full(len(centres) + 1, -_FAR)
    centre = np.repeat(_interleaved(nobody, centres).astype(np.int32), lengths)
    owner = np.repeat(_interleaved(np.zeros(len(centres) + 1, np.uint32), ids), lengths)
    distance = np.minimum(np.abs(np.arange(len(places), dtype=np.int32) - centre), 2 * REACH_PX - 1)
    return (distance.astype(np.uint32) << np.uint32(_ID_BITS + 1)) | owner, places


def _interleaved(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return ``one[0], other[0], one[1], …``; ``one`` has as many or one more."""
    both = np.empty(len(one) + len(other), one.dtype)
    both[::2], both[1::2] = one, other
    return both


def near_unknown(mask: CleanMask, row: Ints, col: Ints, block: Window) -> Bools:
    """Say which pixels of a block's roads lie where the road may go on unseen.

    That is where something not known, or the raster's border, is not much farther away than the nearest
    pixel known to be no road, both measured in rows or columns.

    Parameters
    ----------
    row, col
        (pixels,) int64 in the raster.
    """
    found = np.zeros(len(row), bool)
    size, look = mask.cut.raster, _LOOKS_PX[-1]
    outside = np.minimum(np.minimum(row, size.height - 1 - row), np.minimum(col, size.width - 1 - col)) < REACH_PX
    for tile in Cut(size.height, size.width, _TILE_PX).touching(block):
        here = (row // _TILE_PX == tile[1].row // _TILE_PX) & (col // _TILE_PX == tile[1].col // _TILE_PX)
        window = tile[1].grown(look)
        which = np.flatnonzero(here if not mask.unknown.is_empty(window) else here & outside)
        if len(which):
            found[which] = _near_unknown(mask, row[which], col[which], window)
    return found


def _near_unknown(mask: CleanMask, row: Ints, col: Ints, window: Window) -> Bools:
    """See `near_unknown`; the pixels lie well inside the window."""
    known = mask.known(window)
    sought = np.stack([1 - known, known & (1 - mask.read(window))])
    found, left = np.zeros(len(row), bool), np.arange(len(row))
    for look in _LOOKS_PX:
        some = max(1, _AT_ONCE // (2 * look + 1) ** 2)
        parts = [left[i : i + some] for i in range(0, len(left), some)]
        ways = [_distances(sought, row[part] - window.row, col[part] - window.col, look) for part in parts]
        unseen, bare = np.concatenate([np.zeros((2, 0), np.int64), *ways], axis=1)
        found[left] = (unseen <= min(look, REACH_PX)) & (unseen <= bare + _SLACK_PX)
        left = left[(unseen > look) & (bare + _SLACK_PX > look)]
    return found


def _distances(sought: Bytes, row: Ints, col: Ints, look: int) -> Ints:
    """Return (kinds, pixels) how far the nearest pixel of each kind is; more than ``look`` if none is within that."""
    reach = np.arange(-look, look + 1)
    ring = np.maximum(np.abs(reach)[:, None], np.abs(reach))
    patch = sought[:, row[:, None, None] + reach[:, None], col[:, None, None] + reach]
    far: Ints = np.where(patch > 0, ring, 4 * look).min(axis=(2, 3))
    return far
