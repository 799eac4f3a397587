"""Junctions that lie inside each other's width are one.

Roads that cross make two junctions of degree three with a short edge between them: the flatter the
angle, the longer the edge, up to more than a road's width. Such an edge goes when it is shorter than
a share of the width, or when the roads on both sides of it continue each other crosswise. The arms
are cut back where they bent towards their own junction and run straight to the common one.
"""

from dataclasses import replace

import numpy as np

from roadseg.ragged import ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import (
    Pixel,
    Polylines,
    degrees,
    edge_lengths,
    incident_edges,
    polylines_of,
    reduce_slices,
    take_edges,
    vertices_where,
)
from roadseg.roads.repair.ends import EdgeEnds, end_widths, measure_ends

NEAR_WIDTHS = 1.0
"""Junctions nearer than this many road widths are one, whatever meets there."""

CROSSING_WIDTHS = 2.5
"""Junctions nearer than this many road widths, and `CROSSING_PX`, are one if two roads run straight through them."""

CROSSING_PX = 4.0

STRAIGHT = np.radians(20.0)
"""How far a road may turn where it runs straight through."""

SPAN_M = 15.0
"""Length of road that tells its direction and width."""


def merge_junctions(graph: PixelGraph, *, pixel: Pixel = (1.0, 1.0)) -> PixelGraph:
    """Make one junction of those that are one on the ground; the shortest edges go first.

    The other one stays as a node without an edge.

    Parameters
    ----------
    graph
        Its nodes of degree two joined before.
    pixel
        Size of a pixel.
    """
    asked = np.ones(len(graph.nodes), dtype=bool)
    while True:
        chosen, waiting, width = _needless(graph, asked, pixel)
        if not len(chosen):
            return graph
        asked[:] = False
        asked[graph.ends[waiting]] = True
        moved = graph.ends[chosen, 0]
        graph = _merged(graph, chosen, width, pixel)
        around = np.zeros(len(asked), dtype=bool)
        around[moved] = True
        asked[graph.ends[around[graph.ends].any(axis=1)]] = True


def _needless(graph: PixelGraph, asked: Bools, pixel: Pixel) -> tuple[Ints, Ints, Floats]:
    """Return the edges that go in this round, no two at one node, those that wait for them, and the width at the first.

    Only edges at nodes that are asked about are looked at: elsewhere nothing has changed.
    """
    degree = degrees(graph)
    between = (degree[graph.ends] >= 3).all(axis=1) & (graph.ends[:, 0] != graph.ends[:, 1])
    between &= asked[graph.ends].any(axis=1)
    rough = _rough_widths(graph, pixel)[graph.ends].min(axis=1, initial=np.inf)
    between &= np.diff(graph.starts) * min(pixel) <= CROSSING_WIDTHS * 1.5 * rough + CROSSING_PX * max(pixel)
    edges, length, width = _inside(graph, np.flatnonzero(between), pixel)
    order = np.lexsort((edges, length))
    edges, width = edges[order], width[order]
    rank = np.arange(len(order))[:, None]
    best = np.full(len(degree), len(order))
    np.minimum.at(best, graph.ends[edges], rank)
    least = (best[graph.ends[edges]] == rank).all(axis=1)
    return edges[least], edges[~least], width[least]


def _inside(graph: PixelGraph, edges: Ints, pixel: Pixel) -> tuple[Ints, Floats, Floats]:
    """Return those of some edges that lie inside a junction, their length, and the road width there."""
    length, width, good = np.zeros(len(edges)), np.zeros(len(edges)), np.zeros(len(edges), dtype=bool)
    for near, part in incident_edges(graph, graph.ends[edges]):
        here = np.searchsorted(near, edges[part])
        good[part], length[part], width[part] = _judged(take_edges(graph, near), here, pixel)
    return edges[good], length[good], width[good]


def _judged(graph: PixelGraph, edges: Ints, pixel: Pixel) -> tuple[Bools, Floats, Floats]:
    """Return whether some edges lie inside a junction, their length, and the road width there."""
    polylines, degree = polylines_of(graph, pixel), degrees(graph)
    length = polylines.lengths[edges]
    half, first, count = _arms(graph, edges)
    width = _arm_widths(graph, polylines, half, first, count, pixel)
    good = length <= NEAR_WIDTHS * width
    far = CROSSING_WIDTHS * width + CROSSING_PX * max(pixel)
    maybe = np.flatnonzero(~good & (length <= far) & (degree[graph.ends[edges]] == 3).all(axis=1))
    good[maybe] = _crosswise(graph, polylines, half[first[maybe, None] + np.arange(4)], width[maybe], pixel)
    return good, length, width


def _rough_widths(graph: PixelGraph, pixel: Pixel) -> Floats:
    """Return (nodes,) metres: the mean area per vertex of the widest edge there, of those long enough to tell."""
    counts = np.diff(graph.starts)
    mean = reduce_slices(np.add, graph.area, graph.starts[:-1], counts) / np.maximum(counts, 1) * max(pixel)
    widest = np.zeros(len(graph.nodes))
    np.maximum.at(widest, graph.ends, np.where(counts >= 8, mean, 0)[:, None])
    return widest


def _arms(graph: PixelGraph, edges: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the half-edges that leave both nodes of some edges, those edges left out.

    They come as one array, with where each edge's arms start in it and how many there are; the arms
    at the edge's first node come first.
    """
    tail = graph.ends.ravel()
    leaving = np.argsort(tail, kind="stable")
    degree = degrees(graph)
    position = np.cumsum(degree) - degree
    nodes = graph.ends[edges].ravel()
    half = leaving[ranges(position[nodes], degree[nodes])]
    owner = np.repeat(np.repeat(np.arange(len(edges)), 2), degree[nodes])
    others = (half >> 1) != edges[owner]
    half, owner = half[others], owner[others]
    count = np.bincount(owner, minlength=len(edges))
    return half, np.cumsum(count) - count, count


def _arm_widths(graph: PixelGraph, polylines: Polylines, half: Ints, first: Ints, count: Ints, pixel: Pixel) -> Floats:
    """Return (edges,) the mean width of the two widest arms."""
    found = end_widths(graph, polylines, half, pixel, skip=np.full(len(half), SPAN_M / 3), span=SPAN_M)
    owner = np.repeat(np.arange(len(first)), count)
    order = np.lexsort((-found, owner))
    ranked = found[order]
    if not len(first):
        return np.zeros(0)
    second = np.minimum(first + 1, first + count - 1)
    width: Floats = (ranked[first] + ranked[second]) / 2
    return width


def _crosswise(graph: PixelGraph, polylines: Polylines, arms: Ints, width: Floats, pixel: Pixel) -> Bools:
    """Return (n,) whether of (n, 4) arms, two at each node, both at one node go on straight at the other."""
    if not len(arms):
        return np.zeros(0, dtype=bool)
    skip = np.repeat(width, 4)
    found = measure_ends(graph, polylines, arms.ravel(), pixel, skip=skip, span=SPAN_M)
    turn = {
        (i, j): _turn(found, 4 * np.arange(len(arms)) + i, 4 * np.arange(len(arms)) + j) for i in (0, 1) for j in (2, 3)
    }
    ways = [np.maximum(turn[0, 2], turn[1, 3]), np.maximum(turn[0, 3], turn[1, 2])]
    straight: Bools = np.minimum(*ways) <= STRAIGHT
    return straight


def _turn(found: EdgeEnds, one: Ints, two: Ints) -> Floats:
    """Return (n,) radians by which a road turns on its way from one arm into another."""
    across = found.middle[two] - found.middle[one]
    turns = []
    for outward in (found.outward[one], -found.outward[two]):
        dot = (outward * across).sum(axis=1)
        turns.append(np.abs(np.arctan2(outward[:, 0] * across[:, 1] - outward[:, 1] * across[:, 0], dot)))
    turn: Floats = np.maximum(*turns)
    return turn


def _merged(graph: PixelGraph, edges: Ints, width: Floats, pixel: Pixel) -> PixelGraph:
    """Return the graph without some edges that share no node, their nodes made one."""
    u, v = graph.ends[edges].T
    nodes, border = graph.nodes.copy(), graph.at_border.copy()
    apart = np.hypot(*((nodes[u] - nodes[v]) * pixel).T)
    nodes[u] = (nodes[u] + nodes[v]) / 2
    border[u] |= border[v]
    names = np.arange(len(nodes))
    names[v] = u
    clear = np.zeros(len(nodes))
    clear[u] = (apart + width) / 2
    stays = np.ones(len(graph.ends), dtype=bool)
    stays[edges] = False
    ends = names[graph.ends]
    shrunk = (ends[:, 0] == ends[:, 1]) & (graph.ends[:, 0] != graph.ends[:, 1])
    around = np.flatnonzero(shrunk)
    stays[around[edge_lengths(graph, around, pixel) <= np.pi * clear[ends[around, 0]]]] = False
    return _cut_back(replace(graph, nodes=nodes, at_border=border, ends=ends), clear, stays, pixel)


def _cut_back(graph: PixelGraph, clear: Floats, stays: Bools, pixel: Pixel) -> PixelGraph:
    """Drop edges that do not stay, and of the others the vertices near a moved node, at most the nearer third."""
    counts = np.diff(graph.starts)
    concerned = np.flatnonzero(stays & (clear[graph.ends] > 0).any(axis=1) & (counts > 0))
    at = ranges(graph.starts[concerned], counts[concerned])
    edge = np.repeat(concerned, counts[concerned])
    number = at - graph.starts[edge]
    drop = np.zeros(len(at), dtype=bool)
    for side, steps in ((0, number), (1, counts[edge] - 1 - number)):
        near = np.flatnonzero((steps * 3 < counts[edge] - 1) & (clear[graph.ends[edge, side]] > 0))
        node = graph.ends[edge[near], side]
        distance = np.hypot(*((graph.places[at[near]] - graph.nodes[node]) * pixel).T)
        drop[near] |= distance < clear[node]
    kept = np.repeat(stays, counts)
    kept[at[drop]] = False
    counts = (counts - np.bincount(edge[drop], minlength=len(counts)))[stays]
    places, area, level = vertices_where(graph, kept)
    return replace(
        graph,
        ends=graph.ends[stays],
        starts=np.concatenate([[0], np.cumsum(counts)]),
        places=places,
        area=area,
        level=level,
        inferred=graph.inferred[stays],
        areal=graph.areal[stays],
    )
