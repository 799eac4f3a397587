"""Edges are joined where nothing else meets them, and split where something does."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.network.chains import put_in_order
from roadseg.network.edges import degrees, pick, slices
from roadseg.network.graph import Ints, PixelGraph


def contract(graph: PixelGraph) -> PixelGraph:
    """Join the two edges that meet in a node of degree two; a ring keeps one node.

    Seen and inferred edges stay apart, so do areal ones and others. The node becomes a vertex with
    the mean area and level of its neighbours. Nodes without an edge are dropped.
    """
    partner = _partners(graph)
    if (partner < 0).all():
        return _tidied(graph)
    chains = put_in_order(partner)
    ordered = pick(graph, chains.order, turned=chains.turned, all_nodes=True)
    first, last = chains.starts[:-1], chains.starts[1:] - 1
    joint = np.ones(len(chains.order), dtype=bool)
    joint[first] = False
    joint_ends = ordered.ends[joint, 0]
    at = ordered.starts[:-1][joint]
    counts = np.add.reduceat(np.diff(ordered.starts), first) + (last - first)
    starts = np.concatenate([[0], np.cumsum(counts)])
    inserted = at + np.arange(len(at))
    joined = replace(
        ordered,
        ends=np.stack([ordered.ends[first, 0], ordered.ends[last, 1]], axis=1),
        starts=starts,
        places=np.insert(ordered.places, at, np.rint(ordered.nodes[joint_ends]), axis=0),
        area=_filled(np.insert(ordered.area, at, 0), inserted, starts),
        level=_filled(np.insert(ordered.level, at, 0), inserted, starts),
        inferred=ordered.inferred[first],
        areal=ordered.areal[first],
    )
    return _tidied(joined)


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


def _partners(graph: PixelGraph) -> Ints:
    """Return, for both ends of each edge, the end of another edge it can be joined to, -1 if there is none."""
    degree = degrees(graph)
    leaving = np.argsort(graph.ends.ravel(), kind="stable")
    first = (np.cumsum(degree) - degree)[degree == 2]
    one, other = leaving[first], leaving[first + 1]
    kind = graph.inferred + 2 * graph.areal
    alike = (kind[one >> 1] == kind[other >> 1]) & (one >> 1 != other >> 1)
    partner = np.full(2 * len(graph.ends), -1)
    partner[one[alike]], partner[other[alike]] = other[alike], one[alike]
    return partner


def _tidied(graph: PixelGraph) -> PixelGraph:
    """Drop nodes without an edge."""
    used = np.zeros(len(graph.nodes), dtype=bool)
    used[graph.ends] = True
    if used.all():
        return graph
    names = np.cumsum(used) - 1
    return replace(graph, nodes=graph.nodes[used], at_border=graph.at_border[used], ends=names[graph.ends])


def _filled(values: NDArray[Any], at: Ints, starts: Ints) -> NDArray[Any]:
    """Put the mean of both neighbours on the same edge in some places."""
    edge = np.searchsorted(starts, at, side="right") - 1
    before, behind = np.maximum(at - 1, starts[edge]), np.minimum(at + 1, starts[edge + 1] - 1)
    before, behind = np.where(before == at, behind, before), np.where(behind == at, before, behind)
    values[at] = (values[before].astype(np.int64) + values[behind]) // 2
    return values
