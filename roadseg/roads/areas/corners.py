"""Corners of the outlines in one block of a mask, and which areas continue in the next block.

A lattice point is a corner if a pixel edge along its row and one down its column end there. It belongs to one block,
that of the pixel to its southeast, so blocks need not agree on anything. Where four pixels form a chequer two
corners share a point. Areas (4-connected) are labelled block by block, and labels are united over the seams. The
cost is a few passes over the pixels; 13 bytes a corner remain.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.roads.mask.components import label_pairs
from roadseg.roads.pixel_graph import Ints
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Int32s = NDArray[np.int32]

WEST, NORTH, ALONG, CHEQUER = 1, 2, 4, 8
"""Bits of a corner: its edge along the row goes west; its edge down the column goes north; leaving it along the row
has road on the right hand; it is one of two on a chequer, whose edges down the column are not settled yet."""

_NORTHWEST, _NORTHEAST, _SOUTHWEST, _SOUTHEAST = 1, 2, 4, 8


class Mask(Protocol):
    """A raster of 0 and 1 that is read window by window."""

    def read(self, window: Window) -> Bytes:
        """Return (window.height, window.width) uint8 of any window inside the raster."""


@dataclass(frozen=True)
class Corners:
    """Corners of a block, row by row; of the two on a chequer the western one comes first.

    Parameters
    ----------
    row, col
        (corners,) int32 lattice point, which is the upper left corner of pixel (row, col).
    bits
        (corners,) uint8, see ``WEST``.
    label
        (corners,) int32: the area it is a corner of; on a chequer that of the western or eastern road pixel.
    """

    row: Int32s
    col: Int32s
    bits: Bytes
    label: Int32s


@dataclass(frozen=True)
class BlockCorners:
    """Corners of a block, the number of its labels, and the labels on its border.

    Labels of a block cover one more row above and one more column to the left, so that every corner that belongs to it
    has its four pixels::

        above   ▫ ▫ ▫ ▫ ▫     ▫ pixels of other blocks
                ▫ ▪ ▪ ▪ ▪     ▪ pixels of this one
        left →  ▫ ▪ ▪ ▪ ▪  ← right
                ▫ ▪ ▪ ▪ ▪
                  bottom

    Each side begins with its pixel from the row above or the column to the left.
    """

    corners: Corners
    count: int
    above: Int32s
    left: Int32s
    bottom: Int32s
    right: Int32s


def find_corners(mask: Mask, window: Window, height: int, width: int) -> BlockCorners:
    """Return the corners that belong to a block of a mask of ``height`` × ``width`` px."""
    pixels = _read_with_margin(mask, window, height, width)
    count, found = cv2.connectedComponents(pixels, connectivity=4, ltype=cv2.CV_32S)
    labels = np.asarray(found, dtype=np.int32)
    row, col = window.height, window.width
    border = labels[0, : col + 1], labels[: row + 1, 0], labels[row, : col + 1], labels[: row + 1, col]
    return BlockCorners(_corners(pixels, labels, window), count - 1, *(side.copy() for side in border))


def _read_with_margin(mask: Mask, window: Window, height: int, width: int) -> Bytes:
    """Read a block with one more pixel above, to the left, and beyond the end of the raster, which is no road."""
    margin = Window(window.row - 1, window.col - 1, window.height + 1, window.width + 1)
    inside = margin.intersection(Window(0, 0, height, width))
    below, right = int(window.row_stop == height), int(window.col_stop == width)
    pixels = np.zeros((margin.height + below, margin.width + right), dtype=np.uint8)
    pixels[inside.slices(margin)] = mask.read(inside)
    return pixels


class LabelUnion:
    """Numbers the labels of all blocks, and finds out which of them mean the same area."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._above = np.zeros(width + 1, dtype=np.int32)
        self._bottom = self._above.copy()
        self._left = np.zeros(0, dtype=np.int32)
        self._pairs: list[Ints] = []

    def unite(self, block: BlockCorners, window: Window) -> None:
        """Number the labels of the next block, row by row of blocks, and note which touch labels of earlier blocks."""
        if window.col == 0:
            self._above, self._bottom = self._bottom, np.zeros_like(self._bottom)
            self._left = np.zeros(window.height + 1, dtype=np.int32)
        known = np.concatenate([self._above[window.col : window.col_stop + 1], self._left])
        here = np.concatenate([block.above, block.left])
        both = np.flatnonzero((known > 0) & (here > 0))
        pairs = np.stack([known[both], here[both] + self.count], axis=1).astype(np.int64)
        self._pairs.append(np.unique(pairs, axis=0))
        self._bottom[window.col + 1 : window.col_stop + 1] = self._numbered(block.bottom[1:])
        self._left = self._numbered(block.right)
        self.count += block.count

    def areas(self) -> Ints:
        """Return (labels + 1,) the area of each label."""
        return label_pairs(self.count + 1, np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]))[1]

    def _numbered(self, labels: Int32s) -> Int32s:
        return np.where(labels > 0, labels + np.int32(self.count), np.int32(0))


def _corner_table() -> Bytes:
    """Return (16,) the bits of a corner for each way to fill the four pixels around it."""
    table = np.zeros(16, dtype=np.uint8)
    for code in range(16):
        nw, ne, sw, se = (bool(code & bit) for bit in (_NORTHWEST, _NORTHEAST, _SOUTHWEST, _SOUTHEAST))
        west, north = nw != sw, nw != ne
        leaves_along = nw if west else se
        table[code] = west * WEST + north * NORTH + leaves_along * ALONG
    table[[_NORTHEAST | _SOUTHWEST, _NORTHWEST | _SOUTHEAST]] = WEST | CHEQUER, WEST | CHEQUER | ALONG
    return table


_TABLE = _corner_table()


def _corners(pixels: Bytes, labels: Int32s, window: Window) -> Corners:
    """Return the corners that belong to a block.

    Parameters
    ----------
    pixels, labels
        (height + 1, width + 1), or one more where the raster ends: the block's own pixels begin at (1, 1).
    window
        Window of the block.
    """
    down = pixels[:-1] ^ pixels[1:]  # edges between two rows, then between two columns
    along = pixels[:, :-1] ^ pixels[:, 1:]
    found = (down[:, :-1] | down[:, 1:]) & (along[:-1] | along[1:])
    row, col = np.divmod(np.flatnonzero(found.view(np.bool_)), found.shape[1])
    code = np.zeros(len(row), dtype=np.uint8)
    for bit, (south, east) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        code |= pixels[row + south, col + east] << np.uint8(bit)
    bits = _TABLE[code]
    times = np.where(bits & CHEQUER, 2, 1)  # a chequer is written twice, then one of the two is turned east
    row, col, bits = np.repeat(row, times), np.repeat(col, times), np.repeat(bits, times)
    eastern = np.flatnonzero(bits & CHEQUER)[1::2]
    bits[eastern] &= np.uint8(255 - WEST)
    square = np.stack([labels[row + south, col + east] for south in (0, 1) for east in (0, 1)])
    label = square.max(axis=0)
    chequer = np.flatnonzero(bits & CHEQUER)
    east = (bits[chequer] & WEST) == 0
    label[chequer] = np.where(east, square[1, chequer] + square[3, chequer], square[0, chequer] + square[2, chequer])
    return Corners((row + window.row).astype(np.int32), (col + window.col).astype(np.int32), bits, label)
