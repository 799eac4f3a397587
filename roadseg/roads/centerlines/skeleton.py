"""From a clean road mask to lines one pixel wide, block by block, equal to thinning the whole raster.

What thinning does to a pixel within n steps depends on n pixels around it. A block is therefore thinned with a halo;
if the last step that changed anything came early enough, what lies beyond the halo had no say and the block is exact.
Otherwise it is done again with a wider halo, at last with the widest, where the steps end. Roads are not that wide:
where a square of 129 px fits into the mask, its middle is taken out first, so that a car park or a runway becomes
a line around it, and is noted as areal. All these rules are local, hence the same for any blocks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.roads.mask.clean import CleanMask
from roadseg.roads.mask.store import BitPlane
from roadseg.thinning import peel
from roadseg.windows import Window

Bytes = NDArray[np.uint8]

AREAL_PX = 64
"""What is farther than this from anything that is not road, in rows or columns, is no road."""

_HALOS = (64, 112, 168, 264)
_MARGIN = 8
_MOST_STEPS = _HALOS[-1] - _MARGIN
_TILE = 8
_SOLID_TILES = (_HALOS[0] - _TILE + 1) // _TILE


@dataclass(frozen=True)
class Skeleton:
    """Middle lines and the areal zone of a raster, on disk."""

    lines: BitPlane
    areal: BitPlane


def thin_block(mask: CleanMask, skeleton: Skeleton, block: Window) -> None:
    """Thin one block and write what comes of it."""
    if mask.road.is_empty(block):
        return
    road = mask.read(block.grown(_HALOS[0]))
    if not _has_square(road, _SOLID_TILES):
        lines, steps = peel(road, most=_MOST_STEPS)
        if steps + _MARGIN <= _HALOS[0]:
            skeleton.lines.write(block, _core(lines, _HALOS[0]))
            return
    for halo in _HALOS[1:]:
        window = block.grown(halo)
        deep = _deep(mask, window)
        lines, steps = peel(mask.read(window) & ~deep, most=_MOST_STEPS)
        if steps + _MARGIN <= halo:
            break
    skeleton.lines.write(block, _core(lines, halo))
    if deep.any():
        side = 2 * AREAL_PX + 1
        zone = cv2.dilate(deep, np.ones((side, 1), np.uint8))
        zone = cv2.dilate(zone, np.ones((1, side), np.uint8))
        skeleton.areal.write(block, _core(zone.astype(np.uint8, copy=False), halo))


def _core(array: Bytes, halo: int) -> Bytes:
    return array[halo:-halo, halo:-halo]


def _deep(mask: CleanMask, window: Window) -> Bytes:
    """Return (height, width) uint8, 1 where the road reaches farther than `AREAL_PX` in all directions."""
    road = mask.read(window.grown(AREAL_PX + 1))
    if not _has_square(road, (2 * AREAL_PX + 2 - _TILE) // _TILE):
        return np.zeros((window.height, window.width), np.uint8)
    far = cv2.distanceTransform(road, cv2.DIST_C, 3) > AREAL_PX
    return _core(far.view(np.uint8), AREAL_PX + 1)


def _has_square(mask: Bytes, tiles: int) -> bool:
    """Say whether a square of so many full tiles lies in a mask; tiles lie on a lattice of 8 px."""
    height, width = mask.shape[0] // _TILE, mask.shape[1] // _TILE
    packed = np.packbits(mask, axis=1)[: height * _TILE, :width] == 255
    full = packed.reshape(height, _TILE, width).all(axis=1)
    if not full.any():
        return False
    kernel = np.ones((tiles, tiles), np.uint8)
    return bool(cv2.erode(np.pad(full.view(np.uint8), tiles), kernel).any())
