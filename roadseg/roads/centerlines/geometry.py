"""From a repaired pixel graph to a road network on the ground: smooth, simplify, measure.

Polylines of pixels zigzag, which makes them 6 % too long. Five binomial passes with fixed ends and Douglas-Peucker
with 0.75 px reduce that to a part in a thousand. Nodes do not move, so edges that meet share the very same point. The
width of a road is its area over its length, away from its ends, where other roads share the area; both are measured on
the ground, so oblong and sheared pixels need no special case.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import shapely

from roadseg.files.workers import WorkerPool
from roadseg.ragged import offsets, ranges, reduce_ranges
from roadseg.raster.ground import Ground
from roadseg.roads.network import RoadNetwork
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import (
    Polylines,
    chunks,
    degrees,
    edge_of_vertex,
    edge_range,
    in_canonical_order,
    polylines_of,
)
from roadseg.roads.repair.spurs import components

PASSES = 5
"""Number of binomial smoothing passes."""

SIMPLIFY_PX = 0.75
"""Default tolerance of the simplification."""

_ADJACENT_PX = 1.5
"""Vertices farther apart are not neighbours: a gap was bridged, or a junction moved."""

_ROUNDING_M = 1e-9


def to_ground(
    graph: PixelGraph,
    ground: Ground,
    *,
    simplify: float | None = None,
    probability: bool = True,
    pool: WorkerPool | None = None,
) -> RoadNetwork:
    """Smooth the edges of a graph, project them to the ground and measure them.

    Parameters
    ----------
    graph
        Graph in any order; the order of the network depends on its shape only.
    ground
        The ground under its pixels.
    simplify
        Tolerance of the simplification in metres; 0 keeps all vertices, None takes 0.75 px (of the longer side).
    probability
        Whether the levels are probabilities; otherwise, as for a mask, the network's are NaN.
    pool
        Workers to share the edges among; the result does not depend on them.
    """
    graph = in_canonical_order(graph)
    tolerance = SIMPLIFY_PX * max(ground.pixel_size) if simplify is None else simplify
    nodes, double = ground.xy(graph.nodes), _is_double(graph.ends)
    parts = list(chunks(graph.starts[1:])) or [slice(0, 0)]
    pieces = (_piece(edge_range(graph, part), double[part], nodes) for part in parts)
    measure = partial(_measured, ground=ground, tolerance=tolerance, probability=probability)
    measured = pool.map(partial(_of_shared, measure), pieces) if pool else map(measure, pieces)
    vertices, counts, length, width, mean, least = map(np.concatenate, zip(*measured, strict=True))
    return RoadNetwork(
        crs=ground.crs,
        nodes=nodes,
        degree=degrees(graph),
        at_border=graph.at_border,
        ends=graph.ends,
        starts=offsets(counts),
        vertices=vertices,
        length_m=length,
        width_m=_from_neighbours(width, graph.ends),
        probability_mean=mean,
        probability_min=least,
        inferred=graph.inferred,
        areal=graph.areal,
        component=_components(graph),
    )


@dataclass(frozen=True)
class _Piece:
    """Some edges with the nodes they use, whether another edge joins the same nodes, and the nodes on the ground."""

    graph: PixelGraph
    double: Bools
    nodes: Floats


def _piece(edges: PixelGraph, double: Bools, nodes: Floats) -> _Piece:
    used, ends = np.unique(edges.ends, return_inverse=True)
    graph = replace(edges, nodes=edges.nodes[used], at_border=edges.at_border[used], ends=ends.reshape(-1, 2))
    return _Piece(graph, double, nodes[used])


_Measured = tuple[Floats, Ints, Floats, Floats, Floats, Floats]


def _of_shared(measure: Callable[[_Piece], _Measured], _: object, piece: _Piece) -> _Measured:
    return measure(piece)


def _measured(piece: _Piece, *, ground: Ground, tolerance: float, probability: bool) -> _Measured:
    """Return some edges on the ground: vertices, their number per edge, lengths, widths, mean and least probability."""
    graph, double, nodes = piece.graph, piece.double, piece.nodes
    raw = polylines_of(graph)
    smooth = smoothed(raw)
    kept, starts = _simplified(graph, smooth * ground.pixel_size, raw.starts, double, tolerance)
    vertices = ground.xy(smooth[kept])
    vertices[starts[:-1]], vertices[starts[1:] - 1] = nodes[graph.ends[:, 0]], nodes[graph.ends[:, 1]]
    length = _lengths(smooth[kept], starts, ground)
    width = _widths(graph, raw, smooth, length, ground)
    return vertices, np.diff(starts), length, width, *_probabilities(graph, valid=probability)


def smoothed(polylines: Polylines) -> Floats:
    """Return (points, 2) the points of all edges after five passes with the kernel (1, 2, 1) / 4; ends do not move."""
    fixed = np.zeros(len(polylines.points), dtype=bool)
    fixed[polylines.starts[:-1]] = fixed[polylines.starts[1:] - 1] = True
    moving = ~fixed[1:-1]
    columns = []
    for column in polylines.points.T:
        values = column.copy()
        for _ in range(PASSES):
            mean = (values[:-2] + values[2:]) / 4 + values[1:-1] / 2
            np.copyto(values[1:-1], mean, where=moving)
        columns.append(values)
    return np.stack(columns, axis=1)


def _simplified(graph: PixelGraph, points: Floats, starts: Ints, double: Bools, tolerance: float) -> tuple[Ints, Ints]:
    """Return the indices of the points to keep, and (edges + 1,) where each edge starts among them.

    A loop keeps three points beside its node, and edges that share both nodes keep the one farthest from the chord, so
    that none collapses to a line that is traversed twice.
    """
    if not len(graph.ends) or tolerance <= 0:
        return np.arange(len(points)), starts
    edge = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    numbered = np.column_stack([points, np.arange(len(points))])  # as z, the index survives the simplification
    simple = shapely.simplify(shapely.linestrings(numbered, indices=edge), tolerance, preserve_topology=False)
    kept = shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64)
    keep = np.zeros(len(points), dtype=bool)
    keep[kept] = True
    count = np.bincount(edge[kept], minlength=len(graph.ends))
    loop = np.flatnonzero((graph.ends[:, 0] == graph.ends[:, 1]) & (count < 5))
    for quarter in (1, 2, 3):
        keep[starts[loop] + np.diff(starts)[loop] * quarter // 4] = True
    keep[_farthest(points, starts, np.flatnonzero(double & (count == 2)))] = True
    kept = np.flatnonzero(keep)
    return kept, offsets(np.bincount(edge[kept], minlength=len(graph.ends)))


def _is_double(ends: Ints) -> Bools:
    """Return (edges,) whether another edge joins the same two nodes."""
    low, high = np.sort(ends, axis=1).T
    _, pair, count = np.unique(low * (ends.max(initial=0) + 1) + high, return_inverse=True, return_counts=True)
    double: Bools = (count[pair] > 1) & (low != high)
    return double


def _farthest(points: Floats, starts: Ints, edges: Ints) -> Ints:
    """Return the index of the point of each edge that lies farthest from the straight line between its ends."""
    counts = np.diff(starts)[edges]
    index = ranges(starts[edges], counts)
    first, last = points[starts[edges]], points[starts[edges + 1] - 1]
    chord, offset = np.repeat(last - first, counts, axis=0), points[index] - np.repeat(first, counts, axis=0)
    distance = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0])
    owner = np.repeat(np.arange(len(edges)), counts)
    order = np.lexsort((index, -distance, owner))
    return index[order[offsets(counts)[:-1]]]


def _lengths(points: Floats, starts: Ints, ground: Ground) -> Floats:
    """Return (edges,) metres on the ground."""
    metres = ground.metres((points[1:] + points[:-1]) / 2)
    step = np.hypot(*np.einsum("nij,nj->in", metres, np.diff(points, axis=0)))
    step[starts[1:-1] - 1] = 0
    return reduce_ranges(np.add, step, starts[:-1], np.diff(starts) - 1)


def _probabilities(graph: PixelGraph, *, valid: bool) -> tuple[Floats, Floats]:
    """Return (edges,) the mean and the least probability along each edge."""
    counts = np.diff(graph.starts)
    if not valid:
        return np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    level = graph.level / 254.0
    total = reduce_ranges(np.add, level, graph.starts[:-1], counts)
    mean = np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return mean, reduce_ranges(np.minimum, level, graph.starts[:-1], counts, np.nan)


def _widths(graph: PixelGraph, raw: Polylines, smooth: Floats, length: Floats, ground: Ground) -> Floats:
    """Return (edges,) metres: area over length of the part that no other road shares.

    That is all but one width at both ends, or the middle third of a short edge. NaN where no road was seen.
    """
    # Points are the nodes and vertices of an edge, steps lie between them. A vertex owns half of both steps beside it,
    # and its road area counts only if it owns any:
    #
    #     point     0 ───── 1 ───── 2 ───── 3 ───── 4        vertex i of edge e is point i + 2 * e + 1
    #               node    vertex  vertex  vertex  node
    #     owned         ├───────┼───────┼───────┤
    counts = np.diff(raw.starts)
    metres = ground.metres(smooth[(raw.starts[:-1] + raw.starts[1:]) // 2])
    metric = np.einsum("nij,nik->njk", metres, metres)
    step = _ground_steps(smooth, metric, counts)
    step[raw.starts[1:-1] - 1] = 0  # from one edge to the next
    total = reduce_ranges(np.add, step, raw.starts[:-1], counts - 1)
    step *= np.repeat(np.divide(length, total, out=np.ones(len(counts)), where=total > 0), counts)[:-1]
    edge = edge_of_vertex(graph)
    point = np.arange(len(edge)) + 2 * edge + 1
    adjacent = np.diff(raw.along) <= _ADJACENT_PX
    owned = np.where(adjacent[point - 1] & adjacent[point], (step[point - 1] + step[point]) / 2, 0)
    area = graph.area * np.repeat(np.sqrt(np.abs(np.linalg.det(metric))), np.diff(graph.starts))
    area[owned == 0] = 0
    whole = _ratio(area, owned, graph)
    from_start = np.cumsum(step)[point - 1]
    from_start -= np.concatenate([[0], np.cumsum(step)])[raw.starts[:-1]][edge]
    margin = np.minimum(np.nan_to_num(whole), length / 3)[edge] - _ROUNDING_M
    shared = (from_start < margin) | (from_start > length[edge] - margin)
    middle = _ratio(np.where(shared, 0, area), np.where(shared, 0, owned), graph)
    width = np.where(np.isnan(middle), whole, middle)
    width[graph.inferred] = np.nan
    return width


def _ground_steps(points: Floats, metric: Floats, counts: Ints) -> Floats:
    """Return (points - 1,) metres between consecutive points, by the metric tensor (edges, 2, 2) of their edge."""
    down, across = np.diff(points, axis=0).T
    a, b, c = (np.repeat(metric[:, i, j], counts)[:-1] for i, j in ((0, 0), (0, 1), (1, 1)))
    step: Floats = np.sqrt(np.maximum(a * down**2 + 2 * b * down * across + c * across**2, 0))
    return step


def _ratio(area: Floats, owned: Floats, graph: PixelGraph) -> Floats:
    """Return (edges,) the area over the length of the vertices of each edge; NaN where they have no length."""
    first, counts = graph.starts[:-1], np.diff(graph.starts)
    total, along = reduce_ranges(np.add, area, first, counts), reduce_ranges(np.add, owned, first, counts)
    ratio: Floats = np.divide(total, along, out=np.full(len(total), np.nan), where=along > 0)
    return ratio


def _from_neighbours(width: Floats, ends: Ints) -> Floats:
    """Replace NaN by the mean width of the edges that meet at both nodes; it remains where those have none either."""
    missing = np.isnan(width)
    if not missing.any():
        return width
    nodes, valid = int(ends.max()) + 1, np.repeat(~missing, 2)
    total = np.bincount(ends.ravel(), weights=np.where(valid, np.repeat(width, 2), 0), minlength=nodes)
    count = np.bincount(ends.ravel(), weights=valid, minlength=nodes)
    both_total, both_count = total[ends].sum(axis=1), count[ends].sum(axis=1)
    mean = np.divide(both_total, both_count, out=np.full(len(width), np.nan), where=both_count > 0)
    filled: Floats = np.where(missing, mean, width)
    return filled


def _components(graph: PixelGraph) -> Ints:
    """Return (edges,) the connected component of each edge, numbered in the order of the edges."""
    _, label = components(graph)
    _, first, number = np.unique(label[graph.ends[:, 0]], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]  # argsort of argsort: the rank of each label by its first edge
