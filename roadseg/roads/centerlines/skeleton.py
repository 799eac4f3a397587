"""From a clean road mask to lines one pixel wide, block by block, equal to thinning the whole raster.

What thinning does to a pixel within n steps depends on n pixels around it. So a block is thinned with a halo; if the
last step that changed anything came early enough, nothing beyond the halo mattered and the block is exact. Otherwise
it is thinned again with a wider halo, and at last with the widest, where steps are limited. No road is that wide:
where a square of 129 px fits into the mask, its middle is removed first, so that a car park or a runway becomes a
line around it and is marked as areal. All these rules are local, hence the same for any blocks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.roads.mask.clean import CleanMask
from roadseg.roads.mask.store import Plane
from roadseg.thinning import thin_bits
from roadseg.windows import Window

Bytes = NDArray[np.uint8]

AREAL_PX = 64
"""A pixel of the mask farther than this from any other, in rows or columns, belongs to no road."""

_HALOS_PX = (64, 112, 168, 264)
_MARGIN_PX = 8
_MOST_STEPS = _HALOS_PX[-1] - _MARGIN_PX
_TILE_PX = 8
_SOLID_TILES = (_HALOS_PX[0] - _TILE_PX + 1) // _TILE_PX
"""Any square of the mask as wide as the first halo contains a square of so many full tiles."""


@dataclass(frozen=True)
class Skeleton:
    """Lines one pixel wide and the areal zone of a raster."""

    lines: Plane
    areal: Plane


def thin_block(mask: CleanMask, block: Window) -> dict[str, Bytes]:
    """Thin one block and return its ``lines`` and its ``areal`` zone, if it has any; both with 8 pixels per byte."""
    if mask.road.is_empty(block):
        return {}
    road = mask.road.bits(block.grown(_HALOS_PX[0]))
    if not _has_square(road, _SOLID_TILES):
        lines, steps = thin_bits(road, most=_MOST_STEPS)
        if steps + _MARGIN_PX <= _HALOS_PX[0]:
            return {"lines": _without_halo(lines, _HALOS_PX[0], block)}
    for halo in _HALOS_PX[1:]:
        window = block.grown(halo)
        interior = _areal_interior(mask, window)
        lines, steps = thin_bits(mask.road.bits(window) & ~np.packbits(interior, axis=1), most=_MOST_STEPS)
        if steps + _MARGIN_PX <= halo:
            break
    if not interior.any():
        return {"lines": _without_halo(lines, halo, block)}
    side = 2 * AREAL_PX + 1
    zone = cv2.dilate(interior, np.ones((side, 1), np.uint8))
    zone = cv2.dilate(zone, np.ones((1, side), np.uint8))
    areal = np.packbits(zone.astype(np.uint8, copy=False), axis=1)
    return {"lines": _without_halo(lines, halo, block), "areal": _without_halo(areal, halo, block)}


def _without_halo(bits: Bytes, halo: int, block: Window) -> Bytes:
    """Return the bits of a block without a halo of whole bytes."""
    inner = bits[halo : halo + block.height, halo // 8 :][:, : -(-block.width // 8)].copy()
    inner[:, -1] &= 255 << -block.width % 8 & 255
    return inner


def _areal_interior(mask: CleanMask, window: Window) -> Bytes:
    """Return (height, width) uint8, 1 where the mask reaches farther than ``AREAL_PX`` in all directions."""
    around = window.grown(AREAL_PX + 1)
    road = mask.road.bits(around)
    if not _has_square(road, (2 * AREAL_PX + 2 - _TILE_PX) // _TILE_PX):
        return np.zeros((window.height, window.width), np.uint8)
    far = cv2.distanceTransform(np.unpackbits(road, axis=1, count=around.width), cv2.DIST_C, 3) > AREAL_PX
    return far[AREAL_PX + 1 : -AREAL_PX - 1, AREAL_PX + 1 : -AREAL_PX - 1].view(np.uint8)


def _has_square(bits: Bytes, tiles: int) -> bool:
    """Return whether a mask contains a square of so many full tiles a side; tiles are 8 × 8 px, on a fixed lattice."""
    height = len(bits) // _TILE_PX
    # Eight pixels packed into a byte are full if it is 255, a tile if its eight bytes are.
    full = (bits[: height * _TILE_PX] == 255).reshape(height, _TILE_PX, bits.shape[1]).all(axis=1)
    if not full.any():
        return False
    kernel = np.ones((tiles, tiles), np.uint8)
    return bool(cv2.erode(np.pad(full.view(np.uint8), tiles), kernel).any())
