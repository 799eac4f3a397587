"""Removing what is no road: spurs that the road's own width explains, and components too small to be one.

A bump on the side of a road of width w makes the centerline grow a branch of about w / 2. Such a branch is dropped
when it is shorter than 1.5 widths of the road it leaves, or than a margin. Where all but one of the edges at a node
are such branches the longest stays as the road's own end, so a road is never eaten back from its ends. Rounds are
repeated until nothing changes; each sees the whole graph, so the result does not depend on the order of its edges.
"""

import numpy as np

from roadseg.ragged import ranges, reduce_ranges
from roadseg.roads.mask.components import label_pairs
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.contract import contract
from roadseg.roads.repair.edges import (
    PixelSize,
    Polylines,
    degrees,
    edge_lengths,
    incident_edges,
    polylines_of,
    take_edges,
)
from roadseg.roads.repair.ends import end_widths

WIDTHS = 1.5
"""How many widths of the road it leaves a branch must be long to stay."""

SPAN_M = 15.0
"""Length of road over which its width is measured."""


def prune_spurs(graph: PixelGraph, *, margin: float, pixel_size: PixelSize = (1.0, 1.0)) -> PixelGraph:
    """Drop dead ends that are shorter than the local road width allows.

    Parameters
    ----------
    graph
        Any graph; edges are joined on the way, see ``contract``.
    margin
        Metres that a dead end must be long in any case.
    pixel_size
        Size of a pixel.

    Returns
    -------
    The graph without them. Dead ends at the border of the valid pixels stay.
    """
    graph = contract(graph)
    while True:
        spurs = _spurs(graph, margin, pixel_size)
        if not spurs.any():
            return graph
        graph = contract(graph, keep=np.flatnonzero(~spurs))


def drop_small_components(graph: PixelGraph, *, length: float, pixel_size: PixelSize = (1.0, 1.0)) -> PixelGraph:
    """Drop connected components with a total length below ``length`` metres, unless they reach the border.

    A road that reaches the border of the valid pixels may continue beyond it.
    """
    count, component = components(graph)
    of_edge = component[graph.ends[:, 0]]
    stays = np.bincount(component, weights=graph.at_border, minlength=count) > 0
    # No step is shorter than a pixel, so most components have vertices enough; only the others are measured.
    stays |= np.bincount(of_edge, weights=np.diff(graph.starts), minlength=count) * min(pixel_size) >= length
    short = np.flatnonzero(~stays[of_edge])
    stays |= np.bincount(of_edge[short], weights=edge_lengths(graph, short, pixel_size), minlength=count) >= length
    stays = stays[of_edge]
    return graph if stays.all() else take_edges(graph, np.flatnonzero(stays))


def components(graph: PixelGraph) -> tuple[int, Ints]:
    """Return the number of connected components, and (nodes,) the component of each node."""
    return label_pairs(len(graph.nodes), graph.ends)


def _spurs(graph: PixelGraph, margin: float, pixel_size: PixelSize) -> Bools:
    """Return (edges,) which edges are dropped in this round."""
    degree = degrees(graph)
    is_dead_end = ((degree == 1) & ~graph.at_border)[graph.ends]
    side = np.where(is_dead_end[:, 0], 1, 0)
    foot = _foot(graph, side)
    maybe: Bools = (is_dead_end[:, 0] != is_dead_end[:, 1]) & (degree[foot] >= 3)
    # Measuring is expensive: drop edges that are too long for any width the road at their foot can have.
    limit = np.maximum(WIDTHS * _greatest_widths(graph, pixel_size)[foot], margin)
    maybe &= np.diff(graph.starts) * min(pixel_size) <= limit
    feet = np.unique(foot[maybe])
    spur = np.zeros(len(foot), dtype=bool)
    for near, part in incident_edges(graph, feet[:, None]):
        here = maybe[near] & (foot[near] >= feet[part][0]) & (foot[near] <= feet[part][-1])
        spur[near] |= _short_spurs(take_edges(graph, near), here, side[near], margin, pixel_size)
    return spur


def _foot(graph: PixelGraph, side: Ints) -> Ints:
    """Return (edges,) the node on one side of each edge: where a spur leaves the road."""
    foot: Ints = np.take_along_axis(graph.ends, side[:, None], axis=1)[:, 0]
    return foot


def _greatest_widths(graph: PixelGraph, pixel_size: PixelSize) -> Floats:
    """Return (nodes,) metres that no road there is wider than: as if each vertex had the area of the largest."""
    most = reduce_ranges(np.maximum, graph.area, graph.starts[:-1], np.diff(graph.starts)) * max(pixel_size)
    widest = np.zeros(len(graph.nodes))
    np.maximum.at(widest, graph.ends, most[:, None])
    return widest


def _short_spurs(graph: PixelGraph, spur: Bools, side: Ints, margin: float, pixel_size: PixelSize) -> Bools:
    """Return which of the possible spurs are short enough; two edges stay at each node, for the road itself."""
    polylines, degree, foot = polylines_of(graph, pixel_size), degrees(graph), _foot(graph, side)
    width = _widths_at_feet(graph, polylines, foot, spur, pixel_size)
    spur = spur & (polylines.lengths <= np.maximum(WIDTHS * width[foot], margin))
    edges = np.flatnonzero(spur)
    edges = edges[np.lexsort((edges, -polylines.lengths[edges], foot[edges]))]  # by foot, the longest first
    at = foot[edges]
    number = np.bincount(at, minlength=len(degree))
    rank = ranges(0, number)
    spur[edges[rank < 2 - (degree - number)[at]]] = False
    return spur


def _widths_at_feet(graph: PixelGraph, polylines: Polylines, foot: Ints, spur: Bools, pixel_size: PixelSize) -> Floats:
    """Return (nodes,) the width of the widest edge at the foot of a possible spur, zero elsewhere.

    Spurs themselves count only where nothing else meets.
    """
    is_foot = np.zeros(len(graph.nodes), dtype=bool)
    is_foot[foot[spur]] = True
    tails = graph.ends.ravel()
    half = np.flatnonzero(is_foot[tails] & ~np.repeat(spur, 2))
    only_spurs = np.flatnonzero(is_foot[tails] & np.repeat(spur, 2) & ~np.isin(tails, tails[half]))
    half = np.concatenate([half, only_spurs])
    widths = end_widths(graph, polylines, half, pixel_size, skip=np.zeros(len(half)), span=SPAN_M)
    widest = np.zeros(len(graph.nodes))
    np.maximum.at(widest, tails[half], widths)
    return widest
