"""Taking away what is no road: spurs that the road's own width explains, and pieces too small to be one.

A bump on the side of a road of width w makes the middle line grow a branch of about w / 2. Such a
branch is dropped when it is shorter than the width of the road it leaves, plus a margin. Where all
but one of the edges at a node are such branches the longest stays as the road's own end, so a road
is never eaten back from its ends. Rounds go on until nothing changes; each sees the whole graph, so
the result does not depend on the order of its edges.
"""

import numpy as np

from roadseg.roads.mask.components import label_pairs
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.contract import contract
from roadseg.roads.repair.edges import (
    Pixel,
    Polylines,
    degrees,
    edge_lengths,
    incident_edges,
    polylines_of,
    reduce_slices,
    take_edges,
)
from roadseg.roads.repair.ends import end_widths

WIDTHS = 1.5
"""How many widths of the road it leaves a branch must be long."""

SPAN_M = 15.0
"""Length of road over which its width is measured."""


def prune_spurs(graph: PixelGraph, *, margin: float, pixel: Pixel = (1.0, 1.0)) -> PixelGraph:
    """Drop dead ends that are shorter than the local road width allows.

    Parameters
    ----------
    graph
        Edges may be joined on the way, see ``contract``.
    margin
        Metres that a dead end must be long, besides being longer than the width of the road it leaves.
    pixel
        Size of a pixel.

    Returns
    -------
    The graph without them. Dead ends at the border of what is known stay.
    """
    graph = contract(graph)
    while True:
        spurs = _spurs(graph, margin, pixel)
        if not spurs.any():
            return graph
        graph = contract(graph, keep=np.flatnonzero(~spurs))


def drop_small_components(graph: PixelGraph, *, length: float, pixel: Pixel = (1.0, 1.0)) -> PixelGraph:
    """Drop pieces of network whose edges are shorter than a length altogether.

    Pieces that go on where nothing is known stay.
    """
    count, part = components(graph)
    of_edge = part[graph.ends[:, 0]]
    stays = np.bincount(part, weights=graph.at_border, minlength=count) > 0
    stays |= np.bincount(of_edge, weights=np.diff(graph.starts), minlength=count) * min(pixel) >= length
    asked = np.flatnonzero(~stays[of_edge])
    stays |= np.bincount(of_edge[asked], weights=edge_lengths(graph, asked, pixel), minlength=count) >= length
    stays = stays[of_edge]
    return graph if stays.all() else take_edges(graph, np.flatnonzero(stays))


def components(graph: PixelGraph) -> tuple[int, Ints]:
    """Return how many pieces there are, and (nodes,) the piece of each node."""
    return label_pairs(len(graph.nodes), graph.ends)


def _spurs(graph: PixelGraph, margin: float, pixel: Pixel) -> Bools:
    """Return (edges,) which edges go in this round."""
    degree = degrees(graph)
    dead = (degree == 1) & ~graph.at_border
    tip = dead[graph.ends]
    side = np.where(tip[:, 0], 1, 0)
    foot = np.take_along_axis(graph.ends, side[:, None], axis=1)[:, 0]
    maybe: Bools = (tip[:, 0] != tip[:, 1]) & (degree[foot] >= 3)
    maybe &= np.diff(graph.starts) * min(pixel) <= np.maximum(WIDTHS * _most_width(graph, pixel)[foot], margin)
    feet = np.unique(foot[maybe])
    spur = np.zeros(len(foot), dtype=bool)
    for near, part in incident_edges(graph, feet[:, None]):
        here = maybe[near] & (foot[near] >= feet[part][0]) & (foot[near] <= feet[part][-1])
        spur[near] |= _short(take_edges(graph, near), here, side[near], margin, pixel)
    return spur


def _most_width(graph: PixelGraph, pixel: Pixel) -> Floats:
    """Return (nodes,) metres that no road there is wider than: what the vertex with the largest area would be."""
    most = reduce_slices(np.maximum, graph.area, graph.starts[:-1], np.diff(graph.starts)) * max(pixel)
    widest = np.zeros(len(graph.nodes))
    np.maximum.at(widest, graph.ends, most[:, None])
    return widest


def _short(graph: PixelGraph, spur: Bools, side: Ints, margin: float, pixel: Pixel) -> Bools:
    """Say which of the possible spurs are short enough; of each node's at most all but what a road needs."""
    polylines, degree = polylines_of(graph, pixel), degrees(graph)
    foot = np.take_along_axis(graph.ends, side[:, None], axis=1)[:, 0]
    spur = spur & (
        polylines.lengths <= np.maximum(WIDTHS * _widths_at(graph, polylines, foot, spur, pixel)[foot], margin)
    )
    edges = np.flatnonzero(spur)
    edges = edges[np.lexsort((edges, -polylines.lengths[edges], foot[edges]))]
    at = foot[edges]
    number = np.bincount(at, minlength=len(degree))
    rank = np.arange(len(at)) - (np.cumsum(number) - number)[at]
    spur[edges[rank < 2 - (degree - number)[at]]] = False
    return spur


def _widths_at(graph: PixelGraph, polylines: Polylines, foot: Ints, spur: Bools, pixel: Pixel) -> Floats:
    """Return (nodes,) the width of the widest edge that goes on at the foot of a possible spur, zero elsewhere."""
    concerned = np.zeros(len(graph.nodes), dtype=bool)
    concerned[foot[spur]] = True
    tails = graph.ends.ravel()
    half = np.flatnonzero(concerned[tails] & ~np.repeat(spur, 2))
    only_spurs = np.flatnonzero(concerned[tails] & np.repeat(spur, 2) & ~np.isin(tails, tails[half]))
    half = np.concatenate([half, only_spurs])
    width = np.zeros(len(graph.nodes))
    np.maximum.at(width, tails[half], end_widths(graph, polylines, half, pixel, skip=np.zeros(len(half)), span=SPAN_M))
    return width
