"""Road networks and road areas on the ground: what is extracted from a raster, and what is written.

A network holds arrays, not objects: an edge is a row, and its vertices are a slice of one flat array. Edges refer to
their nodes by index, so edges that meet share the very same point.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import RoadsegError

if TYPE_CHECKING:
    import networkx as nx

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]

_EDGE_COLUMNS = (
    "length_m",
    "width_m",
    "probability_mean",
    "probability_min",
    "inferred",
    "areal",
    "component",
)


@dataclass(frozen=True)
class RoadTotals:
    """How much road there is, in metres and square metres on the ground, or pixels without a CRS.

    ``length`` and ``inferred_length`` are None for areas, ``area`` is None for a network.
    """

    roads: int
    components: int
    length: float | None = None
    area: float | None = None
    junctions: int = 0
    inferred: int = 0
    inferred_length: float | None = None


@dataclass(frozen=True, eq=False)
class RoadNetwork:  # noqa: PLW1641 (arrays have no hash)
    """A road network on the ground.

    Parameters
    ----------
    crs
        Well-known text, or None if it is not known; then all lengths are in pixels.
    nodes
        (nodes, 2) float64 x, y.
    degree
        (nodes,) int64: how many edge ends meet there; a loop counts twice.
    at_border
        (nodes,) bool: whether the road may continue, at the raster's border or beside nodata.
    ends
        (edges, 2) int64: the nodes at the first and last vertex of each edge; equal for a loop.
    starts
        (edges + 1,) int64: edge ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``.
    vertices
        (vertices, 2) float64 x, y along the edges, both end nodes included, bit for bit.
    length_m, width_m
        (edges,) float64 metres on the ground (pixels without a CRS).
    probability_mean, probability_min
        (edges,) float64 along the centerline; NaN for masks.
    inferred, areal
        (edges,) bool, see ``PixelGraph``.
    component
        (edges,) int64: connected edges have the same number; numbered from 0 in the order of the edges.
    """

    crs: str | None
    nodes: Floats
    degree: Ints
    at_border: Bools
    ends: Ints
    starts: Ints
    vertices: Floats
    length_m: Floats
    width_m: Floats
    probability_mean: Floats
    probability_min: Floats
    inferred: Bools
    areal: Bools
    component: Ints

    def __len__(self) -> int:
        return len(self.ends)

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    def totals(self) -> RoadTotals:
        """Count the roads and add up their lengths."""
        return RoadTotals(
            roads=len(self),
            components=int(self.component.max(initial=-1)) + 1,
            length=float(self.length_m.sum()),
            junctions=int((self.degree >= 3).sum()),
            inferred=int(self.inferred.sum()),
            inferred_length=float(self.length_m[self.inferred].sum()),
        )

    def lines(self) -> Objects:
        """Return (edges,) shapely LineStrings."""
        edge = np.repeat(np.arange(len(self)), np.diff(self.starts))
        lines: Objects = shapely.linestrings(self.vertices, indices=edge) if len(self) else np.empty(0, dtype=object)
        return lines

    def junctions(self) -> Objects:
        """Return shapely Points where at least three edges end."""
        points: Objects = shapely.points(self.nodes[self.degree >= 3])
        return points

    def table(self) -> dict[str, NDArray[Any]]:
        """Return the edges as columns, the geometry first, for a data frame or a file."""
        columns = {name: getattr(self, name) for name in _EDGE_COLUMNS}
        u, v = self.ends.T
        return {"geometry": self.lines(), "u": u, "v": v, **columns}

    def node_table(self) -> dict[str, NDArray[Any]]:
        """Return the nodes as columns; ``u`` and ``v`` of the edges are indices of its rows."""
        points: Objects = shapely.points(self.nodes)
        node = np.arange(len(self.nodes))
        return {"geometry": points, "node": node, "degree": self.degree, "at_border": self.at_border}

    def to_networkx(self) -> "nx.MultiGraph[int]":
        """Return a networkx graph: nodes with ``pos`` (x, y) and ``at_border``, edges with all columns of the table.

        Edges are keyed by their row, so parallel edges and loops stay distinct.

        Raises
        ------
        RoadsegError
            If networkx is not installed.
        """
        try:
            import networkx as nx
        except ImportError as error:
            raise RoadsegError("networkx is not installed; pip install 'roadseg[graph]'") from error
        graph: nx.MultiGraph[int] = nx.MultiGraph(crs=self.crs)
        border, places = self.at_border.tolist(), self.nodes.tolist()
        graph.add_nodes_from((i, {"pos": tuple(places[i]), "at_border": border[i]}) for i in range(len(places)))
        columns = {name: column.tolist() for name, column in self.table().items() if name not in {"u", "v"}}
        rows = zip(*columns.values(), strict=True)
        for key, ((u, v), row) in enumerate(zip(self.ends.tolist(), rows, strict=True)):
            graph.add_edge(u, v, key=key, **dict(zip(columns, row, strict=True)))
        return graph


@dataclass(frozen=True, eq=False)
class RoadAreas:  # noqa: PLW1641
    """Road areas on the ground, in the order of their first pixels.

    Parameters
    ----------
    crs
        Well-known text, or None if it is not known; then areas are in pixels.
    polygons
        (areas,) shapely polygons of x, y, valid and disjoint, outer rings counterclockwise, holes clockwise.
    area_m2
        (areas,) float64 square metres on the ground.
    component
        (areas,) int64: areas that touch at a corner have the same number; numbered from 0 in the order of areas.
    """

    crs: str | None
    polygons: Objects
    area_m2: Floats
    component: Ints

    def __len__(self) -> int:
        return len(self.polygons)

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    def totals(self) -> RoadTotals:
        """Count the areas and add up their sizes."""
        components = int(self.component.max(initial=-1)) + 1
        return RoadTotals(roads=len(self), components=components, area=float(self.area_m2.sum()))


Roads = RoadNetwork | RoadAreas
"""What a raster of roads becomes."""


def _equal(one: Roads, other: object) -> bool:
    """Return whether roads are the same, all their arrays included; NaN is equal to NaN."""
    if not isinstance(other, type(one)):
        return False
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b for a, b in pairs
    )
