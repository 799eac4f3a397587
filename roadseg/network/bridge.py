"""Gaps in roads are bridged: from dead end to dead end, and from a dead end to the road it points at.

Trees and shadows hide roads. A bridge is proposed between two dead ends, or along the direction of a
dead end to the first edge it meets (a T gap). It is judged by its length between the roads' rims, by
how far both roads must turn, and by the probability under it; it never crosses another edge nor
anything unknown. Each dead end takes part in one bridge at most, the best ones are built first, and
what a bridge changes is seen by the next round.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from roadseg.network.edges import Pixel, Tips, chains, degrees, pick, slices, tips
from roadseg.network.digital import Marks, first_met, marks_of, owners, straight
from roadseg.network.graph import Bools, Floats, Ints, PixelGraph

Sample = Callable[[NDArray[np.int32]], NDArray[np.uint8]]
"""From (n, 2) row, col to (n,) probability × 254 there; 255 where it is not known."""

SPAN_M = 15.0
"""Length of road that tells where it points."""

_PAIR = np.array([-1.45, 0.040, 1.81, 1.60])
_T = np.array([-1.04, 0.073, 1.10, 2.21])
"""Logistic regression on 1,300 gaps of the dev tiles of Massachusetts roads, of which 40 % are road in the
masks: base, per metre of gap, per radian of misfit, per square root of support (up to 0.5)."""

_ACCEPTED = 0.7
"""Log odds up to which a bridge is built: better to close one gap too many than to leave a network in pieces."""

_USUAL_SUPPORT = 0.05
"""Stands for support where levels say nothing."""

_RAYS = np.radians([0.0, -20.0, 20.0])
_ROUNDS = 8
_UNKNOWN = 255
_GRAZING = np.sin(np.radians(25.0))


@dataclass(frozen=True)
class Ends:
    """Dead ends that may be bridged: their node, its pixel, and what the last metres of their edge tell."""

    node: Ints
    edge: Ints
    place: Ints
    tip: Tips


@dataclass(frozen=True)
class Bridges:
    """Possible bridges.

    Parameters
    ----------
    end, other
        (n,) which dead ends, by their number among ``Ends``; ``other`` is -1 where it leads to an edge or junction.
    vertex, node
        (n,) the vertex or node it leads to, -1 if it is the other kind.
    gap
        (n,) metres between the rims of the roads.
    misfit
        (n,) radians that the roads turn, root of the sum of squares; for a T the end's own turn, twice.
    support
        (n,) mean level in the gap over the level from which a pixel is road; NaN if levels are not known.
    """

    end: Ints
    other: Ints
    vertex: Ints
    node: Ints
    gap: Floats
    misfit: Floats
    support: Floats

    def __getitem__(self, which: Ints | Bools) -> "Bridges":
        return Bridges(*(getattr(self, field.name)[which] for field in fields(self)))


def bridge(
    graph: PixelGraph, *, longest: float, level: float | None, pixel: Pixel = (1.0, 1.0), sample: Sample | None = None
) -> PixelGraph:
    """Bridge the gaps of a network.

    Parameters
    ----------
    graph
        Pruned before: every spur would reach for the next road.
    longest
        Longest gap in metres.
    level
        Probability × 254 from which a pixel is road; None if levels say nothing, as those of a mask.
    pixel
        Size of a pixel.
    sample
        Tells the levels between roads; without it only directions count.

    Returns
    -------
    The graph with the bridges as inferred edges without area. Edges that one leads to are split there.
    """
    open_ends = np.flatnonzero((degrees(graph) == 1) & ~graph.at_border)
    for _ in range(_ROUNDS):
        if not len(open_ends):
            break
        ends = _ends(graph, open_ends, pixel)
        found = proposals(graph, ends, longest=longest, pixel=pixel)
        found = supported(graph, ends, found, level=level, pixel=pixel, sample=sample)
        found = found[odds_against(found) <= _ACCEPTED]
        chosen = _chosen(graph, ends, found)
        if not len(chosen.end):
            break
        done = np.concatenate([chosen.end, chosen.other[chosen.other >= 0]])
        waiting = np.setdiff1d(np.concatenate([found.end, found.other[found.other >= 0]]), done)
        open_ends = ends.node[waiting]
        graph = _built(graph, ends, chosen, sample)
    return graph


def odds_against(found: Bridges) -> Floats:
    """Return (n,) the logarithm of the odds that no road is hidden there, see ``_PAIR`` and ``_T``."""
    support = np.sqrt(np.clip(np.nan_to_num(found.support, nan=_USUAL_SUPPORT), 0, 0.5))
    base, per_metre, per_radian, per_support = np.where(found.other[:, None] >= 0, _PAIR, _T).T
    odds: Floats = base + per_metre * np.maximum(found.gap, 0) + per_radian * found.misfit - per_support * support
    return odds


def _ends(graph: PixelGraph, nodes: Ints, pixel: Pixel) -> Ends:
    """Look at the last metres before some dead ends."""
    edge_of = np.full(len(graph.nodes), -1)
    edge_of[graph.ends] = np.arange(len(graph.ends))[:, None]
    edge = edge_of[nodes]
    last = pick(graph, edge, all_nodes=True)
    half = 2 * np.arange(len(nodes)) + (last.ends[:, 1] == nodes)
    laid = chains(last, pixel)
    width = tips(last, laid, half, pixel, skip=np.zeros(len(half)), span=SPAN_M).width
    tip = tips(last, laid, half, pixel, skip=width / 2, span=SPAN_M)
    return Ends(nodes, edge, np.rint(graph.nodes[nodes]).astype(np.int64), replace(tip, width=width))


def proposals(graph: PixelGraph, ends: Ends, *, longest: float, pixel: Pixel) -> Bridges:
    """Return all bridges that cross nothing: between dead ends, and from dead ends to what they point at."""
    widest = float(ends.tip.width.max(initial=0))
    reach = longest + widest + 10 * max(pixel)
    taken = marks_of(graph, ends.place, reach / min(pixel))
    pairs = _pairs(graph, ends, taken, longest, pixel)
    hits = _hits(graph, ends, taken, longest, pixel)
    return Bridges(*(np.concatenate([getattr(pairs, f.name), getattr(hits, f.name)]) for f in fields(Bridges)))


def _pairs(graph: PixelGraph, ends: Ends, taken: Marks, longest: float, pixel: Pixel) -> Bridges:
    """Propose bridges between dead ends."""
    points, width = graph.nodes[ends.node] * pixel, ends.tip.width
    near = KDTree(points).query_pairs(longest + float(width.max(initial=0)), output_type="ndarray")
    near = near[np.lexsort((near[:, 1], near[:, 0]))].astype(np.int64)
    one, two = near.T
    apart = points[two] - points[one]
    distance = np.hypot(*apart.T)
    gap = distance - (width[one] + width[two]) / 2
    turn_one, turn_two = _angle(ends.tip.outward[one], apart), _angle(ends.tip.outward[two], -apart)
    good = np.flatnonzero((gap <= longest) & (turn_one < np.pi / 2) & (turn_two < np.pi / 2))
    one, two = one[good], two[good]
    drawn = straight(ends.place[one], ends.place[two], thick=True)
    inner = (drawn.step > 2) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 3)
    inner &= taken.at(drawn.places[:, 0], drawn.places[:, 1])
    free = np.bincount(drawn.line, weights=inner, minlength=len(one)) == 0
    good, one, two = good[free], one[free], two[free]
    none = np.full(len(one), -1)
    misfit = np.hypot(turn_one[good], turn_two[good])
    return Bridges(one, two, none, ends.node[two], gap[good], misfit, np.full(len(one), np.nan))


def _hits(graph: PixelGraph, ends: Ends, taken: Marks, longest: float, pixel: Pixel) -> Bridges:
    """Propose bridges from dead ends to the first edge on their way, and a little to its left and right."""
    rays = np.tile(_RAYS, len(ends.node))
    end = np.repeat(np.arange(len(ends.node)), len(_RAYS))
    down, across = ends.tip.outward[end].T
    cos, sin = np.cos(rays), np.sin(rays)
    direction = np.stack([down * cos - across * sin, down * sin + across * cos], axis=1)
    far = (longest + ends.tip.width[end] + 5)[:, None] * direction / pixel
    met = first_met(taken, ends.place[end], far, skip=2)
    ray = np.flatnonzero(met[:, 0] >= 0)
    hits = end[ray], rays[ray], owners(graph, met[ray]), direction[ray]
    return _judged_hits(graph, ends, hits, longest, pixel)


def _judged_hits(
    graph: PixelGraph, ends: Ends, hits: tuple[Ints, Floats, Ints, Floats], longest: float, pixel: Pixel
) -> Bridges:
    """Drop hits of the end's own edge, at grazing angles, of other dead ends, and beyond the longest gap."""
    end, ray, owner, direction = hits
    vertex, node = np.where(owner >= 0, owner, -1), np.where(owner <= -2, -2 - owner, -1)
    edge = np.where(owner >= 0, np.searchsorted(graph.starts, vertex, side="right") - 1, -1)
    on_edge = np.flatnonzero(owner >= 0)
    at = graph.nodes[node]
    at[on_edge] = graph.places[vertex[on_edge]]
    met_width = ends.tip.width[end]
    met_width[on_edge] = _mean_widths(graph, pixel)[edge[on_edge]]
    distance = np.hypot(*((at - graph.nodes[ends.node[end]]) * pixel).T)
    gap = distance - (ends.tip.width[end] + met_width) / 2
    good = (edge != ends.edge[end]) & (gap <= longest) & ((owner >= 0) | (degrees(graph)[node] >= 2))
    good[on_edge] &= _crossing(graph, vertex[on_edge], edge[on_edge], direction[on_edge], pixel) >= _GRAZING
    none, misfit = np.full(len(end), -1), np.abs(ray) * np.sqrt(2)
    return Bridges(end, none, vertex, node, gap, misfit, np.full(len(end), np.nan))[good]


def _crossing(graph: PixelGraph, vertex: Ints, edge: Ints, direction: Floats, pixel: Pixel) -> Floats:
    """Return (n,) sines of the angles at which rays meet edges; 1 where an edge has no direction."""
    before = np.maximum(vertex - 4, graph.starts[edge])
    behind = np.minimum(vertex + 4, graph.starts[edge + 1] - 1)
    along = (graph.places[behind] - graph.places[before]) * pixel
    cross = np.abs(direction[:, 0] * along[:, 1] - direction[:, 1] * along[:, 0])
    length = np.hypot(*along.T)
    sine: Floats = np.divide(cross, length, out=np.ones(len(cross)), where=length > 0)
    return sine


def _mean_widths(graph: PixelGraph, pixel: Pixel) -> Floats:
    """Return (edges,) metres, roughly: pixels per vertex."""
    counts = np.diff(graph.starts)
    total = np.concatenate([[0], np.cumsum(graph.area, dtype=np.int64)])
    width: Floats = (total[graph.starts[1:]] - total[graph.starts[:-1]]) / np.maximum(counts, 1)
    return width * np.sqrt(pixel[0] * pixel[1])


def supported(
    graph: PixelGraph, ends: Ends, found: Bridges, *, level: float | None, pixel: Pixel, sample: Sample | None
) -> Bridges:
    """Note the mean level between the rims, over the level of a road; bridges over unknown pixels are dropped."""
    if sample is None or not len(found.end):
        return found
    target = _targets(graph, found)
    drawn = straight(ends.place[found.end], target, thick=False)
    levels = sample(drawn.places.astype(np.int32)).astype(np.float64)
    steps = np.diff(drawn.starts)
    known = np.bincount(drawn.line, weights=levels == _UNKNOWN, minlength=len(steps)) == 0
    distance = np.maximum(np.hypot(*((target - ends.place[found.end]) * pixel).T), 1e-9)
    rim = ends.tip.width[found.end] / 2 / distance
    middle, half = (
        rim + found.gap / distance / 2,
        np.maximum(found.gap - 3 * max(pixel), 1.5 * max(pixel)) / distance / 2,
    )
    share = drawn.step / np.maximum(steps - 1, 1)[drawn.line]
    inside = np.abs(share - np.clip(middle, 0, 1)[drawn.line]) <= half[drawn.line]
    total = np.bincount(drawn.line, weights=levels * inside, minlength=len(steps))
    support = total / np.maximum(np.bincount(drawn.line, weights=inside, minlength=len(steps)), 1) / (level or 1)
    return (found if level is None else replace(found, support=support))[known]


def _targets(graph: PixelGraph, found: Bridges) -> Ints:
    """Return (n, 2) the pixel each bridge leads to."""
    target = np.rint(graph.nodes[found.node]).astype(np.int64)
    split = found.vertex >= 0
    target[split] = graph.places[found.vertex[split]]
    return target


def _chosen(graph: PixelGraph, ends: Ends, found: Bridges) -> Bridges:
    """Return the bridges that are the best one for each of their ends and do not cross a better one."""
    target = _targets(graph, found)
    cost = odds_against(found)
    order = np.lexsort((target[:, 1], target[:, 0], found.end, cost))
    found, target = found[order], target[order]
    rank = np.arange(len(order))
    best = np.full(len(ends.node) + 1, len(order))
    np.minimum.at(best, found.end, rank)
    np.minimum.at(best, found.other, rank)
    mutual = (best[found.end] == rank) & ((found.other < 0) | (best[found.other] == rank))
    found, target = found[mutual], target[mutual]
    drawn = straight(ends.place[found.end], target, thick=True)
    inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1)
    keys = (drawn.places[:, 0] << 32) + drawn.places[:, 1]
    _, first, same = np.unique(keys[inner], return_index=True, return_inverse=True)
    line = drawn.line[inner]
    crossed = np.bincount(line, weights=line[first][same] < line, minlength=len(found.end)) > 0
    return found[~crossed]


def _built(graph: PixelGraph, ends: Ends, chosen: Bridges, sample: Sample | None) -> PixelGraph:
    """Return the graph with the bridges as edges."""
    drawn = straight(ends.place[chosen.end], _targets(graph, chosen), thick=False)
    inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1)
    places = drawn.places[inner].astype(np.int32)
    counts = np.bincount(drawn.line[inner], minlength=len(chosen.end))
    split, which = np.unique(chosen.vertex[chosen.vertex >= 0], return_inverse=True)
    target = chosen.node.copy()
    target[chosen.vertex >= 0] = len(graph.nodes) + which
    graph = split_edges(graph, split)
    level = sample(places) if sample is not None else np.zeros(len(places), dtype=np.uint8)
    return replace(
        graph,
        ends=np.concatenate([graph.ends, np.stack([ends.node[chosen.end], target], axis=1)]),
        starts=np.concatenate([graph.starts, graph.starts[-1] + np.cumsum(counts)]),
        places=np.concatenate([graph.places, places]),
        area=np.concatenate([graph.area, np.zeros(len(places), dtype=np.uint16)]),
        level=np.concatenate([graph.level, level]),
        inferred=np.concatenate([graph.inferred, np.ones(len(counts), dtype=bool)]),
        areal=np.concatenate([graph.areal, np.zeros(len(counts), dtype=bool)]),
    )


def split_edges(graph: PixelGraph, vertices: Ints) -> PixelGraph:
    """Make nodes of some vertices.

    Parameters
    ----------
    graph
        Its nodes keep their numbers; the new ones follow in the order of ``vertices``.
    vertices
        (n,) ascending indices, each once.
    """
    edge = np.searchsorted(graph.starts, vertices, side="right") - 1
    parts = 1 + np.bincount(edge, minlength=len(graph.ends))
    owner = np.repeat(np.arange(len(parts)), parts)
    first = np.cumsum(parts) - parts
    behind = slices(first + 1, parts - 1)
    ends = graph.ends[owner]
    new = len(graph.nodes) + np.arange(len(vertices))
    ends[behind, 0], ends[behind - 1, 1] = new, new
    begin, stop = graph.starts[:-1][owner], graph.starts[1:][owner]
    begin[behind], stop[behind - 1] = vertices + 1, vertices
    return PixelGraph(
        nodes=np.concatenate([graph.nodes, graph.places[vertices]]),
        at_border=np.concatenate([graph.at_border, np.zeros(len(vertices), dtype=bool)]),
        ends=ends,
        starts=np.concatenate([[0], np.cumsum(stop - begin)]),
        places=np.delete(graph.places, vertices, axis=0),
        area=np.delete(graph.area, vertices),
        level=np.delete(graph.level, vertices),
        inferred=graph.inferred[owner],
        areal=graph.areal[owner],
    )


def _angle(one: Floats, two: Floats) -> Floats:
    """Return (n,) radians between vectors; a right angle if one has no length."""
    dot = (one * two).sum(axis=1)
    cross = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    nothing = (dot == 0) & (cross == 0)
    angle: Floats = np.where(nothing, np.pi / 2, np.abs(np.arctan2(cross, dot)))
    return angle
