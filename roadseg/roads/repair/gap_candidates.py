"""Which gaps might be closed: dead ends that face each other, and dead ends that point at a road."""

from dataclasses import fields, replace

import numpy as np

from roadseg.ragged import reduce_ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import NODE_CHUNK, PixelSize, chunks, degrees, polylines_of, take_edges
from roadseg.roads.repair.ends import EdgeEnds, end_widths, measure_ends
from roadseg.roads.repair.gap_evidence import DeadEnds, GapCandidates, concatenate, plausible
from roadseg.roads.repair.near_pairs import near_pairs
from roadseg.roads.repair.pixel_lines import line_pixels
from roadseg.roads.repair.pixel_set import PixelSet, first_hit, graph_pixels, owners

SPAN_M = 15.0
"""Length of road over which its direction is measured."""

_RAYS = np.radians([0.0, -20.0, 20.0])
"""Directions in which a dead end looks for a road, relative to its own."""

_GRAZING = np.sin(np.radians(25.0))
"""Sine of the angle below which a ray meets an edge too flatly to lead to it."""


def measure_dead_ends(graph: PixelGraph, nodes: Ints, pixel_size: PixelSize) -> DeadEnds:
    """Measure direction and width of the last metres before some nodes of degree one."""
    edge_of = np.full(len(graph.nodes), -1)
    edge_of[graph.ends] = np.arange(len(graph.ends))[:, None]
    edge = edge_of[nodes]
    measured = [
        _last_metres(take_edges(graph, edge[part], all_nodes=True), nodes[part], pixel_size)
        for part in chunks(np.cumsum(np.diff(graph.starts)[edge]), NODE_CHUNK)
    ]
    columns = (np.concatenate([getattr(part, field.name) for part in measured]) for field in fields(EdgeEnds))
    return DeadEnds(nodes, edge, np.rint(graph.nodes[nodes]).astype(np.int64), EdgeEnds(*columns))


def _last_metres(last: PixelGraph, nodes: Ints, pixel_size: PixelSize) -> EdgeEnds:
    """Measure edges at one of their nodes each; the width is that at the very end."""
    half_edges = 2 * np.arange(len(nodes)) + (last.ends[:, 1] == nodes)
    polylines = polylines_of(last, pixel_size)
    width = end_widths(last, polylines, half_edges, pixel_size, skip=np.zeros(len(half_edges)), span=SPAN_M)
    ends = measure_ends(last, polylines, half_edges, pixel_size, skip=width / 2, span=SPAN_M)
    return replace(ends, width=width)


def find_obstacles(graph: PixelGraph, ends: DeadEnds, *, max_gap: float, pixel_size: PixelSize) -> PixelSet:
    """Return the pixels of a graph that connections from some dead ends might meet."""
    return graph_pixels(graph, ends.pixel, _reach(ends, max_gap, pixel_size))


def find_candidates(
    graph: PixelGraph, ends: DeadEnds, obstacles: PixelSet, *, max_gap: float, pixel_size: PixelSize
) -> GapCandidates:
    """Return all gaps that might be closed without crossing anything.

    Parameters
    ----------
    graph, ends, pixel_size
        A network, its dead ends, and the size of a pixel.
    obstacles
        Pixels of the network, see ``find_obstacles``.
    max_gap
        Longest gap in metres.
    """
    if _reach(ends, max_gap, pixel_size) > obstacles.reach:
        obstacles = find_obstacles(graph, ends, max_gap=max_gap, pixel_size=pixel_size)
    pairs = _pairs(graph, ends, obstacles, max_gap, pixel_size)
    hits = _hits(graph, ends, obstacles, max_gap, pixel_size)
    return concatenate(pairs, hits)


def _reach(ends: DeadEnds, max_gap: float, pixel_size: PixelSize) -> float:
    """Return how many pixels away from a dead end something may matter."""
    return (max_gap + float(ends.end.width.max(initial=0)) + 10 * max(pixel_size)) / min(pixel_size)


def _pairs(
    graph: PixelGraph, ends: DeadEnds, obstacles: PixelSet, max_gap: float, pixel_size: PixelSize
) -> GapCandidates:
    """Return the gaps between dead ends that face each other."""
    points, width = graph.nodes[ends.node] * pixel_size, ends.end.width
    widest = min(float(width.max(initial=0)), max_gap)
    one, two = near_pairs(points, max_gap + widest).T
    apart = points[two] - points[one]
    gap = np.hypot(*apart.T) - (width[one] + width[two]) / 2
    turn_one, turn_two = _angle(ends.end.outward[one], apart), _angle(ends.end.outward[two], -apart)
    good = np.flatnonzero((gap <= max_gap) & (turn_one < np.pi / 2) & (turn_two < np.pi / 2))
    one, two = one[good], two[good]
    no_vertex, turn = np.full(len(one), -1), np.hypot(turn_one[good], turn_two[good])
    pairs = GapCandidates(one, two, no_vertex, ends.node[two], gap[good], turn, np.full(len(one), np.nan), no_vertex)
    pairs = plausible(pairs)
    return pairs[_is_free(ends.pixel[pairs.end], ends.pixel[pairs.other], obstacles)]


def _is_free(start: Ints, stop: Ints, obstacles: PixelSet) -> Bools:
    """Return (n,) whether no obstacle lies between two pixels, but for three steps at both ends."""
    free = np.ones(len(start), dtype=bool)
    for part in chunks(np.cumsum(np.abs(stop - start).sum(axis=1) + 1)):
        drawn = line_pixels(start[part], stop[part], four_connected=True)
        inner = (drawn.step > 2) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 3)
        inner &= obstacles.contains(drawn.pixels[:, 0], drawn.pixels[:, 1])
        free[part] = np.bincount(drawn.line, weights=inner, minlength=part.stop - part.start) == 0
    return free


def _hits(
    graph: PixelGraph, ends: DeadEnds, obstacles: PixelSet, max_gap: float, pixel_size: PixelSize
) -> GapCandidates:
    """Return the gaps between dead ends and the first edge ahead of them, or a little to the left or right."""
    # Three rays leave each dead end, turned by 0, -20 and 20 degrees: rows 3 i, 3 i + 1 and 3 i + 2.
    turns = np.tile(_RAYS, len(ends.node))
    end = np.repeat(np.arange(len(ends.node)), len(_RAYS))
    down, across = ends.end.outward[end].T
    cos, sin = np.cos(turns), np.sin(turns)
    direction = np.stack([down * cos - across * sin, down * sin + across * cos], axis=1)
    far = (max_gap + ends.end.width[end] + 5)[:, None] * direction / pixel_size
    hit = first_hit(obstacles, ends.pixel[end], far, skip=2)
    ray = np.flatnonzero(hit[:, 0] >= 0)
    return _of_hits(graph, ends, (end[ray], turns[ray], owners(graph, hit[ray]), direction[ray]), max_gap, pixel_size)


def _of_hits(
    graph: PixelGraph,
    ends: DeadEnds,
    hits: tuple[Ints, Floats, Ints, Floats],
    max_gap: float,
    pixel_size: PixelSize,
) -> GapCandidates:
    """Return the candidates among hits: not the end's own edge, not met too flatly, no dead end, not too far.

    A hit is a dead end, the turn and the direction of its ray, and the owner of the pixel that it met, see ``owners``.
    """
    end, turn, owner, direction = hits
    vertex, node = np.where(owner >= 0, owner, -1), np.where(owner <= -2, -2 - owner, -1)
    # Each list of a mixed kind is written for nodes first, then overwritten where a vertex of an edge was met.
    edge = np.where(owner >= 0, np.searchsorted(graph.starts, vertex, side="right") - 1, -1)
    on_edge = np.flatnonzero(owner >= 0)
    target = graph.nodes[node]
    target[on_edge] = graph.places[vertex[on_edge]]
    target_width = ends.end.width[end]
    target_width[on_edge] = _mean_widths(graph, edge[on_edge], pixel_size)
    distance = np.hypot(*((target - graph.nodes[ends.node[end]]) * pixel_size).T)
    gap = distance - (ends.end.width[end] + target_width) / 2
    good = (owner != -1) & (edge != ends.edge[end]) & (gap <= max_gap) & ((owner >= 0) | (degrees(graph)[node] >= 2))
    good[on_edge] &= _crossing(graph, vertex[on_edge], edge[on_edge], direction[on_edge], pixel_size) >= _GRAZING
    no_other, twice = np.full(len(end), -1), np.abs(turn) * np.sqrt(2)
    no_support = np.full(len(end), np.nan)
    return plausible(GapCandidates(end, no_other, vertex, node, gap, twice, no_support, no_other)[good])


def _crossing(graph: PixelGraph, vertex: Ints, edge: Ints, direction: Floats, pixel_size: PixelSize) -> Floats:
    """Return (n,) sines of the angles at which rays meet edges; 1 where an edge has no direction."""
    before = np.maximum(vertex - 4, graph.starts[edge])
    after = np.minimum(vertex + 4, graph.starts[edge + 1] - 1)
    along = (graph.places[after] - graph.places[before]) * pixel_size
    cross = np.abs(direction[:, 0] * along[:, 1] - direction[:, 1] * along[:, 0])
    length = np.hypot(*along.T)
    sine: Floats = np.divide(cross, length, out=np.ones(len(cross)), where=length > 0)
    return sine


def _mean_widths(graph: PixelGraph, edges: Ints, pixel_size: PixelSize) -> Floats:
    """Return (n,) metres: rough widths of some edges, from the number of road pixels per vertex."""
    edges, which = np.unique(edges, return_inverse=True)
    counts = np.diff(graph.starts)[edges]
    area = reduce_ranges(np.add, graph.area, graph.starts[edges], counts)
    width: Floats = area / np.maximum(counts, 1) * np.sqrt(pixel_size[0] * pixel_size[1])
    return width[which]


def _angle(one: Floats, two: Floats) -> Floats:
    """Return (n,) radians between vectors; a right angle if one has no length."""
    dot = (one * two).sum(axis=1)
    cross = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    degenerate = (dot == 0) & (cross == 0)
    angle: Floats = np.where(degenerate, np.pi / 2, np.abs(np.arctan2(cross, dot)))
    return angle
