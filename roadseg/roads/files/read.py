"""Reading vector files: layers with their attributes, road lines for scoring, polygons for areas of interest.

Whatever GDAL opens is read layer by layer. Without a name the layer is the one that holds the kind of geometry asked
for; of several, the one called roads or lines is taken, else the file is refused. Multi-part lines come apart into
their parts; heights and empty geometries are dropped. pyogrio brings a GDAL of its own and takes 0.2 s to load, so it
is imported where a file is opened.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from roadseg.errors import SceneError, no_such_file, not_utf8, one_line
from roadseg.files.inputs import RASTERS, archive_kind, empty_file_cure
from roadseg.raster.crs import is_in_degrees
from roadseg.raster.encoding import ATTRIBUTION
from roadseg.roads.files.geometries import LINES, POLYGONS, from_wkb, of_kinds, out_of_collections
from roadseg.roads.files.geopackage import holds_rasters_only
from roadseg.roads.files.geoparquet import read_geoparquet
from roadseg.roads.files.layers import VectorTable, Within, is_misread

_ROAD_LAYERS = {"roads", "lines"}
"""Names of layers that are taken among several: that of our own files, and that of OpenStreetMap extracts."""

_FARTHEST = 1e9
"""Largest coordinate on Earth in any unit of a CRS, generously."""

_MOST_DEGREES = (800.0, 100.0)
"""Beyond these, longitudes and latitudes are none, not even twice around the Earth or in grads."""

_UNDEFINED = ("Undefined geographic SRS", "Undefined Cartesian SRS")
"""Names of what GeoPackages of GDAL before 3.9 and of other programs have instead of a CRS."""

_NO_GEOMETRIES = np.empty(0, dtype=object)


def geometry_layers(path: Path) -> dict[str, str]:
    """Return the layers of a vector file that have geometries, with their declared kind, such as ``LINESTRING``.

    Raises
    ------
    SceneError
        If the file does not exist or cannot be read.
    """
    if not path.exists():
        raise no_such_file(path)
    if not path.is_file() and not path.is_dir():
        raise SceneError(f"{path} is a pipe or a device, which cannot be read twice; save it as a file")
    with _opened(path) as pyogrio:
        layers = [(str(name), str(kind)) for name, kind in pyogrio.list_layers(path) if kind is not None]
    return {name: kind.removeprefix("2.5D ").split(" ", maxsplit=1)[0].upper() for name, kind in layers}


def read_layer(
    path: Path,
    layer: str,
    *,
    columns: Collection[str] | None = (),
    within: Within | None = None,
) -> VectorTable:
    """Read a layer of a vector file.

    Parameters
    ----------
    path
        Anything GDAL opens: GeoPackage, GeoJSON, FlatGeobuf, shapefile …
    layer
        Name of the layer.
    columns
        Attributes to read, if the layer has them; None reads all.
    within
        Gives the rectangle that is wanted; geometries that do not touch it are left out.

    Raises
    ------
    SceneError
        If the file cannot be read or has no such layer.
    """
    layers = geometry_layers(path)
    if layer not in layers:
        raise SceneError(f"{path} has no layer {layer}; it has {', '.join(layers) or 'none'}")
    with _opened(path) as pyogrio:
        about = pyogrio.read_info(path, layer=layer, force_total_bounds=within is not None)
        wanted = [name for name in about["fields"] if columns is None or name in columns]
        crs = None if any(name in (about["crs"] or "") for name in _UNDEFINED) else about["crs"]
        box = within(crs) if within else None
        meta, numbers, wkb, values = pyogrio.raw.read(
            path, layer=layer, columns=wanted, force_2d=True, bbox=box, return_fids=box is not None
        )
        with np.errstate(invalid="ignore"):
            geometries = out_of_collections(from_wkb(wkb))
        if box:  # spatial indices give rows in an order of their own
            order = np.argsort(numbers, kind="stable")
            geometries, values = geometries[order], [column[order] for column in values]
    bounds = about["total_bounds"] or None
    if bounds and not np.isfinite(bounds).all():
        bounds = None
    corners = np.array(bounds or (), dtype=np.float64).reshape(-1, 2)
    _check_on_earth(path, shapely.get_coordinates(geometries) if len(geometries) else corners, crs)
    attributes = {str(name): value.tolist() for name, value in zip(meta["fields"], values, strict=True)}
    return VectorTable(
        geometries,
        attributes,
        crs,
        bounds,
        (about.get("layer_metadata") or {}).get(ATTRIBUTION, ""),
    )


def _check_on_earth(path: Path, xy: NDArray[np.float64], crs: str | None) -> None:
    """Raise SceneError if coordinates lie nowhere on Earth, or are no degrees in a CRS in degrees, like GeoJSON's."""
    if (np.abs(xy) > _FARTHEST).any():
        raise SceneError(f"{path} holds a coordinate that lies nowhere on Earth; repair it, or give its true CRS")
    beyond = (np.abs(xy) > _MOST_DEGREES).any(axis=1)
    if crs and beyond.any() and is_in_degrees(crs):
        x, y = xy[beyond][0]
        raise SceneError(
            f"{path} has the coordinates {x:g}, {y:g}, which are no degrees, but a CRS in degrees (GeoJSON without "
            "one always has); assign the true one, with ogr2ogr -a_srs"
        )


def read_road_layer(
    path: Path,
    layer: str | None,
    *,
    areas: bool = False,
    cure: str,
    columns: Collection[str] | None,
    within: Within | None = None,
) -> VectorTable:
    """Read the layer with the roads: the one named, else the only one that may hold any, else ``roads`` or ``lines``.

    Parameters
    ----------
    path
        Anything GDAL opens, and GeoParquet where pyarrow is installed.
    layer
        Name of the layer.
    areas
        Whether roads may be areas, too.
    cure
        What to do if several layers may be meant, for the message.
    columns, within
        As of ``read_layer``.

    Raises
    ------
    SceneError
        If it cannot be read, or it is not clear which layer is meant.
    """
    table = read_geoparquet(path, columns) if path.exists() else None
    return table or read_layer(path, layer or _road_layer(path, areas, cure), columns=columns, within=within)


def _road_layer(path: Path, areas: bool, cure: str) -> str:
    no_roads = ["POINT", "MULTIPOINT"]
    if not areas:
        no_roads += ["POLYGON", "MULTIPOLYGON", "CURVEPOLYGON", "MULTISURFACE"]
    usable = [name for name, kind in geometry_layers(path).items() if kind not in no_roads]
    if not usable:
        raise SceneError(f"{path} holds no lines{' and no areas' if areas else ''}; give a file with roads")
    if len(usable) > 1:
        usable = _with_rows(path, usable) or usable
    if len(usable) == 1:
        return usable[0]
    named = [name for name in usable if name in _ROAD_LAYERS]
    if len(named) != 1:
        named = _with_rows(path, usable, look=True)
    if len(named) != 1:
        raise SceneError(f"{path} has several layers ({', '.join(usable)}); {cure}")
    return named[0]


def _with_rows(path: Path, layers: Sequence[str], *, look: bool = False) -> list[str]:
    """Return the layers that are not known to be empty; where the format does not count rows, read one if asked to."""

    def has_rows(pyogrio: Any, name: str) -> bool:
        count = int(pyogrio.read_info(path, layer=name)["features"])
        if count < 0 and look:
            return len(pyogrio.raw.read(path, layer=name, columns=[], max_features=1)[2]) > 0
        return count != 0

    with _opened(path) as pyogrio:
        return [name for name in layers if has_rows(pyogrio, name)]


def read_polygons(path: Path, *, layer: str | None = None) -> tuple[list[Polygon | MultiPolygon], str | None]:
    """Read the polygons of a vector file; those that cross themselves come back as the valid ones they are made of.

    Parameters
    ----------
    path
        Anything GDAL opens.
    layer
        Name of the layer; without it the only one that holds polygons.

    Returns
    -------
    The polygons, those that crossed themselves last, and their CRS as ``EPSG:n`` or WKT (None if the file names none).

    Raises
    ------
    SceneError
        If the file cannot be read, holds no polygon, holds polygons in several layers, or has a coordinate that is
        not finite.
    """
    geometries, crs = _read_kinds(path, POLYGONS, "polygons", layer)
    check_finite(geometries, path, "polygon")
    broken = ~shapely.is_valid(geometries)
    if broken.any():
        mended = shapely.get_parts(shapely.make_valid(geometries[broken], method="structure"))
        geometries = np.concatenate([geometries[~broken], of_kinds(mended, POLYGONS)])
    if len(geometries) == 0:
        raise SceneError(f"{path} holds no polygons; give a file with at least one")
    return list(geometries), crs


def read_lines(path: Path, *, layer: str | None = None) -> tuple[list[NDArray[np.float64]], str | None]:
    """Read the lines of a vector file as arrays of vertices.

    Parameters
    ----------
    path
        Anything GDAL opens, and GeoParquet where pyarrow is installed.
    layer
        Name of the layer; without it the only one that holds lines, of several the one called roads or lines.

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
    geometries, crs = _read_kinds(path, LINES, "lines", layer)
    check_finite(geometries, path, "line")
    return vertices_of(shapely.get_parts(geometries)), crs


def vertices_of(lines: NDArray[np.object_]) -> list[NDArray[np.float64]]:
    """Return the (vertices, 2) x, y of each line that has any."""
    xy, line = shapely.get_coordinates(lines, return_index=True)
    return np.split(xy, np.flatnonzero(np.diff(line)) + 1) if len(xy) else []


def _read_kinds(
    path: Path, kinds: tuple[shapely.GeometryType, ...], noun: str, layer: str | None
) -> tuple[NDArray[np.object_], str | None]:
    """Return the geometries of the wanted kinds in the one layer that holds them, and its CRS."""
    if parquet := read_geoparquet(path, ()):
        declared, tables = {path.stem: "UNKNOWN"}, {path.stem: parquet}
    else:
        declared = geometry_layers(path)
        tables = {name: read_layer(path, name) for name in ([layer] if layer else declared)}
    wanted = {name: of_kinds(table.geometries, kinds) for name, table in tables.items()}
    holding = [name for name, rows in wanted.items() if len(rows)]
    if len(holding) > 1:
        layers = ", ".join(holding)
        holding = [name for name in holding if name in _ROAD_LAYERS and kinds == LINES]
        if len(holding) != 1:
            raise SceneError(
                f"{path} holds {noun} in several layers ({layers}); copy one to a file of its own, with ogr2ogr"
            )
    if holding:
        return wanted[holding[0]], tables[holding[0]].crs
    allowed = {"UNKNOWN", "GEOMETRYCOLLECTION", *(kind.name for kind in kinds)}
    for name, table in tables.items():
        if declared[name] in allowed and not len(table.geometries):
            return _NO_GEOMETRIES, table.crs
    raise SceneError(f"{path} holds no {noun}; give a file that does")


def check_finite(geometries: NDArray[np.object_], path: Path, noun: str) -> None:
    """Raise SceneError if a geometry has a coordinate that is not finite; ``noun`` says what it is."""
    if not np.isfinite(shapely.get_coordinates(geometries)).all():
        raise SceneError(f"{path} holds a coordinate that is not a finite number; repair that {noun} first")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Load pyogrio for a file, whose errors come out as ours."""
    import pyogrio
    from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

    if is_misread(path):
        raise SceneError(f"{path} has ! or ; in its path, behind which GDAL would look for another file; rename it")
    damage = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, CRSError)
    try:
        yield pyogrio
    except UnicodeEncodeError as error:
        raise SceneError(not_utf8(os.fspath(path), "rename it")) from error
    # pyogrio stumbles over some damaged CRS with UnboundLocalError
    except (*damage, shapely.errors.ShapelyError, UnboundLocalError, ValueError, OverflowError) as error:
        said = re.split(r"[.;]+ It might help", one_line(error))[0]  # to name a driver, which is no help here
        raise SceneError(f"{path} cannot be read as a vector file ({said}); {_cure(path)}") from error


def _cure(path: Path) -> str:
    """Return what to do about a file that cannot be read."""
    if cure := empty_file_cure(path):
        return cure
    if archive_kind(path):
        return "unpack it first"
    is_raster = path.suffix.lower() in RASTERS or holds_rasters_only(path)
    return "give road lines or areas, as this looks like a raster" if is_raster else "repair it, or give another"
