"""Edges are joined at nodes of degree two, and split where something new meets them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import offsets, ranges
from roadseg.roads.centerlines.chains import find_chains
from roadseg.roads.pixel_graph import Ints, PixelGraph
from roadseg.roads.repair.edges import Vertices, take_edges, take_vertices


def contract(graph: PixelGraph, *, keep: Ints | None = None) -> PixelGraph:
    """Join the two edges that meet in a node of degree two; a ring keeps one node.

    Seen and inferred edges stay apart, and so do areal edges and others. The node becomes a vertex with
    the mean area and level of its neighbours. Nodes without an edge are dropped.

    Parameters
    ----------
    graph
        Its edges may come in any order.
    keep
        Ascending indices of the edges to keep; None keeps all.
    """
    edges = np.arange(len(graph.ends)) if keep is None else keep
    partner = _partners(graph, edges)
    if (partner < 0).all():
        return _without_unused_nodes(graph if keep is None else take_edges(graph, keep, all_nodes=True))
    # Edges are links of chains. Chain by chain, each edge but the first gets a free place in front of its vertices,
    # for the node between it and the one before:
    #
    #     u ── edge ── node ── edge turned ── node ── edge ── v   →   u ── vertices ▫ vertices ▫ vertices ── v
    chains = find_chains(partner)
    order, first, last = edges[chains.order], chains.starts[:-1], chains.starts[1:] - 1
    joint = np.ones(len(order), dtype=bool)
    joint[first] = False
    counts = np.diff(graph.starts)[order]
    places, area, level = take_vertices(graph, graph.starts[order], counts, turned=chains.turned, lead=joint)
    counts += joint
    at = (np.cumsum(counts) - counts)[joint]
    starts = offsets(np.add.reduceat(counts, first))
    ends = np.where(chains.turned[:, None], graph.ends[order, ::-1], graph.ends[order])
    places[at] = np.rint(graph.nodes[ends[joint, 0]])
    joined = replace(
        graph,
        ends=np.stack([ends[first, 0], ends[last, 1]], axis=1),
        starts=starts,
        places=places,
        area=_interpolated(area, at, starts),
        level=_interpolated(level, at, starts),
        inferred=graph.inferred[order[first]],
        areal=graph.areal[order[first]],
    )
    return _without_unused_nodes(joined)


def split_edges(graph: PixelGraph, vertices: Ints, *, appended: Vertices | None = None) -> PixelGraph:
    """Turn some vertices into nodes.

    Parameters
    ----------
    graph
        Its nodes keep their indices; the new ones follow in the order of ``vertices``.
    vertices
        (n,) ascending indices, each once.
    appended
        Vertices added after all others; no edge owns them yet.
    """
    edge = np.searchsorted(graph.starts, vertices, side="right") - 1
    parts = 1 + np.bincount(edge, minlength=len(graph.ends))
    owner = np.repeat(np.arange(len(parts)), parts)
    first = np.cumsum(parts) - parts
    later = ranges(first + 1, parts - 1)  # the parts of an edge but its first: each begins behind a new node
    ends = graph.ends[owner]
    new = len(graph.nodes) + np.arange(len(vertices))
    ends[later, 0], ends[later - 1, 1] = new, new
    begin, stop = graph.starts[:-1][owner], graph.starts[1:][owner]
    begin[later], stop[later - 1] = vertices + 1, vertices
    places, area, level = take_vertices(graph, begin, stop - begin, appended=appended)
    return PixelGraph(
        nodes=np.concatenate([graph.nodes, graph.places[vertices]]),
        at_border=np.concatenate([graph.at_border, np.zeros(len(vertices), dtype=bool)]),
        ends=ends,
        starts=offsets(stop - begin),
        places=places,
        area=area,
        level=level,
        inferred=graph.inferred[owner],
        areal=graph.areal[owner],
    )


def _partners(graph: PixelGraph, edges: Ints) -> Ints:
    """Return (2 n,) for each half-edge of some edges the half-edge it can be joined to, -1 if there is none."""
    tail, kind = graph.ends[edges].ravel(), (graph.inferred + 2 * graph.areal)[edges]
    degree = np.bincount(tail, minlength=len(graph.nodes))
    half = np.flatnonzero(degree[tail] == 2)
    one, other = half[np.argsort(tail[half], kind="stable")].reshape(-1, 2).T
    alike = (kind[one >> 1] == kind[other >> 1]) & (one >> 1 != other >> 1)
    partner = np.full(len(tail), -1)
    partner[one[alike]], partner[other[alike]] = other[alike], one[alike]
    return partner


def _without_unused_nodes(graph: PixelGraph) -> PixelGraph:
    """Drop nodes without an edge."""
    used = np.zeros(len(graph.nodes), dtype=bool)
    used[graph.ends] = True
    if used.all():
        return graph
    renumbered = np.cumsum(used) - 1
    return replace(graph, nodes=graph.nodes[used], at_border=graph.at_border[used], ends=renumbered[graph.ends])


def _interpolated(values: NDArray[Any], at: Ints, starts: Ints) -> NDArray[Any]:
    """Write at some places the mean of both neighbours on the same edge; such places themselves count as 0."""
    values[at] = 0
    edge = np.searchsorted(starts, at, side="right") - 1
    before, after = np.maximum(at - 1, starts[edge]), np.minimum(at + 1, starts[edge + 1] - 1)
    before, after = np.where(before == at, after, before), np.where(after == at, before, after)
    values[at] = (values[before].astype(np.int64) + values[after]) // 2
    return values
