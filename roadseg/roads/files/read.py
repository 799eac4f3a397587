"""Reading vector files: road lines for scoring, polygons for areas of interest.

Whatever GDAL opens is read layer by layer into plain geometries; the layer is the one that holds
the kind of geometry asked for, and a file with several such layers is refused, never guessed at.
Multi-part geometries come apart into their parts, heights and empty geometries are dropped.
"""

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from shapely import MultiPolygon, Polygon

from roadseg.errors import SceneError

_LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def read_polygons(path: Path, *, layer: str | None = None) -> tuple[list[Polygon | MultiPolygon], str | None]:
    """Read the polygons of a vector file.

    Parameters
    ----------
    path
        Anything GDAL opens: GeoPackage, GeoJSON, FlatGeobuf, shapefile …
    layer
        Which layer; without it the only one that holds polygons.

    Returns
    -------
    The polygons in file order, and their CRS as ``EPSG:n`` or WKT (None if the file names none).

    Raises
    ------
    SceneError
        If the file cannot be read, holds no polygon, or holds polygons in several layers.
    """
    geometries, crs = _read(path, _POLYGONS, "polygons", layer)
    if len(geometries) == 0:
        raise SceneError(f"{path} holds no polygons; give a file with at least one")
    return list(geometries), crs


def read_lines(path: Path, *, layer: str | None = None) -> tuple[list[NDArray[np.float64]], str | None]:
    """Read the lines of a vector file as arrays of vertices.

    Parameters
    ----------
    path
        Anything GDAL opens: GeoPackage, GeoJSON, FlatGeobuf, shapefile …
    layer
        Which layer; without it the only one that holds lines.

    Returns
    -------
    One (vertices, 2) float64 array of x, y per LineString, in file order (parts of a
    MultiLineString count as lines; none if the layer is of lines but has no rows), and their CRS
    as ``EPSG:n`` or WKT (None if the file names none).

    Raises
    ------
    SceneError
        If the file cannot be read, holds other geometries only, holds lines in several layers,
        or has a coordinate that is not finite.
    """
    geometries, crs = _read(path, _LINES, "lines", layer)
    xy, line = shapely.get_coordinates(shapely.get_parts(geometries), return_index=True)
    if not np.isfinite(xy).all():
        raise SceneError(f"{path} holds a coordinate that is not a finite number; repair that line first")
    return ([] if len(xy) == 0 else np.split(xy, np.flatnonzero(np.diff(line)) + 1)), crs


def _read(
    path: Path, kinds: tuple[shapely.GeometryType, ...], noun: str, layer: str | None
) -> tuple[NDArray[np.object_], str | None]:
    """Return the geometries of the wanted kinds in the one layer that holds them, and its CRS."""
    if not path.exists():
        raise SceneError(f"{path} does not exist; check the path")
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if layer is not None and layer not in layers:
            raise SceneError(f"{path} has no layer {layer}; it has {', '.join(layers) or 'none'}")
        found = {name: _read_layer(path, name, kinds) for name in ([layer] if layer else layers)}
    except (DataSourceError, DataLayerError) as error:
        raise SceneError(f"{path} cannot be read as a vector file: {error}") from error
    holding = {name: (rows, crs) for name, (rows, others, crs) in found.items() if len(rows)}
    if len(holding) > 1:
        raise SceneError(f"{path} holds {noun} in several layers ({', '.join(holding)}); name one of them")
    if holding:
        return next(iter(holding.values()))
    empty = [crs for _, others, crs in found.values() if not others]
    if not empty:
        raise SceneError(f"{path} holds no {noun}; give a file that does")
    return np.empty(0, dtype=object), empty[0]


def _read_layer(
    path: Path, layer: str, kinds: tuple[shapely.GeometryType, ...]
) -> tuple[NDArray[np.object_], bool, str | None]:
    """Return the wanted geometries of one layer, whether it is for other kinds, and its CRS."""
    meta, _, wkb, _ = pyogrio.raw.read(path, layer=layer, columns=[], force_2d=True)
    with np.errstate(invalid="ignore"):
        rows: NDArray[np.object_] = shapely.from_wkb(wkb)
    kind_of = shapely.get_type_id(rows)
    wanted = np.isin(kind_of, kinds) & ~shapely.is_empty(rows)
    others = bool((kind_of >= 0).any()) or not _may_hold(str(meta["geometry_type"]), kinds)
    return rows[wanted], others, meta["crs"]


def _may_hold(declared: str, kinds: tuple[shapely.GeometryType, ...]) -> bool:
    """Say whether a layer declared so (``LineString Z``, ``Unknown``) can hold one of the kinds."""
    name = declared.split(" ", maxsplit=1)[0].removeprefix("2.5D ").upper()
    return name in {"UNKNOWN", "GEOMETRYCOLLECTION"} or name in {kind.name for kind in kinds}
