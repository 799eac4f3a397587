"""What the last metres of an edge tell: where it points, and how wide the road is there.

An end is named by its half-edge: ``2 i`` leaves the first node of edge ``i``, ``2 i + 1`` its last one.
"""

from dataclasses import dataclass

import numpy as np

from roadseg.network.edges import Chains, Pixel, slices
from roadseg.network.graph import Floats, Ints, PixelGraph


@dataclass(frozen=True)
class Tips:
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


def tips(graph: PixelGraph, laid: Chains, half_edges: Ints, pixel: Pixel, *, skip: Floats, span: float) -> Tips:
    """Fit direction and width to the ends of some half-edges, at their tails.

    The direction is the slope of the points against their distance from the end, so that single
    pixels weigh little.

    Parameters
    ----------
    graph, laid, pixel
        The edges, the same laid out, and the size of a pixel.
    half_edges
        (n,) which ends.
    skip
        (n,) metres at the end that are left out, as far as the edge is long enough.
    span
        Metres that are looked at.
    """
    edge, side = half_edges >> 1, half_edges & 1
    low, high = laid.starts[edge], laid.starts[edge + 1] - 1
    length = laid.along[high] - laid.along[low]
    skip = np.minimum(skip, length / 3)
    near, far = skip, np.minimum(skip + span, length)
    begin = np.where(side == 0, laid.along[low] + near, laid.along[high] - far)
    stop = np.where(side == 0, laid.along[low] + far, laid.along[high] - near)
    first = np.clip(np.searchsorted(laid.along, begin - 1e-9, side="left"), low, high)
    last = np.clip(np.searchsorted(laid.along, stop + 1e-9, side="right") - 1, first, high)
    short = last - first < 1
    first, last = np.where(short, low, first), np.where(short, high, last)
    counts = last - first + 1
    at = slices(first, counts)
    group = np.cumsum(counts) - counts
    distance = np.abs(laid.along[at] - np.repeat(np.where(side == 0, laid.along[low], laid.along[high]), counts))
    outward = -_slopes(distance, laid.points[at], group, counts)
    width = _widths(graph, laid, at, np.repeat(edge, counts), group) * (pixel[0] * pixel[1])
    middle = laid.points[(first + last) // 2]
    return Tips(outward, width, middle, laid.along[last] - laid.along[first])


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


def _widths(graph: PixelGraph, laid: Chains, at: Ints, edge: Ints, group: Ints) -> Floats:
    """Return (groups,) road pixels per metre of chain; nodes have no road pixels of their own and do not count."""
    if not len(group):
        return np.zeros(0)
    inner = (at > laid.starts[edge]) & (at < laid.starts[edge + 1] - 1)
    vertex = np.clip(at - 2 * edge - 1, 0, max(len(graph.area) - 1, 0))
    area = np.where(inner, graph.area[vertex], 0) if len(graph.area) else np.zeros(len(at))
    before, behind = np.maximum(at - 1, 0), np.minimum(at + 1, len(laid.along) - 1)
    length = np.where(inner, (laid.along[behind] - laid.along[before]) / 2, 0)
    whole = np.add.reduceat(length, group)
    width: Floats = np.divide(np.add.reduceat(area, group), whole, out=np.zeros(len(group)), where=whole > 0)
    return width
