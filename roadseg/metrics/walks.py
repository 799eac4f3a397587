"""Walks along a road network from one place, and the marbles dropped on the way, as TOPO compares them.

From a start one walks along every road up to a distance and drops a marble at every multiple of an interval.
Only the nodes within that distance are looked at, so a walk costs the same however large the network is.
"""

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from roadseg.metrics.graph import EdgePoints, Floats, Ints, RoadGraph, adjacency
from roadseg.ragged import first_of_runs, offsets, ranges

_SAME_M = 1e-6
_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class Reached:
    """The nodes within some metres of a place: ``nodes`` (n,) sorted, and ``metres`` (n,) of road to each."""

    nodes: Ints
    metres: Floats

    def to(self, nodes: Ints) -> Floats:
        """Return the metres to nodes of any shape, infinite for those not reached."""
        if not len(self.nodes):
            return np.full(nodes.shape, np.inf)
        index = np.minimum(np.searchsorted(self.nodes, nodes), len(self.nodes) - 1)
        return np.where(self.nodes[index] == nodes, self.metres[index], np.inf)


@dataclass(frozen=True)
class Marbles:
    """What is dropped on a walk: ``xy`` (n, 2) metres, and ``direction`` (n, 2), the unit vector of the road there."""

    xy: Floats
    direction: Floats

    def __len__(self) -> int:
        return len(self.xy)


class Walker:
    """A network made ready for many short walks."""

    def __init__(self, graph: RoadGraph) -> None:
        self.graph = graph
        matrix = adjacency(graph)
        self._arcs = matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist()
        self._remembered: dict[tuple[int, float], Reached] = {}
        # All edges are strung on one line, so that one searchsorted finds the segment under any place; a step of
        # one metre between two edges keeps the end of one apart from the beginning of the next.
        vertices = np.concatenate(graph.edges)
        step = np.hypot(*np.diff(vertices, axis=0).T)
        first = offsets(np.array([len(edge) for edge in graph.edges]))
        step[first[1:-1] - 1] = 1.0
        self._position = np.concatenate([[0.0], np.cumsum(step)])
        self._vertices, self._first, self._last = vertices, first[:-1], first[1:] - 1
        # edges at each node, as rows of a ragged array
        node = graph.ends.T.ravel()
        self._edges = np.argsort(node, kind="stable") % len(graph.edges)
        self._edges_of = offsets(np.bincount(node, minlength=len(graph.nodes)))

    def locate(self, points: EdgePoints) -> tuple[Floats, Floats]:
        """Return (n, 2) x, y and (n, 2) unit directions of points on edges."""
        first, last = self._first[points.edge], self._last[points.edge]
        position = self._position[first] + points.along
        segment = np.clip(np.searchsorted(self._position, position, side="right") - 1, first, last - 1)
        start, end = self._vertices[segment], self._vertices[segment + 1]
        length = (self._position[segment + 1] - self._position[segment])[:, None]
        direction = (end - start) / length
        return start + direction * (position - self._position[segment])[:, None], direction

    def walk(self, edge: int, along: float, *, limit_m: float, every_m: float) -> Marbles:
        """Walk up to ``limit_m`` along every road from a place, and drop a marble every ``every_m``."""
        reached = self.reach(edge, along, limit_m)
        count = self._edges_of[reached.nodes + 1] - self._edges_of[reached.nodes]
        near = np.unique(self._edges[ranges(self._edges_of[reached.nodes], count)])
        near = near[near != edge]
        lengths, ends = self.graph.lengths, self.graph.ends
        first, last = reached.to(ends[edge])
        # The start cuts its edge into two pieces, both walked away from it; every other edge is one piece.
        # Columns: edge, where the piece begins along it, +1 or -1 for the way it runs, its length, and the metres
        # walked to its beginning and to its end.
        pieces = np.concatenate(
            [
                [(edge, along, -1, along, 0, first)],
                [(edge, along, 1, lengths[edge] - along, 0, last)],
                np.stack([near, 0 * near, 0 * near + 1, lengths[near], *reached.to(ends[near]).T], axis=1),
            ]
        )
        dropped = _drop_marbles(pieces, limit_m=limit_m, every_m=every_m)
        return Marbles(*self.locate(dropped[1:]))  # both pieces of the start's edge have one at the start: keep one

    def reach(self, edge: int, along: float, limit_m: float) -> Reached:
        """Return the nodes within ``limit_m`` of a place."""
        first, last = self.graph.ends[edge].tolist()
        from_first, from_last = self._within(first, limit_m), self._within(last, limit_m)
        nodes = np.concatenate([from_first.nodes, from_last.nodes])
        metres = np.concatenate([from_first.metres + along, from_last.metres + (self.graph.lengths[edge] - along)])
        order = np.lexsort((metres, nodes))
        order = order[first_of_runs(nodes[order])]
        order = order[metres[order] <= limit_m]
        return Reached(nodes[order], metres[order])

    def _within(self, node: int, limit_m: float) -> Reached:
        """Dijkstra from a node, remembered because neighbouring starts ask for the same nodes again."""
        if (node, limit_m) not in self._remembered:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            first, head, metres = self._arcs
            settled: dict[int, float] = {}
            heap = [(0.0, node)]
            while heap:
                walked, here = heappop(heap)
                if here in settled:
                    continue
                settled[here] = walked
                for arc in range(first[here], first[here + 1]):
                    if head[arc] not in settled and walked + metres[arc] <= limit_m:
                        heappush(heap, (walked + metres[arc], head[arc]))
            nodes = np.array(sorted(settled), dtype=np.int64)
            self._remembered[node, limit_m] = Reached(nodes, np.array([settled[n] for n in nodes.tolist()]))
        return self._remembered[node, limit_m]


def _drop_marbles(pieces: Floats, *, limit_m: float, every_m: float) -> EdgePoints:
    """Drop marbles at whole multiples of the interval from the start, each place reached by its shorter way.

    Parameters
    ----------
    pieces
        (n, 6), see ``Walker.walk``.
    limit_m, every_m
        Where the walk ends, and the interval.
    """
    edge, origin, sign, length, near, far = pieces.T
    # Walks that enter a piece at both ends meet where they have come equally far:
    #
    #   near |----------------->  meet  <---------| far       near + meet = far + (length - meet)
    #
    # A piece that is entered at one end only is walked from there.
    both = np.isfinite(near + far)
    meet = np.where(both, (length + far - near) / 2, np.where(np.isfinite(near), length, 0))
    meet = np.clip(meet, 0, length)
    edges, along = [], []
    for begin, share, from_end in ((near, meet + _SAME_M, False), (far, length - meet - _SAME_M, True)):
        walked = np.where(np.isfinite(begin), begin, limit_m)
        reach = np.minimum(share, limit_m - walked - _SAME_M)
        to_next = np.maximum(np.ceil((walked - _SAME_M) / every_m) * every_m - walked, 0)
        count = np.maximum(np.ceil((reach - to_next) / every_m), 0).astype(np.int64)
        piece, number = np.repeat(np.arange(len(edge)), count), ranges(0, count)
        offset = to_next[piece] + number * every_m
        offset = length[piece] - offset if from_end else offset
        edges.append(edge[piece].astype(np.int64))
        along.append(origin[piece] + sign[piece] * np.clip(offset, 0, length[piece]))
    return EdgePoints(np.concatenate(edges), np.concatenate(along))
