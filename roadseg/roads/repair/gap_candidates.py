"""Which gaps could be bridged: dead ends that face each other, and dead ends that point at a road."""

from dataclasses import fields, replace

import numpy as np
from scipy.spatial import KDTree

from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import WIDE_CHUNK, Pixel, chunks, degrees, polylines_of, reduce_slices, take_edges
from roadseg.roads.repair.ends import EdgeEnds, end_widths, measure_ends
from roadseg.roads.repair.gap_evidence import DeadEnds, GapCandidates, concatenate, plausible
from roadseg.roads.repair.pixel_lines import PixelSet, first_hit, line_pixels, owners, pixels_of

SPAN_M = 15.0
"""Length of road that tells where it points."""

_RAYS = np.radians([0.0, -20.0, 20.0])
_GRAZING = np.sin(np.radians(25.0))


def measure_dead_ends(graph: PixelGraph, nodes: Ints, pixel: Pixel) -> DeadEnds:
    """Look at the last metres before some dead ends."""
    edge_of = np.full(len(graph.nodes), -1)
    edge_of[graph.ends] = np.arange(len(graph.ends))[:, None]
    edge = edge_of[nodes]
    found = [
        _last_metres(take_edges(graph, edge[part], all_nodes=True), nodes[part], pixel)
        for part in chunks(np.cumsum(np.diff(graph.starts)[edge]), WIDE_CHUNK)
    ]
    tip = EdgeEnds(*(np.concatenate([getattr(one, field.name) for one in found]) for field in fields(EdgeEnds)))
    return DeadEnds(nodes, edge, np.rint(graph.nodes[nodes]).astype(np.int64), tip)


def _last_metres(last: PixelGraph, nodes: Ints, pixel: Pixel) -> EdgeEnds:
    """Look at edges from one of their nodes each; the width is that at the very end."""
    half = 2 * np.arange(len(nodes)) + (last.ends[:, 1] == nodes)
    polylines = polylines_of(last, pixel)
    width = end_widths(last, polylines, half, pixel, skip=np.zeros(len(half)), span=SPAN_M)
    return replace(measure_ends(last, polylines, half, pixel, skip=width / 2, span=SPAN_M), width=width)


def find_obstacles(graph: PixelGraph, ends: DeadEnds, *, longest: float, pixel: Pixel) -> PixelSet:
    """Mark what bridges from some dead ends could meet."""
    return pixels_of(graph, ends.place, _reach(ends, longest, pixel))


def find_candidates(
    graph: PixelGraph, ends: DeadEnds, taken: PixelSet, *, longest: float, pixel: Pixel
) -> GapCandidates:
    """Return all bridges that cross nothing: between dead ends, and from dead ends to what they point at.

    Parameters
    ----------
    graph, ends, pixel
        The network, its dead ends, and the size of a pixel.
    taken
        What lies on the way, see ``find_obstacles``.
    longest
        Longest gap in metres.
    """
    if _reach(ends, longest, pixel) > taken.reach:
        taken = find_obstacles(graph, ends, longest=longest, pixel=pixel)
    pairs = _pairs(graph, ends, taken, longest, pixel)
    hits = _hits(graph, ends, taken, longest, pixel)
    return concatenate(pairs, hits)


def _reach(ends: DeadEnds, longest: float, pixel: Pixel) -> float:
    """Return how many pixels away from a dead end something may matter."""
    return (longest + float(ends.end.width.max(initial=0)) + 10 * max(pixel)) / min(pixel)


def _pairs(graph: PixelGraph, ends: DeadEnds, taken: PixelSet, longest: float, pixel: Pixel) -> GapCandidates:
    """Propose bridges between dead ends."""
    points, width = graph.nodes[ends.node] * pixel, ends.end.width
    widest = min(float(width.max(initial=0)), longest)
    near = KDTree(points).query_pairs(longest + widest, output_type="ndarray")
    near = near[np.lexsort((near[:, 1], near[:, 0]))].astype(np.int64)
    one, two = near.T
    apart = points[two] - points[one]
    distance = np.hypot(*apart.T)
    gap = distance - (width[one] + width[two]) / 2
    turn_one, turn_two = _angle(ends.end.outward[one], apart), _angle(ends.end.outward[two], -apart)
    good = np.flatnonzero((gap <= longest) & (turn_one < np.pi / 2) & (turn_two < np.pi / 2))
    one, two = one[good], two[good]
    none, misfit = np.full(len(one), -1), np.hypot(turn_one[good], turn_two[good])
    found = plausible(GapCandidates(one, two, none, ends.node[two], gap[good], misfit, np.full(len(one), np.nan)))
    return found[_unhindered(ends.place[found.end], ends.place[found.other], taken)]


def _unhindered(start: Ints, stop: Ints, taken: PixelSet) -> Bools:
    """Return (n,) whether nothing lies between two pixels, but for three steps at both ends."""
    free = np.ones(len(start), dtype=bool)
    for part in chunks(np.cumsum(np.abs(stop - start).sum(axis=1) + 1)):
        drawn = line_pixels(start[part], stop[part], thick=True)
        inner = (drawn.step > 2) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 3)
        inner &= taken.at(drawn.places[:, 0], drawn.places[:, 1])
        free[part] = np.bincount(drawn.line, weights=inner, minlength=part.stop - part.start) == 0
    return free


def _hits(graph: PixelGraph, ends: DeadEnds, taken: PixelSet, longest: float, pixel: Pixel) -> GapCandidates:
    """Propose bridges from dead ends to the first edge on their way, and a little to its left and right."""
    rays = np.tile(_RAYS, len(ends.node))
    end = np.repeat(np.arange(len(ends.node)), len(_RAYS))
    down, across = ends.end.outward[end].T
    cos, sin = np.cos(rays), np.sin(rays)
    direction = np.stack([down * cos - across * sin, down * sin + across * cos], axis=1)
    far = (longest + ends.end.width[end] + 5)[:, None] * direction / pixel
    met = first_hit(taken, ends.place[end], far, skip=2)
    ray = np.flatnonzero(met[:, 0] >= 0)
    hits = end[ray], rays[ray], owners(graph, met[ray]), direction[ray]
    return _judged_hits(graph, ends, hits, longest, pixel)


def _judged_hits(
    graph: PixelGraph, ends: DeadEnds, hits: tuple[Ints, Floats, Ints, Floats], longest: float, pixel: Pixel
) -> GapCandidates:
    """Drop hits of the end's own edge, at grazing angles, of other dead ends, and beyond the longest gap."""
    end, ray, owner, direction = hits
    vertex, node = np.where(owner >= 0, owner, -1), np.where(owner <= -2, -2 - owner, -1)
    edge = np.where(owner >= 0, np.searchsorted(graph.starts, vertex, side="right") - 1, -1)
    on_edge = np.flatnonzero(owner >= 0)
    at = graph.nodes[node]
    at[on_edge] = graph.places[vertex[on_edge]]
    met_width = ends.end.width[end]
    met_width[on_edge] = _mean_widths(graph, edge[on_edge], pixel)
    distance = np.hypot(*((at - graph.nodes[ends.node[end]]) * pixel).T)
    gap = distance - (ends.end.width[end] + met_width) / 2
    good = (owner != -1) & (edge != ends.edge[end]) & (gap <= longest) & ((owner >= 0) | (degrees(graph)[node] >= 2))
    good[on_edge] &= _crossing(graph, vertex[on_edge], edge[on_edge], direction[on_edge], pixel) >= _GRAZING
    none, misfit = np.full(len(end), -1), np.abs(ray) * np.sqrt(2)
    return plausible(GapCandidates(end, none, vertex, node, gap, misfit, np.full(len(end), np.nan))[good])


def _crossing(graph: PixelGraph, vertex: Ints, edge: Ints, direction: Floats, pixel: Pixel) -> Floats:
    """Return (n,) sines of the angles at which rays meet edges; 1 where an edge has no direction."""
    before = np.maximum(vertex - 4, graph.starts[edge])
    behind = np.minimum(vertex + 4, graph.starts[edge + 1] - 1)
    along = (graph.places[behind] - graph.places[before]) * pixel
    cross = np.abs(direction[:, 0] * along[:, 1] - direction[:, 1] * along[:, 0])
    length = np.hypot(*along.T)
    sine: Floats = np.divide(cross, length, out=np.ones(len(cross)), where=length > 0)
    return sine


def _mean_widths(graph: PixelGraph, edges: Ints, pixel: Pixel) -> Floats:
    """Return (n,) metres, roughly, of some edges: pixels per vertex."""
    edges, which = np.unique(edges, return_inverse=True)
    counts = np.diff(graph.starts)[edges]
    area = reduce_slices(np.add, graph.area, graph.starts[edges], counts)
    width: Floats = area / np.maximum(counts, 1) * np.sqrt(pixel[0] * pixel[1])
    return width[which]


def _angle(one: Floats, two: Floats) -> Floats:
    """Return (n,) radians between vectors; a right angle if one has no length."""
    dot = (one * two).sum(axis=1)
    cross = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    nothing = (dot == 0) & (cross == 0)
    angle: Floats = np.where(nothing, np.pi / 2, np.abs(np.arctan2(cross, dot)))
    return angle
