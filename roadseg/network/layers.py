"""Layers: what a vector file holds, shapes with a row of attributes each, made of networks and areas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.network.graph import RoadNetwork

Kind = Literal["LineString", "Point", "Polygon"]


@dataclass(frozen=True)
class Layer:
    """A layer of a vector file.

    Parameters
    ----------
    name
        Of the layer.
    kind
        Of all its shapes.
    crs
        Well-known text, or None.
    shapes
        (rows,) shapely geometries.
    columns
        (rows,) each: int64, float64 (NaN where there is no value) or bool.
    """

    name: str
    kind: Kind
    crs: str | None
    shapes: NDArray[np.object_]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shapes)


def road_layer(network: RoadNetwork, name: str) -> Layer:
    """Return the roads of a network, a line each, in their order; ``u`` and ``v`` are the nodes at both ends."""
    edge = np.repeat(np.arange(len(network)), np.diff(network.starts))
    lines: NDArray[np.object_] = shapely.linestrings(network.vertices, indices=edge)
    columns = {
        "length_m": network.length_m,
        "width_m": network.width_m,
        "probability_mean": network.probability_mean,
        "probability_min": network.probability_min,
        "u": network.ends[:, 0],
        "v": network.ends[:, 1],
        "inferred": network.inferred,
        "component": network.component,
        "areal": network.areal,
    }
    return Layer(name, "LineString", network.crs, lines, columns)


def junction_layer(network: RoadNetwork, name: str) -> Layer:
    """Return the nodes of a network, a point each, dead ends (degree 1) among them."""
    points: NDArray[np.object_] = shapely.points(network.nodes)
    columns = {
        "node": np.arange(len(network.nodes)),
        "degree": network.degree,
        "at_border": network.at_border,
    }
    return Layer(name, "Point", network.crs, points, columns)
