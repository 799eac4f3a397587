"""Junctions within each other's road width are merged.

Roads that cross make two junctions of degree three with a short edge between them: the flatter the angle, the longer
the edge, up to more than a road's width. Such an edge is removed when it is shorter than a share of the width, or when
the roads at both its ends continue each other crosswise. The arms are cut back where they bent towards their own
junction, and run straight to the common one.
"""

from dataclasses import replace

import numpy as np

from roadseg.ragged import offsets, ranges, reduce_ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import (
    PixelSize,
    Polylines,
    degrees,
    edge_lengths,
    incident_edges,
    polylines_of,
    take_edges,
    vertices_where,
)
from roadseg.roads.repair.ends import EdgeEnds, end_widths, measure_ends

NEAR_WIDTHS = 1.0
"""Junctions nearer than this many road widths are merged, whatever meets there."""

CROSSING_WIDTHS = 2.5
"""Junctions nearer than this many road widths plus ``CROSSING_PX`` are merged if both roads run straight through."""

CROSSING_PX = 4.0

STRAIGHT = np.radians(20.0)
"""How far a road may turn that runs straight through."""

SPAN_M = 15.0
"""Length of road over which its direction and width are measured."""


def merge_junctions(graph: PixelGraph, *, pixel_size: PixelSize = (1.0, 1.0)) -> PixelGraph:
    """Merge pairs of junctions that are one on the ground, those with the shortest edges between them first.

    One node of a pair remains, halfway between both; the other one stays as a node without an edge.

    Parameters
    ----------
    graph
        Contracted: its nodes of degree two are joined.
    pixel_size
        Size of a pixel.
    """
    changed = np.ones(len(graph.nodes), dtype=bool)
    while True:
        chosen, waiting, width = _mergeable(graph, changed, pixel_size)
        if not len(chosen):
            return graph
        changed[:] = False
        changed[graph.ends[waiting]] = True
        kept_nodes = graph.ends[chosen, 0]
        graph = _merged(graph, chosen, width, pixel_size)
        is_kept = np.zeros(len(changed), dtype=bool)
        is_kept[kept_nodes] = True
        changed[graph.ends[is_kept[graph.ends].any(axis=1)]] = True


def _mergeable(graph: PixelGraph, changed: Bools, pixel_size: PixelSize) -> tuple[Ints, Ints, Floats]:
    """Return the edges to remove in this round, those that must wait, and the road width at the former.

    Edges of one round share no node. Only edges at nodes around which something has changed are looked at.
    """
    degree = degrees(graph)
    between = (degree[graph.ends] >= 3).all(axis=1) & (graph.ends[:, 0] != graph.ends[:, 1])
    between &= changed[graph.ends].any(axis=1)
    # Measuring is expensive: drop edges that are clearly too long for the rough width of the roads there.
    rough = _rough_widths(graph, pixel_size)[graph.ends].min(axis=1, initial=np.inf)
    limit = CROSSING_WIDTHS * 1.5 * rough + CROSSING_PX * max(pixel_size)
    between &= np.diff(graph.starts) * min(pixel_size) <= limit
    edges, length, width = _inside_junctions(graph, np.flatnonzero(between), pixel_size)
    order = np.lexsort((edges, length))
    edges, width = edges[order], width[order]
    rank = np.arange(len(order))[:, None]
    best = np.full(len(degree), len(order))
    np.minimum.at(best, graph.ends[edges], rank)
    shortest = (best[graph.ends[edges]] == rank).all(axis=1)
    return edges[shortest], edges[~shortest], width[shortest]


def _inside_junctions(graph: PixelGraph, edges: Ints, pixel_size: PixelSize) -> tuple[Ints, Floats, Floats]:
    """Return those of some edges that lie inside a junction, their length, and the road width there."""
    length, width, inside = np.zeros(len(edges)), np.zeros(len(edges)), np.zeros(len(edges), dtype=bool)
    for near, part in incident_edges(graph, graph.ends[edges]):
        here = np.searchsorted(near, edges[part])
        inside[part], length[part], width[part] = _is_inside(take_edges(graph, near), here, pixel_size)
    return edges[inside], length[inside], width[inside]


def _is_inside(graph: PixelGraph, edges: Ints, pixel_size: PixelSize) -> tuple[Bools, Floats, Floats]:
    """Return whether some edges lie inside a junction, their length, and the road width there."""
    polylines, degree = polylines_of(graph, pixel_size), degrees(graph)
    length = polylines.lengths[edges]
    half, first, count = _arms(graph, edges)
    width = _arm_widths(graph, polylines, half, first, count, pixel_size)
    inside = length <= NEAR_WIDTHS * width
    far = CROSSING_WIDTHS * width + CROSSING_PX * max(pixel_size)
    maybe = np.flatnonzero(~inside & (length <= far) & (degree[graph.ends[edges]] == 3).all(axis=1))
    arms = half[first[maybe, None] + np.arange(4)]
    inside[maybe] = _runs_through(graph, polylines, arms, width[maybe], pixel_size)
    return inside, length, width


def _rough_widths(graph: PixelGraph, pixel_size: PixelSize) -> Floats:
    """Return (nodes,) metres: the mean area per vertex of the widest edge there that has eight vertices or more."""
    counts = np.diff(graph.starts)
    mean = reduce_ranges(np.add, graph.area, graph.starts[:-1], counts) / np.maximum(counts, 1) * max(pixel_size)
    widest = np.zeros(len(graph.nodes))
    np.maximum.at(widest, graph.ends, np.where(counts >= 8, mean, 0)[:, None])
    return widest


def _arms(graph: PixelGraph, edges: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the half-edges that leave both nodes of some edges, those edges themselves left out.

    They come as a flat array, with where each edge's arms begin and how many it has; the arms at the edge's
    first node come first.
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


def _arm_widths(
    graph: PixelGraph, polylines: Polylines, half: Ints, first: Ints, count: Ints, pixel_size: PixelSize
) -> Floats:
    """Return (edges,) the mean width of the two widest arms."""
    if not len(first):
        return np.zeros(0)
    widths = end_widths(graph, polylines, half, pixel_size, skip=np.full(len(half), SPAN_M / 3), span=SPAN_M)
    owner = np.repeat(np.arange(len(first)), count)
    ranked = widths[np.lexsort((-widths, owner))]
    second = np.minimum(first + 1, first + count - 1)
    width: Floats = (ranked[first] + ranked[second]) / 2
    return width


def _runs_through(graph: PixelGraph, polylines: Polylines, arms: Ints, width: Floats, pixel_size: PixelSize) -> Bools:
    """Return (n,) whether both arms at one node of an edge go straight on in an arm at its other node.

    ``arms`` is (n, 4): 0 and 1 leave the first node, 2 and 3 the other one::

        0       2         the roads are 0–2 and 1–3, or 0–3 and 1–2
         ├─────┤
        1       3
    """
    if not len(arms):
        return np.zeros(0, dtype=bool)
    ends = measure_ends(graph, polylines, arms.ravel(), pixel_size, skip=np.repeat(width, 4), span=SPAN_M)
    index = 4 * np.arange(len(arms))
    turn = {(i, j): _turn(ends, index + i, index + j) for i in (0, 1) for j in (2, 3)}
    pairings = np.maximum(turn[0, 2], turn[1, 3]), np.maximum(turn[0, 3], turn[1, 2])
    through: Bools = np.minimum(*pairings) <= STRAIGHT
    return through


def _turn(ends: EdgeEnds, one: Ints, two: Ints) -> Floats:
    """Return (n,) radians by which a road turns on its way from one arm into another."""
    across = ends.middle[two] - ends.middle[one]
    turns = []
    for outward in (ends.outward[one], -ends.outward[two]):
        dot = (outward * across).sum(axis=1)
        turns.append(np.abs(np.arctan2(outward[:, 0] * across[:, 1] - outward[:, 1] * across[:, 0], dot)))
    turn: Floats = np.maximum(*turns)
    return turn


def _merged(graph: PixelGraph, edges: Ints, width: Floats, pixel_size: PixelSize) -> PixelGraph:
    """Return the graph without some edges that share no node, each pair of their nodes merged."""
    u, v = graph.ends[edges].T
    nodes, border = graph.nodes.copy(), graph.at_border.copy()
    apart = np.hypot(*((nodes[u] - nodes[v]) * pixel_size).T)
    nodes[u] = (nodes[u] + nodes[v]) / 2
    border[u] |= border[v]
    merged_into = np.arange(len(nodes))
    merged_into[v] = u
    clear = np.zeros(len(nodes))
    clear[u] = (apart + width) / 2
    stays = np.ones(len(graph.ends), dtype=bool)
    stays[edges] = False
    ends = merged_into[graph.ends]
    # Another edge between the same two nodes is a loop now. Within the junction it is no road but a hole in one.
    loops = np.flatnonzero((ends[:, 0] == ends[:, 1]) & (graph.ends[:, 0] != graph.ends[:, 1]))
    stays[loops[edge_lengths(graph, loops, pixel_size) <= np.pi * clear[ends[loops, 0]]]] = False
    return _cut_back(replace(graph, nodes=nodes, at_border=border, ends=ends), clear, stays, pixel_size)


def _cut_back(graph: PixelGraph, clear: Floats, stays: Bools, pixel_size: PixelSize) -> PixelGraph:
    """Drop edges that do not stay, and of the others the vertices near a merged node.

    Parameters
    ----------
    graph
        Graph whose nodes are merged.
    clear
        (nodes,) metres around each node within which vertices are dropped, from its end of an edge on and at most
        the nearer third.
    stays
        (edges,) which edges stay.
    pixel_size
        Size of a pixel.
    """
    counts = np.diff(graph.starts)
    concerned = np.flatnonzero(stays & (clear[graph.ends] > 0).any(axis=1) & (counts > 0))
    at = ranges(graph.starts[concerned], counts[concerned])
    edge = np.repeat(concerned, counts[concerned])
    number = at - graph.starts[edge]
    drop = np.zeros(len(at), dtype=bool)
    for side, steps in ((0, number), (1, counts[edge] - 1 - number)):
        near = np.flatnonzero((steps * 3 < counts[edge] - 1) & (clear[graph.ends[edge, side]] > 0))
        node = graph.ends[edge[near], side]
        distance = np.hypot(*((graph.places[at[near]] - graph.nodes[node]) * pixel_size).T)
        drop[near] |= distance < clear[node]
    kept = np.repeat(stays, counts)
    kept[at[drop]] = False
    counts = (counts - np.bincount(edge[drop], minlength=len(counts)))[stays]
    places, area, level = vertices_where(graph, kept)
    return replace(
        graph,
        ends=graph.ends[stays],
        starts=offsets(counts),
        places=places,
        area=area,
        level=level,
        inferred=graph.inferred[stays],
        areal=graph.areal[stays],
    )
