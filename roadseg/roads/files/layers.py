"""Layers of vector files, as they are written from networks and areas, and as they are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.network import RoadAreas, RoadNetwork

GeometryKind = Literal["LineString", "Point", "Polygon"]

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax."""

Within = Callable[[str | None], Box | None]
"""From the CRS of a file to the rectangle that is wanted; None for everything."""


def is_misread(path: Path) -> bool:
    """Return whether pyogrio would cut a path, as at ! and ; it does: ``a!b.gpkg`` would be ``b.gpkg``."""
    return not {"!", ";"}.isdisjoint(str(path))


@dataclass(frozen=True)
class VectorLayer:
    """A layer to write.

    Parameters
    ----------
    name
        Name of the layer.
    kind
        Kind of all its geometries.
    crs
        Well-known text, or None if it is not known.
    shapes
        (rows,) shapely geometries.
    columns
        Attributes, (rows,) each: int64, float64 (NaN where there is no value), bool, or text (None where there is
        no value).
    colour
        Red, green, blue, opacity (``"213,0,110,255"``) of its style; empty for the style of roads.
    attribution
        Whom to credit; GeoPackages store it.
    """

    name: str
    kind: GeometryKind
    crs: str | None
    shapes: NDArray[np.object_]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    colour: str = ""
    attribution: str = ""

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True)
class VectorTable:
    """A layer as it was read.

    Parameters
    ----------
    geometries
        (rows,) shapely geometries without heights; None where a row has no geometry.
    columns
        (rows,) values of each attribute that was asked for and exists.
    crs
        ``EPSG:n``, well-known text or PROJJSON; None if the file names none.
    bounds
        Rectangle around the whole layer; None if it is not known.
    attribution
        Whom to credit, if roadseg wrote that into the file.
    """

    geometries: NDArray[np.object_]
    columns: dict[str, Sequence[Any]]
    crs: str | None
    bounds: Box | None = None
    attribution: str = ""


def road_layer(network: RoadNetwork, name: str) -> VectorLayer:
    """Return the roads of a network as lines, in their order; ``u`` and ``v`` are the nodes at their ends."""
    return _of_table(name, "LineString", network.crs, network.table())


def junction_layer(network: RoadNetwork, name: str) -> VectorLayer:
    """Return the nodes of a network as points, dead ends (degree 1) included."""
    return _of_table(name, "Point", network.crs, network.node_table())


def area_layer(areas: RoadAreas, name: str) -> VectorLayer:
    """Return road areas as polygons."""
    columns = {"area_m2": _rounded(areas.area_m2), "component": areas.component}
    return VectorLayer(name, "Polygon", areas.crs, areas.polygons, columns)


def _of_table(name: str, kind: GeometryKind, crs: str | None, table: Mapping[str, NDArray[Any]]) -> VectorLayer:
    columns = {key: _rounded(values) for key, values in table.items() if key != "geometry"}
    return VectorLayer(name, kind, crs, table["geometry"], columns)


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Round to thousandths: millimetres are precise enough, and more digits make text files large."""
    return np.round(values, 3) if values.dtype.kind == "f" else np.ascontiguousarray(values)
