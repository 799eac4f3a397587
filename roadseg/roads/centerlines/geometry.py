"""A repaired graph of pixels becomes a network on the ground.

Polylines of pixels zigzag, which makes them 6 % too long. Five binomial passes with fixed ends and a
Douglas-Peucker of 0.75 px take that to a part in a thousand. Nodes do not move, so edges that meet
share the very same point. The width of a road is its area over its length, away from its ends, where
other roads share the area; both are measured on the ground, so oblong and sheared pixels need no care.
"""

import numpy as np
import shapely

from roadseg.ragged import ranges
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
    reduce_slices,
)
from roadseg.roads.repair.spurs import components

PASSES = 5
SIMPLIFY_PX = 0.75
_ADJACENT_PX = 1.5
_ROUNDING_M = 1e-9


def to_ground(
    graph: PixelGraph, ground: Ground, *, simplify: float | None = None, probability: bool = True
) -> RoadNetwork:
    """Smooth the edges of a graph, lay them on the ground and measure them.

    Parameters
    ----------
    graph
        In any order; the network's order depends on its shape only.
    ground
        Where its pixels lie.
    simplify
        How far a line may be moved to save vertices, in metres; 0 keeps all, None takes 0.75 px (of the longer side).
    probability
        Whether the levels are probabilities; those of a mask are not, and come out as NaN.
    """
    graph = in_canonical_order(graph)
    tolerance = SIMPLIFY_PX * max(ground.pixel_size) if simplify is None else simplify
    nodes, double = ground.xy(graph.nodes), _is_double(graph.ends)
    parts = list(chunks(graph.starts[1:])) or [slice(0, 0)]
    measured = [
        _measured(edge_range(graph, part), double[part], nodes, ground, tolerance, probability=probability)
        for part in parts
    ]
    vertices, counts, length, width, mean, least = map(np.concatenate, zip(*measured, strict=True))
    return RoadNetwork(
        crs=ground.crs,
        nodes=nodes,
        degree=degrees(graph),
        at_border=graph.at_border,
        ends=graph.ends,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        vertices=vertices,
        length_m=length,
        width_m=_from_neighbours(width, graph.ends),
        probability_mean=mean,
        probability_min=least,
        inferred=graph.inferred,
        areal=graph.areal,
        component=_components(graph),
    )


def _measured(
    graph: PixelGraph, double: Bools, nodes: Floats, ground: Ground, tolerance: float, *, probability: bool
) -> tuple[Floats, Ints, Floats, Floats, Floats, Floats]:
    """Return what some edges are on the ground: vertices, their number, length, width, mean and least probability."""
    raw = polylines_of(graph)
    smooth = smoothed(raw)
    kept, starts = _simplified(graph, smooth * ground.pixel_size, raw.starts, double, tolerance)
    vertices = ground.xy(smooth[kept])
    vertices[starts[:-1]], vertices[starts[1:] - 1] = nodes[graph.ends[:, 0]], nodes[graph.ends[:, 1]]
    length = _lengths(smooth[kept], starts, ground)
    width = _widths(graph, raw, smooth, length, ground)
    return vertices, np.diff(starts), length, width, *_probabilities(graph, known=probability)


def smoothed(polylines: Polylines) -> Floats:
    """Return (points, 2) the points of the edges after five passes of (1, 2, 1) / 4; ends stay."""
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
    """Return the indices of the points that stay, and where each edge starts among them.

    A loop keeps three points beside its node; edges that share both nodes keep the one farthest from the chord.
    """
    if not len(graph.ends) or tolerance <= 0:
        return np.arange(len(points)), starts
    edge = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    numbered = np.column_stack([points, np.arange(len(points))])  # the number travels as height
    simple = shapely.simplify(shapely.linestrings(numbered, indices=edge), tolerance, preserve_topology=False)
    kept = shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64)
    stays = np.zeros(len(points), dtype=bool)
    stays[kept] = True
    count = np.bincount(edge[kept], minlength=len(graph.ends))
    loop = np.flatnonzero((graph.ends[:, 0] == graph.ends[:, 1]) & (count < 5))
    for quarter in (1, 2, 3):
        stays[starts[loop] + np.diff(starts)[loop] * quarter // 4] = True
    stays[_farthest(points, starts, np.flatnonzero(double & (count == 2)))] = True
    kept = np.flatnonzero(stays)
    return kept, np.concatenate([[0], np.cumsum(np.bincount(edge[kept], minlength=len(graph.ends)))])


def _is_double(ends: Ints) -> Bools:
    """Return (edges,) whether another edge joins the same two nodes."""
    pairs = np.sort(ends, axis=1)
    _, first, count = np.unique(
        pairs[:, 0] * (ends.max(initial=0) + 1) + pairs[:, 1], return_inverse=True, return_counts=True
    )
    double: Bools = (count[first] > 1) & (ends[:, 0] != ends[:, 1])
    return double


def _farthest(points: Floats, starts: Ints, edges: Ints) -> Ints:
    """Return the point of each edge that lies farthest from the straight line between its ends."""
    counts = np.diff(starts)[edges]
    at = ranges(starts[edges], counts)
    first, last = points[starts[edges]], points[starts[edges + 1] - 1]
    chord, off = np.repeat(last - first, counts, axis=0), points[at] - np.repeat(first, counts, axis=0)
    distance = np.abs(chord[:, 0] * off[:, 1] - chord[:, 1] * off[:, 0])
    number = np.repeat(np.arange(len(edges)), counts)
    order = np.lexsort((at, -distance, number))
    return at[order[np.cumsum(counts) - counts]] if len(edges) else at


def _lengths(points: Floats, starts: Ints, ground: Ground) -> Floats:
    """Return (edges,) metres on the ground."""
    metres = ground.metres((points[1:] + points[:-1]) / 2)
    step = np.hypot(*np.einsum("nij,nj->in", metres, np.diff(points, axis=0)))
    step[starts[1:-1] - 1] = 0
    return reduce_slices(np.add, step, starts[:-1], np.diff(starts) - 1)


def _probabilities(graph: PixelGraph, *, known: bool) -> tuple[Floats, Floats]:
    """Return (edges,) the mean and the least probability along each edge."""
    counts = np.diff(graph.starts)
    if not known:
        return np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    level = graph.level / 254.0
    total = reduce_slices(np.add, level, graph.starts[:-1], counts)
    mean = np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return mean, reduce_slices(np.minimum, level, graph.starts[:-1], counts, np.nan)


def _widths(graph: PixelGraph, raw: Polylines, smooth: Floats, length: Floats, ground: Ground) -> Floats:
    """Return (edges,) metres: area over length of the part that no other road shares.

    That is all but one width at both ends, or the middle third of a short edge. NaN where no road was seen.
    """
    edges, counts = np.arange(len(graph.ends)), np.diff(raw.starts)
    metres = ground.metres(smooth[(raw.starts[:-1] + raw.starts[1:]) // 2])
    metric = np.einsum("nij,nik->njk", metres, metres)
    step = _ground_steps(smooth, metric, counts)
    step[raw.starts[1:-1] - 1] = 0
    total = reduce_slices(np.add, step, raw.starts[:-1], counts - 1)
    step *= np.repeat(np.divide(length, total, out=np.ones(len(edges)), where=total > 0), counts)[:-1]
    edge = edge_of_vertex(graph)
    at = np.arange(len(edge)) + 2 * edge + 1
    adjacent = np.diff(raw.along) <= _ADJACENT_PX
    owned = np.where(adjacent[at - 1] & adjacent[at], (step[at - 1] + step[at]) / 2, 0)
    area = graph.area * np.repeat(np.sqrt(np.abs(np.linalg.det(metric))), np.diff(graph.starts))
    area[owned == 0] = 0
    first = _ratio(reduce_slices(np.add, area, graph.starts[:-1], np.diff(graph.starts)), owned, graph)
    from_start = np.cumsum(step)[at - 1]
    from_start -= np.concatenate([[0], np.cumsum(step)])[raw.starts[:-1]][edge]
    margin = np.minimum(np.nan_to_num(first), length / 3)[edge] - _ROUNDING_M
    ends = (from_start < margin) | (from_start > length[edge] - margin)
    inner_area, inner = np.where(ends, 0, area), np.where(ends, 0, owned)
    middle = _ratio(reduce_slices(np.add, inner_area, graph.starts[:-1], np.diff(graph.starts)), inner, graph)
    width = np.where(np.isnan(middle), first, middle)
    width[graph.inferred] = np.nan
    return width


def _ground_steps(points: Floats, metric: Floats, counts: Ints) -> Floats:
    """Return (points - 1,) metres between points that follow each other."""
    down, across = np.diff(points, axis=0).T
    a, b, c = (np.repeat(metric[:, i, j], counts)[:-1] for i, j in ((0, 0), (0, 1), (1, 1)))
    step: Floats = np.sqrt(np.maximum(a * down**2 + 2 * b * down * across + c * across**2, 0))
    return step


def _ratio(area: Floats, owned: Floats, graph: PixelGraph) -> Floats:
    """Divide (edges,) areas by the lengths (vertices,) they lie along; NaN where there is none."""
    along = reduce_slices(np.add, owned, graph.starts[:-1], np.diff(graph.starts))
    ratio: Floats = np.divide(area, along, out=np.full(len(area), np.nan), where=along > 0)
    return ratio


def _from_neighbours(width: Floats, ends: Ints) -> Floats:
    """Fill NaN with the mean of the edges that meet at both nodes; it stays where those know nothing either."""
    missing = np.isnan(width)
    if not missing.any():
        return width
    size = int(ends.max()) + 1
    known = np.repeat(~missing, 2)
    total = np.bincount(ends.ravel(), weights=np.where(known, np.repeat(width, 2), 0), minlength=size)
    number = np.bincount(ends.ravel(), weights=known, minlength=size)
    around, count = total[ends].sum(axis=1), number[ends].sum(axis=1)
    mean = np.divide(around, count, out=np.full(len(width), np.nan), where=count > 0)
    filled: Floats = np.where(missing, mean, width)
    return filled


def _components(graph: PixelGraph) -> Ints:
    """Return (edges,) the piece each edge belongs to, numbered in the order of the edges."""
    _, part = components(graph)
    _, first, number = np.unique(part[graph.ends[:, 0]], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]
