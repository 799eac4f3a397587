"""Centerlines on a raster, as they are traced and repaired: nodes and edges in pixels.

A graph holds arrays, not objects: an edge is a row, its pixels are a slice of one long array. Edges refer
to their nodes by index.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelGraph:
    """Middle lines of roads on a raster; pixel (row, col) has its centre at exactly (row, col).

    Parameters
    ----------
    nodes
        (nodes, 2) float64 row, col: the middle of the pixels that make a junction, or the last pixel of a road.
    at_border
        (nodes,) bool: whether the road goes on where nothing is known, at the raster's border or beside unknown pixels.
    ends
        (edges, 2) int64: the nodes at both ends of each edge; equal for a loop.
    starts
        (edges + 1,) int64: edge ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``.
    places
        (vertices, 2) int32 row, col of the pixels between the two nodes, in order; an edge may have none.
    area
        (vertices,) uint16: how many road pixels belong to this one. Each belongs to the nearest line pixel in its
        row or column, without leaving the road, at most 64 px away; none belongs to two.
    level
        (vertices,) uint8: probability × 254 there.
    inferred
        (edges,) bool: no road was seen there, a gap was bridged.
    areal
        (edges,) bool: the middle of something wider than a road can be, such as a car park.
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
