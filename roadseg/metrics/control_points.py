"""Control points on a road network, and snapping them to another one, as APLS defines both.

A network's control points are its nodes and points every 50 m or so along its edges; each is snapped to the
nearest place of the other network within 4 m.
"""

from bisect import bisect_left, insort
from itertools import pairwise

import numpy as np
import shapely

from roadseg.metrics.graph import EdgePoints, Floats, RoadGraph, edge_pieces, node_points
from roadseg.ragged import first_of_runs, ranges

SPACING_M = 50.0
"""Distance of control points along an edge; an edge shorter than 0.75 of it gets none."""

SNAP_M = 4.0
"""How far a control point may lie off the other network."""


def control_points(graph: RoadGraph) -> EdgePoints:
    """Return the nodes, then the points along the edges in their order.

    An edge up to the spacing long has one in its middle; a longer one is divided into equal parts no longer than the
    spacing.
    """
    parts = np.ceil(graph.lengths / SPACING_M).astype(np.int64)
    parts[graph.lengths <= SPACING_M] = 2
    parts[graph.lengths < 0.75 * SPACING_M] = 1
    edge = np.repeat(np.arange(len(parts)), parts - 1)
    number = ranges(1, parts - 1)
    along = graph.lengths[edge] * number / parts[edge]
    nodes = node_points(graph)
    return EdgePoints(np.concatenate([nodes.edge, edge]), np.concatenate([nodes.along, along]))


def snap(graph: RoadGraph, xy: Floats) -> EdgePoints:
    """Return the nearest place on a graph for each point, on edge -1 if it is more than ``SNAP_M`` away.

    A point may be equally near to several edges (a junction that was shifted). The reference program then depends on
    the order of its edge list, from which each snapped point removes an edge and to which it adds the two halves. The
    same choice is made here: points are snapped in their order, and of several edges the one wins whose part around
    the point has the earliest end.

    Parameters
    ----------
    graph
        The network to snap to.
    xy
        (n, 2) points in metres.
    """
    pieces, marks = edge_pieces(graph), shapely.points(xy)
    point, piece = shapely.STRtree(pieces.lines).query_nearest(marks, max_distance=SNAP_M)
    point, piece = np.stack([point, piece])[:, np.lexsort((piece, point))]
    kept = first_of_runs(point, pieces.edge[piece])  # of two pieces that meet at the nearest vertex the first
    point, piece = point[kept], piece[kept]
    candidates = list(zip(pieces.edge[piece].tolist(), pieces.project(piece, marks[point]).tolist(), strict=True))
    edge, along = np.full(len(xy), -1), np.zeros(len(xy))
    parts = _Parts(graph)
    for number, (first, last) in enumerate(pairwise(np.searchsorted(point, np.arange(len(xy) + 1)).tolist())):
        if first < last:
            edge[number], along[number] = min(candidates[first:last], key=parts.rank)
            parts.cut(int(edge[number]), float(along[number]))
    return EdgePoints(edge, along)


class _Parts:
    """The parts into which snapped points have cut the edges so far, ranked by age.

    Each cut makes a node, numbered after those of the graph, and ends two parts there::

        node 4            node 9 (cut 0)       node 10 (cut 1)         node 2
          •──────────────────•────────────────────•──────────────────────•
             part (4, 9)          part (9, 10)           part (10, 2)
    """

    def __init__(self, graph: RoadGraph) -> None:
        self._ends, self._lengths = graph.ends.tolist(), graph.lengths.tolist()
        self._nodes = len(graph.nodes)
        self._cuts: dict[int, list[tuple[float, int]]] = {}
        self._made = 0

    def rank(self, place: tuple[int, float]) -> tuple[int, int]:
        """Return the lower number of the part's two end nodes, then when the part was made (below 0: never cut)."""
        edge, along = place
        cuts = self._cuts.get(edge, [])
        following = bisect_left(cuts, (along, 0))
        ends = list(self._ends[edge])
        made = [edge - len(self._ends)]
        if following > 0:
            made.append(cuts[following - 1][1])
            ends[0] = self._nodes + made[-1]
        if following < len(cuts):
            made.append(cuts[following][1])
            ends[1] = self._nodes + made[-1]
        return min(ends), max(made)

    def cut(self, edge: int, along: float) -> None:
        """Cut an edge where a point was snapped to it, unless that is at its end."""
        if 0 < along < self._lengths[edge]:
            insort(self._cuts.setdefault(edge, []), (along, self._made))
            self._made += 1
