"""From lines one pixel wide to nodes and segments of pixels, one block at a time.

Two pixels are linked if they share a side, or a corner while neither of the two pixels beside that corner is set
(mixed adjacency): so a diagonal staircase has no triangles. A pixel with one link or none is an end. Pixels with three
links or more, and those of a full square of four, are junctions; linked junction pixels are one node. All others are
strung to segments. All this depends on a pixel's eight neighbours only, so a block needs a halo of one pixel. A link
to a pixel of the next block has a number that both blocks know it by. About 3 ms per megapixel.
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

# The eight directions are numbered clockwise from up; bit ``d`` of a pixel's code is set if it has a link in direction
# ``d``. Four directions lead forward, to a later pixel in row order. A link has the number of its earlier pixel in the
# raster, times 4, plus the number of the direction that it leaves from there:
#
#     7 0 1          x 0          x     earlier pixel
#     6 . 2        3 2 1          0–3   link numbers of its forward directions
#     5 4 3
_ROW = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
_COL = np.array([0, 1, 1, 1, 0, -1, -1, -1])
_FORWARD = 2, 3, 4, 5
_IS_BACKWARD = np.where(np.isin(np.arange(8), _FORWARD), 0, 1)
_LINK = np.array([2, 3, 0, 1, 2, 3, 0, 1])

# By code: the number of links, and the directions of the first and the last. Those of a pixel with two links are its
# sides 0 and 1.
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1
_DEGREE = _BITS.sum(axis=1).astype(np.uint8)
_SIDE = np.stack([_BITS.argmax(axis=1), 7 - _BITS[:, ::-1].argmax(axis=1)], axis=1)


@dataclass(frozen=True)
class Crossings:
    """Links between a block and its neighbours.

    Parameters
    ----------
    link
        (crossings,) int64 number of the link, unique in the raster.
    owner
        (crossings,) int64, what crosses there: ``2 * segment + side``, or ``-1 - node``.
    """

    link: Ints
    owner: Ints


@dataclass(frozen=True)
class BlockLines:
    """Nodes and segments of lines in one block.

    Parameters
    ----------
    first
        (nodes,) int64 number in the raster (row by row) of each node's first pixel.
    count, rows, cols
        (nodes,) int64: number of pixels of each node, and the sums of their rows and columns in the raster.
    is_junction
        (nodes,) bool.
    starts
        (segments + 1,) int64: segment ``i`` owns the pixels from ``starts[i]`` up to ``starts[i + 1]``.
    places
        (pixels, 2) int32 row, col in the raster of each segment's pixels in order.
    ends
        (segments, 2) int64: the node at both ends of a segment, or -1.
    closed
        (segments,) bool: rings, beginning with their first pixel.
    crossings
        Where segments and nodes continue in other blocks.
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
        (pixels,) uint8: a bit for each direction with a link.
    junction
        (pixels,) bool.
    flat
        (pixels,) int64 index of each pixel in ``index_at``.
    index_at
        (height + 2, width + 2) int32, flattened: the index of the pixel at each place, -1 in the halo. Places without
        a pixel are undefined.
    stride
        Length of the rows of ``index_at``.
    width
        Width of the raster.
    """

    row: Ints
    col: Ints
    code: Bytes
    junction: Bools
    flat: Ints
    index_at: NDArray[np.int32]
    stride: int
    width: int

    def neighbour(self, pixels: Ints, direction: Ints | int) -> Ints:
        """Return the pixels that pixels are linked to in some direction, -1 beyond the block."""
        found: Ints = self.index_at[self.flat[pixels] + _ROW[direction] * self.stride + _COL[direction]].astype(
            np.int64
        )
        return found

    def link(self, pixels: Ints, direction: Ints | int) -> Ints:
        """Return the numbers of links."""
        back = _IS_BACKWARD[direction]
        row, col = self.row[pixels] + back * _ROW[direction], self.col[pixels] + back * _COL[direction]
        number: Ints = (row * self.width + col) * 4 + _LINK[direction]
        return number


def trace_block(lines: Bytes, block: Window, width: int) -> BlockLines:
    """Trace one block.

    Parameters
    ----------
    lines
        (block.height + 2, block.width + 2) uint8, 0 or 1: the block with a halo of one pixel.
    block
        Window in the raster.
    width
        Width of the raster.
    """
    pixels = _find_pixels(lines, block, width)
    on_segment = (_DEGREE[pixels.code] == 2) & ~pixels.junction
    node, is_junction = _label_nodes(pixels, on_segment)
    # Segments are chains of the pixels with two sides. Two pixels meet with those sides that point at each other.
    members = np.flatnonzero(on_segment)
    element = np.full(len(on_segment) + 1, -1)  # one more, for the neighbour -1 beyond the block
    element[members] = np.arange(len(members))
    pixel, direction = np.repeat(members, 2), _SIDE[pixels.code[members]].reshape(-1).astype(np.int64)
    other = pixels.neighbour(pixel, direction)
    other_side = _SIDE[pixels.code[other], 1] == (direction + 4) % 8
    chains = find_chains(np.where(element[other] >= 0, 2 * element[other] + other_side, -1))
    beyond = other[chains.ends]
    ends = np.where((beyond >= 0) & ~chains.closed[:, None], node[beyond], -1)
    owner = np.flatnonzero((beyond < 0).ravel())
    side = chains.ends.ravel()[owner]
    bare = _bare_segments(pixels, on_segment, node)
    crossings = _node_crossings(pixels, node)
    order = members[chains.order]
    return BlockLines(
        **_node_sums(pixels, node, len(is_junction)),
        is_junction=is_junction,
        starts=np.concatenate([chains.starts, np.full(len(bare), len(order))]),
        places=np.column_stack([pixels.row[order], pixels.col[order]]).astype(np.int32),
        ends=np.concatenate([ends, bare]),
        closed=np.concatenate([chains.closed, np.zeros(len(bare), bool)]),
        crossings=Crossings(
            np.concatenate([pixels.link(pixel[side], direction[side]), crossings.link]),
            np.concatenate([owner, crossings.owner]),
        ),
    )


def _find_pixels(lines: Bytes, block: Window, width: int) -> _Pixels:
    """Find the pixels of a block and their links."""
    stride, mask = block.width + 2, lines.reshape(-1)
    inner = np.flatnonzero(mask[stride:-stride].view(bool)) + stride  # the whole array, as a part must be copied
    row, col = np.divmod(inner, stride)
    inside = (col > 0) & (col <= block.width)
    flat, row, col = inner[inside], row[inside] - 1, col[inside] - 1
    n, ne, e, se, s, sw, w, nw = (mask[flat + dr * stride + dc] for dr, dc in zip(_ROW, _COL, strict=True))
    links = (n, ne & ~(n | e), e, se & ~(s | e), s, sw & ~(s | w), w, nw & ~(n | w))
    code = np.zeros(len(flat), np.uint8)
    for direction, link in enumerate(links):
        code |= link << np.uint8(direction)
    in_square = (n & e & ne) | (e & s & se) | (s & w & sw) | (w & n & nw)
    index_at = np.empty(mask.shape, np.int32)
    index_at[flat] = np.arange(len(flat))
    halo = index_at.reshape(-1, stride)
    halo[0], halo[-1], halo[:, 0], halo[:, -1] = -1, -1, -1, -1
    junction = (_DEGREE[code] > 2) | (in_square > 0)
    return _Pixels(row + block.row, col + block.col, code, junction, flat, index_at, stride, width)


def _label_nodes(pixels: _Pixels, on_segment: Bools) -> tuple[Ints, Bools]:
    """Return (pixels,) the node of each pixel, -1 on segments, and (nodes,) which are junctions."""
    members = np.flatnonzero(pixels.junction)
    number = np.zeros(len(on_segment), np.int64)
    number[members] = np.arange(len(members))
    pairs = [np.zeros((0, 2), np.int64)]
    for direction in _FORWARD:
        here = members[(pixels.code[members] >> direction) & 1 > 0]
        there = pixels.neighbour(here, direction)
        both = (there >= 0) & pixels.junction[there]
        pairs.append(np.column_stack([number[here[both]], number[there[both]]]))
    count, labels = label_pairs(len(members), np.concatenate(pairs))
    ends = np.flatnonzero(~pixels.junction & ~on_segment)
    node = np.full(len(on_segment), -1)
    node[members], node[ends] = labels, count + np.arange(len(ends))
    return node, np.arange(count + len(ends)) < count


def _node_sums(pixels: _Pixels, node: Ints, nodes: int) -> dict[str, Ints]:
    """Return for each node its first pixel, its number of pixels, and the sums of their rows and columns."""
    members = np.flatnonzero(node >= 0)
    owner = node[members]
    first = np.zeros(nodes, np.int64)
    first[owner[::-1]] = (pixels.row * pixels.width + pixels.col)[members[::-1]]  # the last assignment stays
    return {
        "first": first,
        "count": np.bincount(owner, minlength=nodes),
        "rows": np.bincount(owner, pixels.row[members], nodes).astype(np.int64),
        "cols": np.bincount(owner, pixels.col[members], nodes).astype(np.int64),
    }


def _bare_segments(pixels: _Pixels, on_segment: Bools, node: Ints) -> Ints:
    """Return (segments, 2) the nodes of segments without pixels: from an end to a node right beside it."""
    ends = np.flatnonzero((_DEGREE[pixels.code] == 1) & ~pixels.junction)
    there = pixels.neighbour(ends, _SIDE[pixels.code[ends], 0].astype(np.int64))
    bare = (there >= 0) & ~on_segment[there] & (pixels.junction[there] | (there > ends))
    return np.column_stack([node[ends[bare]], node[there[bare]]])


def _node_crossings(pixels: _Pixels, node: Ints) -> Crossings:
    """Return the links by which nodes continue in other blocks."""
    links, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    members = np.flatnonzero(node >= 0)
    for direction in range(8):
        here = members[(pixels.code[members] >> direction) & 1 > 0]
        crossing = here[pixels.neighbour(here, direction) < 0]
        links.append(pixels.link(crossing, direction))
        owners.append(-1 - node[crossing])
    return Crossings(np.concatenate(links), np.concatenate(owners))
