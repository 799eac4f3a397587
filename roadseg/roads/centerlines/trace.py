"""From lines one pixel wide to nodes and chains of pixels, one block at a time.

Two pixels are linked if they share a side, or a corner and neither of the two pixels beside that corner is set (mixed
adjacency): so a diagonal staircase has no triangles. A pixel with one link or none is an end. Pixels with three links
or more, and those of a full square of four, are junctions; linked junction pixels are one node. All others are strung
to chains. Each of these facts needs no more than a pixel's eight neighbours, so a block needs a halo of one pixel.
What crosses the rim is noted by the link it crosses on; the block beyond notes the same link. About 3 ms per megapixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.centerlines.chains import find_chains
from roadseg.roads.mask.components import label_pairs
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ROW = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
_COL = np.array([0, 1, 1, 1, 0, -1, -1, -1])
_FORWARD = 2, 3, 4, 5
"""Directions, clockwise from up; those that lead to a later pixel are right and the three below."""

_OFFSET = np.where(np.isin(np.arange(8), _FORWARD), 0, 1)
_LINK = np.array([2, 3, 0, 1, 2, 3, 0, 1])
"""From a link's direction: whether its earlier pixel is the other one, and a number for its slope."""

_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1
_DEGREE = _BITS.sum(axis=1).astype(np.uint8)
_SIDE = np.stack([_BITS.argmax(axis=1), 7 - _BITS[:, ::-1].argmax(axis=1)], axis=1)
"""From the code of a pixel's links: their number, and the first and last of their directions."""


@dataclass(frozen=True)
class Crossings:
    """Links over a block's rim.

    Parameters
    ----------
    link
        (crossings,) int64: a number that only this link has in the raster.
    owner
        (crossings,) int64: ``2 × piece + side``, or ``-1 - node``.
    """

    link: Ints
    owner: Ints


@dataclass(frozen=True)
class Traced:
    """Nodes and pieces of lines in one block.

    Parameters
    ----------
    first
        (nodes,) int64: ``row × width + column`` in the raster of each node's first pixel.
    count, rows, cols
        (nodes,) int64: how many pixels a node has, and the sums of their rows and columns in the raster.
    is_junction
        (nodes,) bool: or else an end.
    starts, places
        (pieces + 1,) int64 and (vertices, 2) int32: each piece's pixels in order, row and column in the raster.
    ends
        (pieces, 2) int64: the node at both ends of a piece, or -1.
    closed
        (pieces,) bool: rings, beginning with their first pixel.
    crossings
        Where pieces and nodes go on in other blocks.
    """

    first: Ints
    count: Ints
    rows: Ints
    cols: Ints
    is_junction: Bools
    starts: Ints
    places: NDArray[np.int32]
    ends: Ints
    closed: Bools
    crossings: Crossings


@dataclass(frozen=True)
class _Pixels:
    """The line pixels of a block, row by row.

    Parameters
    ----------
    row, col
        (pixels,) int64 in the raster.
    code
        (pixels,) uint8: a bit for each direction there is a link in.
    junction
        (pixels,) bool.
    beside
        (height + 2, width + 2) int32, flat: the number of the pixel at each place, -1 on the rim outside.
    at, stride
        (pixels,) int64 places in ``beside``, and how far its rows are apart.
    width
        Of the raster.
    """

    row: Ints
    col: Ints
    code: Bytes
    junction: Bools
    beside: NDArray[np.int32]
    at: Ints
    stride: int
    width: int

    def neighbour(self, which: Ints, direction: Ints) -> Ints:
        """Return the pixels in some direction, -1 beyond the block; there must be a link."""
        found: Ints = self.beside[self.at[which] + _ROW[direction] * self.stride + _COL[direction]].astype(np.int64)
        return found

    def link(self, which: Ints, direction: Ints) -> Ints:
        """Return the numbers of links."""
        back = _OFFSET[direction]
        row, col = self.row[which] + back * _ROW[direction], self.col[which] + back * _COL[direction]
        number: Ints = (row * self.width + col) * 4 + _LINK[direction]
        return number


def trace(lines: Bytes, block: Window, width: int) -> Traced:
    """Trace one block.

    Parameters
    ----------
    lines
        (block.height + 2, block.width + 2) uint8, 0 or 1: one pixel more on each side.
    block
        Place in the raster.
    width
        Of the raster.
    """
    pixels = _pixels(lines, block, width)
    is_chain = (_DEGREE[pixels.code] == 2) & ~pixels.junction
    node, is_junction = _nodes(pixels, is_chain)
    on_chain = np.flatnonzero(is_chain)
    thing = np.full(len(is_chain) + 1, -1)
    thing[on_chain] = np.arange(len(on_chain))
    which, direction = np.repeat(on_chain, 2), _SIDE[pixels.code[on_chain]].reshape(-1).astype(np.int64)
    other = pixels.neighbour(which, direction)
    side = _SIDE[pixels.code[other], 1] == (direction + 4) % 8
    chains = find_chains(np.where(thing[other] >= 0, 2 * thing[other] + side, -1))
    pixel = on_chain[chains.order]
    there = other[chains.ends]
    ends = np.where((there >= 0) & ~chains.closed[:, None], node[there], -1)
    outside = np.flatnonzero((there < 0).ravel())
    rim = chains.ends.ravel()[outside]
    bare = _bare_edges(pixels, is_chain, node)
    crossings = _node_crossings(pixels, node)
    return Traced(
        **_summed(pixels, node, len(is_junction)),
        is_junction=is_junction,
        starts=np.concatenate([chains.starts, np.full(len(bare), len(pixel))]),
        places=np.column_stack([pixels.row[pixel], pixels.col[pixel]]).astype(np.int32),
        ends=np.concatenate([ends, bare]),
        closed=np.concatenate([chains.closed, np.zeros(len(bare), bool)]),
        crossings=Crossings(
            np.concatenate([pixels.link(which[rim], direction[rim]), crossings.link]),
            np.concatenate([outside, crossings.owner]),
        ),
    )


def _pixels(lines: Bytes, block: Window, width: int) -> _Pixels:
    """Find the pixels of a block and their links."""
    stride, flat = block.width + 2, lines.reshape(-1)
    row, col = np.divmod(np.flatnonzero(lines[1:-1, 1:-1].view(bool)), block.width)
    at = (row + 1) * stride + col + 1
    n, ne, e, se, s, sw, w, nw = (flat[at + dr * stride + dc] for dr, dc in zip(_ROW, _COL, strict=True))
    links = (n, ne & ~(n | e), e, se & ~(s | e), s, sw & ~(s | w), w, nw & ~(n | w))
    code = np.zeros(len(at), np.uint8)
    for bit, link in enumerate(links):
        code |= link << np.uint8(bit)
    square = (n & e & ne) | (e & s & se) | (s & w & sw) | (w & n & nw)
    beside = np.empty(flat.shape, np.int32)
    beside[at] = np.arange(len(at))
    rim = beside.reshape(-1, stride)
    rim[0], rim[-1], rim[:, 0], rim[:, -1] = -1, -1, -1, -1
    junction = (_DEGREE[code] > 2) | (square > 0)
    return _Pixels(row + block.row, col + block.col, code, junction, beside, at, stride, width)


def _nodes(pixels: _Pixels, is_chain: Bools) -> tuple[Ints, Bools]:
    """Return (pixels,) the node of each pixel, -1 on chains, and (nodes,) which are junctions."""
    members = np.flatnonzero(pixels.junction)
    number = np.zeros(len(is_chain), np.int64)
    number[members] = np.arange(len(members))
    one, two = [], []
    for direction in _FORWARD:
        here = members[(pixels.code[members] >> direction) & 1 > 0]
        there = pixels.neighbour(here, np.full(len(here), direction))
        both = (there >= 0) & pixels.junction[there]
        one.append(number[here[both]])
        two.append(number[there[both]])
    pairs = np.column_stack([np.concatenate(one), np.concatenate(two)])
    count, labels = label_pairs(len(members), pairs)
    ends = np.flatnonzero(~pixels.junction & ~is_chain)
    node = np.full(len(is_chain), -1)
    node[members], node[ends] = labels, count + np.arange(len(ends))
    return node, np.arange(count + len(ends)) < count


def _summed(pixels: _Pixels, node: Ints, count: int) -> dict[str, Ints]:
    """Return for each node its first pixel, how many it has, and the sums of their rows and columns."""
    members = np.flatnonzero(node >= 0)
    of = node[members]
    first = np.zeros(count, np.int64)
    first[of[::-1]] = (pixels.row * pixels.width + pixels.col)[members[::-1]]
    return {
        "first": first,
        "count": np.bincount(of, minlength=count),
        "rows": np.bincount(of, pixels.row[members], count).astype(np.int64),
        "cols": np.bincount(of, pixels.col[members], count).astype(np.int64),
    }


def _bare_edges(pixels: _Pixels, is_chain: Bools, node: Ints) -> Ints:
    """Return (edges, 2) the nodes of edges without a pixel between: from an end to whatever node is beside it."""
    ends = np.flatnonzero((_DEGREE[pixels.code] == 1) & ~pixels.junction)
    there = pixels.neighbour(ends, _SIDE[pixels.code[ends], 0].astype(np.int64))
    bare = (there >= 0) & ~is_chain[there] & (pixels.junction[there] | (there > ends))
    return np.column_stack([node[ends[bare]], node[there[bare]]])


def _node_crossings(pixels: _Pixels, node: Ints) -> Crossings:
    """Return the links by which nodes go on in other blocks."""
    links, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    members = np.flatnonzero(node >= 0)
    for direction in range(8):
        here = members[(pixels.code[members] >> direction) & 1 > 0]
        directions = np.full(len(here), direction)
        out = pixels.neighbour(here, directions) < 0
        links.append(pixels.link(here[out], directions[out]))
        owners.append(-1 - node[here[out]])
    return Crossings(np.concatenate(links), np.concatenate(owners))
