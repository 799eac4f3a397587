"""What lies around the pixels of a line: how much road, and whether anything is known.

Each road pixel belongs to the nearest line pixel in its row or column, without leaving the road, at most 64 px
away: a rule that needs no distance transform, that blocks can keep exactly, and that counts no pixel twice. The sum
along a line is therefore the road's area, and over its length the road's width. About 5 ms per megapixel.
"""

import numpy as np
from numpy.typing import NDArray

from roadseg.blocks import Window
from roadseg.network.bits import BitPlane
from roadseg.network.clean import CleanMask

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

REACH_PX = 64
"""How far road pixels are counted from the line, and how far away anything unknown is noticed."""

_SLACK_PX = 2
_LOOKS_PX = (10, 20, 40, REACH_PX + _SLACK_PX)
_AT_ONCE = 1 << 22
_FAR = 1 << 20
_ID_BITS = 32


def road_area(mask: CleanMask, lines: BitPlane, block: Window) -> NDArray[np.uint16]:
    """Return (block.height, block.width) how many road pixels belong to each pixel of a line; 0 elsewhere."""
    window = block.grown(2 * REACH_PX)
    road, line = mask.read(window), lines.read(window)
    ids = np.zeros(road.shape, np.int64)
    pixels = np.flatnonzero(line)
    ids.reshape(-1)[pixels] = np.arange(len(pixels))
    in_col, places_in_col = _nearest(np.ascontiguousarray(road.T), np.ascontiguousarray(line.T), ids.T)
    col, row = np.divmod(places_in_col, window.height)
    best = np.empty(road.size, np.int64)
    best[row * window.width + col] = in_col + (np.int64(1) << _ID_BITS)
    in_row, places = _nearest(road, line, ids)
    owner = np.minimum(in_row, best[places])
    owner = owner[owner >> (_ID_BITS + 1) <= REACH_PX] & ((1 << _ID_BITS) - 1)
    area = np.zeros(road.shape, np.uint16)
    area.reshape(-1)[pixels] = np.bincount(owner, minlength=len(pixels))
    return area[block.slices(window)]


def _nearest(road: Bytes, line: Bytes, ids: Ints) -> tuple[Ints, Ints]:
    """Return for each road pixel, row by row, twice how far the nearest line pixel of its run is, above that one's id.

    The line pixels divide a run among them, each up to the middle of the way to the next; of two equally near ones the
    former takes the pixel.
    """
    places = np.flatnonzero(road)
    begins = np.ones(len(places), bool)
    begins[1:] = (np.diff(places) != 1) | (places[1:] % road.shape[1] == 0)
    bounds = np.append(np.flatnonzero(begins), len(places))
    centres = np.flatnonzero(line.reshape(-1)[places])
    run = np.searchsorted(bounds, centres, side="right") - 1
    lower, upper = bounds[run], bounds[run + 1]
    same = run[1:] == run[:-1]
    middle = (centres[1:] + centres[:-1]) // 2 + 1
    lower[1:][same] = middle[same]
    upper[:-1][same] = middle[same]
    edges = np.column_stack([lower, upper]).ravel()
    lengths = np.diff(edges, prepend=0, append=len(places))
    nobody = np.full(len(centres) + 1, -_FAR)
    centre = np.repeat(_interleaved(nobody, centres), lengths)
    owner = np.repeat(_interleaved(np.zeros_like(nobody), ids[np.divmod(places[centres], road.shape[1])]), lengths)
    distance = np.abs(np.arange(len(places)) - centre)
    return (distance << (_ID_BITS + 1)) + owner, places


def _interleaved(one: Ints, other: Ints) -> Ints:
    """Return ``one[0], other[0], one[1], …``; ``one`` has one more."""
    both = np.empty(len(one) + len(other), np.int64)
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
    window = block.grown(_LOOKS_PX[-1])
    inside = window.intersection(mask.cut.raster) == window
    if not len(row) or (inside and mask.unknown.is_empty(window)):
        return found
    known = mask.known(window)
    sought = np.stack([1 - known, known & (1 - mask.read(window))])
    left = np.arange(len(row))
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
