"""The last metres of an edge: where it points, and how wide the road is there.

An end is named by its half-edge: ``2 i`` leaves the first node of edge ``i``, ``2 i + 1`` its last one, so
``half >> 1`` is the edge and ``half & 1`` the side. The node it leaves is its tail, ``ends.ravel()[half]``.
"""

from dataclasses import dataclass

import numpy as np

from roadseg.ragged import ranges, reduce_ranges
from roadseg.roads.pixel_graph import Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import PixelSize, Polylines


@dataclass(frozen=True)
class EdgeEnds:
    """What the last metres of some half-edges show.

    Parameters
    ----------
    outward
        (n, 2) unit vector down, across that points out of the edge beyond its node; zeros if there is none.
    width
        (n,) metres of road width.
    middle
        (n, 2) metres down, across: the middle one of the points that were measured.
    reach
        (n,) metres between the outermost of these points.
    """

    outward: Floats
    width: Floats
    middle: Floats
    reach: Floats


def measure_ends(
    graph: PixelGraph, polylines: Polylines, half_edges: Ints, pixel_size: PixelSize, *, skip: Floats, span: float
) -> EdgeEnds:
    """Measure direction and width at the tails of some half-edges.

    The direction is the slope of the points against their distance from the end, so that single
    pixels weigh little.

    Parameters
    ----------
    graph, polylines, pixel_size
        The edges, the same as polylines, and the size of a pixel.
    half_edges
        (n,) the ends to measure.
    skip
        (n,) metres next to the node that are left out, at most a third of the edge.
    span
        Metres that are measured.
    """
    edge, first, last = _measured_points(polylines, half_edges, skip, span)
    counts = last - first + 1
    at = ranges(first, counts)
    group = np.cumsum(counts) - counts
    tail = np.where(half_edges & 1, polylines.starts[edge + 1] - 1, polylines.starts[edge])
    distance = np.abs(polylines.along[at] - np.repeat(polylines.along[tail], counts))
    outward = -_slopes(distance, polylines.points[at], group, counts)
    width = _widths(graph, polylines, edge, first, last) * (pixel_size[0] * pixel_size[1])
    reach = polylines.along[last] - polylines.along[first]
    return EdgeEnds(outward, width, polylines.points[(first + last) // 2], reach)


def end_widths(
    graph: PixelGraph, polylines: Polylines, half_edges: Ints, pixel_size: PixelSize, *, skip: Floats, span: float
) -> Floats:
    """Return (n,) metres: the road width at the tails of some half-edges, as ``measure_ends`` measures it."""
    edge, first, last = _measured_points(polylines, half_edges, skip, span)
    return _widths(graph, polylines, edge, first, last) * (pixel_size[0] * pixel_size[1])


def _measured_points(polylines: Polylines, half_edges: Ints, skip: Floats, span: float) -> tuple[Ints, Ints, Ints]:
    """Return (n,) the edges of some half-edges, and the first and last of the points to measure."""
    edge, side = half_edges >> 1, half_edges & 1
    low, high = polylines.starts[edge], polylines.starts[edge + 1] - 1
    length = polylines.along[high] - polylines.along[low]
    near = np.minimum(skip, length / 3)
    far = np.minimum(near + span, length)
    begin = np.where(side == 0, polylines.along[low] + near, polylines.along[high] - far)
    stop = np.where(side == 0, polylines.along[low] + far, polylines.along[high] - near)
    first = np.clip(np.searchsorted(polylines.along, begin - 1e-9, side="left"), low, high)
    last = np.clip(np.searchsorted(polylines.along, stop + 1e-9, side="right") - 1, first, high)
    short = last - first < 1
    return edge, np.where(short, low, first), np.where(short, high, last)


def _slopes(distance: Floats, points: Floats, group: Ints, counts: Ints) -> Floats:
    """Return (groups, 2) the slopes of points against a distance, as unit vectors."""
    if not len(group):
        return np.zeros((0, 2))
    # Least squares: the covariance with the distance. The variance below it does not change the direction.
    centred = distance - np.repeat(np.add.reduceat(distance, group) / counts, counts)
    origin = np.repeat(points[group], counts, axis=0)
    slope = np.add.reduceat(centred[:, None] * (points - origin), group)
    norm = np.hypot(*slope.T)[:, None]
    unit: Floats = np.divide(slope, norm, out=np.zeros_like(slope), where=norm > 0)
    return unit


def _widths(graph: PixelGraph, polylines: Polylines, edge: Ints, first: Ints, last: Ints) -> Floats:
    """Return (n,) road pixels per metre of polyline; nodes have no road pixels of their own and do not count."""
    first = np.maximum(first, polylines.starts[edge] + 1)
    last = np.minimum(last, polylines.starts[edge + 1] - 2)
    counts = np.maximum(last - first + 1, 0)
    owned = graph.area[ranges(first - 2 * edge - 1, counts)]  # point p of edge i is vertex p - 2 i - 1
    area = reduce_ranges(np.add, owned, np.cumsum(counts) - counts, counts)
    some = counts > 0
    first, last = first[some], last[some]
    # A vertex stands for half the way to both its neighbours, so a row of them stands for what lies between
    # the middles of the steps before the first and after the last.
    length = np.zeros(len(edge))
    along = polylines.along
    length[some] = (along[last] + along[last + 1] - along[first] - along[first - 1]) / 2
    width: Floats = np.divide(area, length, out=np.zeros(len(edge)), where=length > 0)
    return width
