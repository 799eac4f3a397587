"""From nodes and pieces of lines in blocks to one graph, the same for any blocks.

Pieces are tied where both blocks noted the same link, then strung to edges like pixels to pieces. Everything is
numbered by where it lies in the raster: nodes by their first pixel, edges by their nodes, then by their first pixel.
An edge runs from its lower node to its higher; a loop so that its first pixel comes before its last. A ring without
a junction gets a node at its first pixel. All this is done on arrays that hold a row per piece; the pixels move once.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from roadseg.ragged import ranges
from roadseg.roads.centerlines.chains import Chains, find_chains
from roadseg.roads.centerlines.trace import Traced
from roadseg.roads.mask.components import label_pairs
from roadseg.roads.pixel_graph import PixelGraph

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class TracedBlock:
    """A traced block and what lies around its nodes and pixels.

    Parameters
    ----------
    traced
        Nodes and pieces.
    at_border
        (nodes,) bool at each node's first pixel.
    area, level
        (vertices,) uint16 and uint8, see ``PixelGraph``.
    areal
        (pieces,) int64: how many pixels of each piece lie in the areal zone.
    """

    traced: Traced
    at_border: Bools
    area: NDArray[np.uint16]
    level: NDArray[np.uint8]
    areal: Ints


@dataclass(frozen=True)
class _Pieces:
    """All pieces of all blocks.

    Parameters
    ----------
    starts, length
        (pieces,) int64: each piece's pixels in the arrays of all blocks, one after the other.
    ends
        (2 pieces,) int64: the node at each side, -1 at a seam and on rings.
    partner
        (2 pieces,) int64: the side of another piece that a side is tied to, or -1.
    first, last
        (pieces,) int64 number of the first and last pixel in the raster, -1 without any.
    areal
        (pieces,) int64.
    """

    starts: Ints
    length: Ints
    ends: Ints
    partner: Ints
    first: Ints
    last: Ints
    areal: Ints


@dataclass(frozen=True)
class _Rings:
    """Rings without a junction: their node's pixel, and the other pixels by number, one ring after the other."""

    first: Ints
    length: Ints
    pixels: Ints


@dataclass(frozen=True)
class _Nodes:
    """Nodes of the raster in their final order, and the number of each block's node and of each ring's."""

    place: NDArray[np.float64]
    at_border: Bools
    of_node: Ints
    of_ring: Ints


@dataclass(frozen=True)
class _Edges:
    """Edges in the order of their chains.

    Parameters
    ----------
    ends
        (edges, 2) int64 final numbers of nodes.
    back
        (edges,) bool: whether the chain is to be walked from its end.
    length
        (edges,) int64 pixels.
    areal
        (edges,) bool.
    rank
        (edges,) int64: the edges in their final order.
    """

    ends: Ints
    back: Bools
    length: Ints
    areal: Bools
    rank: Ints


def merge(blocks: Sequence[TracedBlock], width: int) -> PixelGraph:
    """Return the graph of a raster from those of its blocks, in any order; ``width`` is the raster's."""
    places = _joined([block.traced.places.reshape(-1) for block in blocks], np.int32).reshape(-1, 2)
    pieces, same = _tied(blocks, width)
    chains = find_chains(pieces.partner)
    rings = _rings(chains, pieces, places, width)
    nodes = _nodes(blocks, same, rings, width)
    ring_heads = _numbers(places[rings.pixels[np.cumsum(rings.length) - rings.length]], width)
    edges = _edges(chains, pieces, nodes, rings, ring_heads)
    starts = np.concatenate([[0], np.cumsum(edges.length[edges.rank])])
    sources = places, _joined([b.area for b in blocks], np.uint16), _joined([b.level for b in blocks], np.uint8)
    targets = [np.empty((starts[-1], *source.shape[1:]), source.dtype) for source in sources]
    for there, here in _moves(chains, pieces, rings, edges, starts):
        for target, source in zip(targets, sources, strict=True):
            target[there] = source[here]
    return PixelGraph(
        nodes=nodes.place,
        at_border=nodes.at_border,
        ends=edges.ends[edges.rank],
        starts=starts,
        places=targets[0],
        area=targets[1],
        level=targets[2],
        inferred=np.zeros(len(edges.rank), bool),
        areal=edges.areal[edges.rank],
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: DTypeLike = np.int64) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _tied(blocks: Sequence[TracedBlock], width: int) -> tuple[_Pieces, Ints]:
    """Join the blocks' pieces, and return (pairs, 2) which nodes are one."""
    traced = [block.traced for block in blocks]
    counts = np.array([(len(t.first), len(t.closed), len(t.places)) for t in traced]).reshape(-1, 3)
    node, piece, pixel = (np.cumsum(counts, axis=0) - counts).T.tolist()
    ends = _joined([np.where(t.ends >= 0, t.ends + at, -1).ravel() for t, at in zip(traced, node, strict=True)])
    owners = [
        np.where(t.crossings.owner >= 0, t.crossings.owner + 2 * of_piece, t.crossings.owner - of_node)
        for t, of_piece, of_node in zip(traced, piece, node, strict=True)
    ]
    links = _joined([t.crossings.link for t in traced])
    tied = _joined(owners)[np.argsort(links, kind="stable")].reshape(-1, 2)
    partner = np.full(len(ends), -1)
    closed = np.flatnonzero(_joined([t.closed for t in traced], bool))
    partner[2 * closed], partner[2 * closed + 1] = 2 * closed + 1, 2 * closed
    lines = tied[(tied >= 0).all(axis=1)]
    partner[lines] = lines[:, ::-1]
    mixed = np.sort(tied[(tied >= 0).sum(axis=1) == 1], axis=1)
    ends[mixed[:, 1]] = -1 - mixed[:, 0]
    nodes = -1 - tied[(tied < 0).all(axis=1)]
    joint = _joined([t.is_junction for t in traced], bool)[nodes].all(axis=1)
    bare = nodes[~joint]
    none = np.full(len(bare), -1)
    pieces = _Pieces(
        starts=_joined([*(t.starts[:-1] + at for t, at in zip(traced, pixel, strict=True)), 0 * none]),
        length=_joined([*(np.diff(t.starts) for t in traced), 0 * none]),
        ends=np.concatenate([ends, bare.ravel()]),
        partner=np.concatenate([partner, np.full(2 * len(bare), -1)]),
        first=_joined([*(_tips(t, 0, width) for t in traced), none]),
        last=_joined([*(_tips(t, 1, width) for t in traced), none]),
        areal=_joined([*(block.areal for block in blocks), 0 * none]),
    )
    return pieces, nodes[joint]


def _tips(traced: Traced, side: int, width: int) -> Ints:
    """Return the number of each piece's first or last pixel in the raster, -1 if it has none."""
    at = traced.starts[1:] - 1 if side else traced.starts[:-1]
    tips = np.full(len(at), -1)
    there = np.diff(traced.starts) > 0
    tips[there] = _numbers(traced.places[at[there]], width)
    return tips


def _numbers(places: NDArray[np.int32], width: int) -> Ints:
    """Return the numbers of pixels in the raster, row by row."""
    numbers: Ints = places[:, 0].astype(np.int64) * width + places[:, 1]
    return numbers


def _rings(chains: Chains, pieces: _Pieces, places: NDArray[np.int32], width: int) -> _Rings:
    """Begin all rings at their first pixel, in the direction that visits the lower of its neighbours first."""
    which = np.flatnonzero(chains.closed)
    pixels, length = _walk(chains, pieces, which, np.zeros(len(which), bool))
    if not len(which):
        return _Rings(which, which, which)
    numbers = _numbers(places[pixels], width)
    starts = np.cumsum(length) - length
    first = np.minimum.reduceat(numbers, starts)
    at = np.flatnonzero(numbers == np.repeat(first, length)) - starts
    before, after = numbers[starts + (at - 1) % length], numbers[starts + (at + 1) % length]
    way = np.where(after < before, 1, -1)
    rest = length - 1
    step = ranges(1, rest) * np.repeat(way, rest) + np.repeat(at, rest)
    return _Rings(first, rest, pixels[np.repeat(starts, rest) + step % np.repeat(length, rest)])


def _walk(chains: Chains, pieces: _Pieces, which: Ints, back: Bools) -> tuple[Ints, Ints]:
    """Return the pixels of some chains in order, and how many each has."""
    count = chains.starts[which + 1] - chains.starts[which]
    step = ranges(0, count)
    from_end = np.repeat(back, count)
    place = np.where(
        from_end, np.repeat(chains.starts[which + 1] - 1, count) - step, np.repeat(chains.starts[which], count) + step
    )
    piece, turned = chains.order[place], chains.turned[place] ^ from_end
    length = pieces.length[piece]
    step = ranges(0, length)
    begin = np.where(turned, pieces.starts[piece] + length - 1, pieces.starts[piece])
    pixels = np.repeat(begin, length) + step * np.repeat(np.where(turned, -1, 1), length)
    return pixels, _per_chain(chains, pieces.length)[which]


def _per_chain(chains: Chains, values: Ints) -> Ints:
    """Sum something up over the pieces of each chain."""
    total = np.concatenate([[0], np.cumsum(values[chains.order])])
    sums: Ints = total[chains.starts[1:]] - total[chains.starts[:-1]]
    return sums


def _nodes(blocks: Sequence[TracedBlock], same: Ints, rings: _Rings, width: int) -> _Nodes:
    """Unite the parts of nodes and number them all by their first pixels, those of rings among them."""
    traced = [block.traced for block in blocks]
    first = _joined([t.first for t in traced])
    count, label = label_pairs(len(first), same)
    by_first = np.argsort(first, kind="stable")[::-1]
    head = np.zeros(count, np.int64)
    head[label[by_first]] = by_first
    pixels = np.bincount(label, _joined([t.count for t in traced]), count)
    sums = [np.bincount(label, _joined(parts), count) for parts in ([t.rows for t in traced], [t.cols for t in traced])]
    ring_place = np.column_stack(np.divmod(rings.first, width)).astype(np.float64)
    order = np.argsort(np.concatenate([first[head], rings.first]), kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    at_border = _joined([block.at_border for block in blocks], bool)[head]
    return _Nodes(
        np.concatenate([np.column_stack(sums) / pixels[:, None], ring_place])[order],
        np.concatenate([at_border, np.zeros(len(ring_place), bool)])[order],
        number[label],
        number[count:],
    )


def _edges(chains: Chains, pieces: _Pieces, nodes: _Nodes, rings: _Rings, ring_heads: Ints) -> _Edges:
    """Say where each chain ends, which way it is walked, and in which order they come."""
    is_ring = chains.closed
    ends = np.empty((len(is_ring), 2), np.int64)
    ends[~is_ring] = nodes.of_node[pieces.ends[chains.ends[~is_ring]]]
    ends[is_ring] = nodes.of_ring[:, None]
    outer = chains.starts[:-1], chains.starts[1:] - 1
    piece, turned = [chains.order[at] for at in outer], [chains.turned[at] for at in outer]
    head = np.where(turned[0], pieces.last[piece[0]], pieces.first[piece[0]])
    tail = np.where(turned[1], pieces.first[piece[1]], pieces.last[piece[1]])
    back = (ends[:, 0] > ends[:, 1]) | ((ends[:, 0] == ends[:, 1]) & (head > tail))
    ends.sort(axis=1)
    head = np.where(back, tail, head)
    head[is_ring] = ring_heads
    length = _per_chain(chains, pieces.length)
    areal = 2 * _per_chain(chains, pieces.areal) > length
    length[is_ring] = rings.length
    return _Edges(ends, back, length, areal, np.lexsort((head, ends[:, 1], ends[:, 0])))


def _moves(chains: Chains, pieces: _Pieces, rings: _Rings, edges: _Edges, starts: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield where pixels belong and where they are, some at a time."""
    cuts = np.searchsorted(starts, np.arange(0, starts[-1] + _AT_ONCE, _AT_ONCE))
    for begin, stop in itertools.pairwise(np.unique(np.append(cuts, len(edges.rank))).tolist()):
        which = edges.rank[begin:stop]
        open_ones = ~chains.closed[which]
        pixels, length = _walk(chains, pieces, which[open_ones], edges.back[which[open_ones]])
        yield ranges(starts[begin:stop][open_ones], length), pixels
    at = np.empty(len(edges.rank), np.int64)
    at[edges.rank] = starts[:-1]
    yield ranges(at[chains.closed], rings.length), rings.pixels
