"""What the last metres of an edge tell: where it points, and how wide the road is there.

An end is named by its half-edge: ``2 i`` leaves the first node of edge ``i``, ``2 i + 1`` its last one.
"""

from dataclasses import dataclass

import numpy as np

from roadseg.ragged import ranges
from roadseg.roads.pixel_graph import Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import Pixel, Polylines, reduce_slices


@dataclass(frozen=True)
class EdgeEnds:
    """What the last metres of some half-edges tell.

    Parameters
    ----------
    outward
        (n, 2) unit vector down, across that points out of the edge beyond its node; zeros if there is none.
    width
        (n,) metres of road width.
    middle
        (n, 2) metres down, across: the middle of the points that were looked at.
    reach
        (n,) metres over which the direction was fitted.
    """

    outward: Floats
    width: Floats
    middle: Floats
    reach: Floats


def measure_ends(
    graph: PixelGraph, polylines: Polylines, half_edges: Ints, pixel: Pixel, *, skip: Floats, span: float
) -> EdgeEnds:
    """Fit direction and width to the ends of some half-edges, at their tails.

    The direction is the slope of the points against their distance from the end, so that single
    pixels weigh little.

    Parameters
    ----------
    graph, polylines, pixel
        The edges, the same polylines out, and the size of a pixel.
    half_edges
        (n,) which ends.
    skip
        (n,) metres at the end that are left out, as far as the edge is long enough.
    span
        Metres that are looked at.
    """
    edge, first, last = _looked_at(polylines, half_edges, skip, span)
    counts = last - first + 1
    at = ranges(first, counts)
    group = np.cumsum(counts) - counts
    tail = np.where(half_edges & 1, polylines.starts[edge + 1] - 1, polylines.starts[edge])
    distance = np.abs(polylines.along[at] - np.repeat(polylines.along[tail], counts))
    outward = -_slopes(distance, polylines.points[at], group, counts)
    width = _widths(graph, polylines, edge, first, last) * (pixel[0] * pixel[1])
    return EdgeEnds(
        outward, width, polylines.points[(first + last) // 2], polylines.along[last] - polylines.along[first]
    )


def end_widths(
    graph: PixelGraph, polylines: Polylines, half_edges: Ints, pixel: Pixel, *, skip: Floats, span: float
) -> Floats:
    """Return (n,) metres: the road width at the ends of some half-edges, as ``measure_ends`` measures it."""
    edge, first, last = _looked_at(polylines, half_edges, skip, span)
    return _widths(graph, polylines, edge, first, last) * (pixel[0] * pixel[1])


def _looked_at(polylines: Polylines, half_edges: Ints, skip: Floats, span: float) -> tuple[Ints, Ints, Ints]:
    """Return (n,) the edges of some half-edges, and the first and last point that are looked at."""
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
    """Return (groups, 2) unit slopes of points against a distance."""
    if not len(group):
        return np.zeros((0, 2))
    shifted = distance - np.repeat(np.add.reduceat(distance, group) / counts, counts)
    origin = np.repeat(points[group], counts, axis=0)
    slope = np.add.reduceat(shifted[:, None] * (points - origin), group)
    norm = np.hypot(*slope.T)[:, None]
    unit: Floats = np.divide(slope, norm, out=np.zeros_like(slope), where=norm > 0)
    return unit


def _widths(graph: PixelGraph, polylines: Polylines, edge: Ints, first: Ints, last: Ints) -> Floats:
    """Return (n,) road pixels per metre of chain; nodes have no road pixels of their own and do not count.

    A vertex stands for half the way to both its neighbours, so a row of them stands for what lies between the
    middles of the first and the last step.
    """
    first = np.maximum(first, polylines.starts[edge] + 1)
    last = np.minimum(last, polylines.starts[edge + 1] - 2)
    counts = np.maximum(last - first + 1, 0)
    owned = graph.area[ranges(first - 2 * edge - 1, counts)]
    area = reduce_slices(np.add, owned, np.cumsum(counts) - counts, counts)
    some = counts > 0
    first, last = first[some], last[some]
    whole = np.zeros(len(edge))
    whole[some] = (
        polylines.along[last] + polylines.along[last + 1] - polylines.along[first] - polylines.along[first - 1]
    ) / 2
    width: Floats = np.divide(area, whole, out=np.zeros(len(edge)), where=whole > 0)
    return width
