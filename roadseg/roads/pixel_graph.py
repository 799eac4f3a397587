"""Centerlines on a raster as a graph of nodes and edges, in pixels: what is traced, then repaired.

A graph consists of arrays, not objects: an edge is a row, its pixels are a slice of one long array, and its nodes are
given by index::

    nodes 0 ──a──b── 1        ends    [[0, 1], [1, 2]]
                     c        starts  [0, 2, 3]
                     2        places  [a, b, c]
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelGraph:
    """Centerlines of roads on a raster; pixel (row, col) has its centre at exactly (row, col).

    Parameters
    ----------
    nodes
        (nodes, 2) float64 row, col: the mean of the pixels of a junction, or the last pixel of a road.
    at_border
        (nodes,) bool: whether the road may continue unseen, beyond the raster's border or at nodata pixels.
    ends
        (edges, 2) int64: the nodes at both ends of each edge; the same one for a loop.
    starts
        (edges + 1,) int64: edge ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``.
    places
        (vertices, 2) int32 row, col of the pixels between the two nodes, in order; an edge may have none.
    area
        (vertices,) uint16: number of road pixels that belong to this one. Each belongs to the nearest line pixel in
        its row or column, without leaving the road, at most 64 px away; none belongs to two.
    level
        (vertices,) uint8: probability × 254 there.
    inferred
        (edges,) bool: a gap that was bridged, where no road was seen.
    areal
        (edges,) bool: the line of an area wider than any road, such as a car park.
    """

    nodes: Floats
    at_border: Bools
    ends: Ints
    starts: Ints
    places: NDArray[np.int32]
    area: NDArray[np.uint16]
    level: NDArray[np.uint8]
    inferred: Bools
    areal: Bools
